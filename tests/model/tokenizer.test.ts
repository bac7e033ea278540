import { describe, expect, test } from "vitest";
import { parseTokenizer } from "../../src/model/tokenizer.ts";
import {
  decode,
  encode,
  tokenizerConfigJson,
  tokenizerJson,
  VOCABULARY,
  VOCABULARY_SIZE,
} from "../../src/world/vocabulary.ts";

/** Byte-level BPE over a few letters, as GPT-2 and SmolLM2 have it: "Ġ" is the space. */
const bpe = {
  version: "1.0",
  added_tokens: [
    { id: 0, content: "<|im_start|>", special: true, normalized: false },
    { id: 1, content: "<|im_end|>", special: true, normalized: false },
  ],
  normalizer: null,
  pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<|im_start|>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<|im_start|>": { id: "<|im_start|>", ids: [0], tokens: ["<|im_start|>"] } },
  },
  decoder: { type: "ByteLevel" },
  model: {
    type: "BPE",
    vocab: { "<|im_start|>": 0, "<|im_end|>": 1, a: 2, b: 3, Ġ: 4, ab: 5, Ġab: 6, Ã: 7, "©": 8 },
    merges: ["a b", "Ġ ab"],
    ignore_merges: false,
  },
};
const config = {
  bos_token: "<|im_start|>",
  eos_token: { content: "<|im_end|>" },
  chat_template: "{{ messages }}",
  clean_up_tokenization_spaces: false,
};
const parse = (change: object = {}, vocabulary = 9): ReturnType<typeof parseTokenizer> =>
  parseTokenizer(JSON.stringify({ ...bpe, ...change }), JSON.stringify(config), vocabulary);

describe("byte-level BPE", () => {
  test("merges, bytes beyond ASCII, special tokens in the text, and back", () => {
    const tokenizer = parse();
    expect(tokenizer.encode("ab ab b")).toEqual([5, 6, 4, 3]);
    expect(tokenizer.encode("é")).toEqual([7, 8]);
    expect(tokenizer.decode([5, 6, 7, 8])).toBe("ab abé");
    expect(tokenizer.encode("ab<|im_end|>")).toEqual([5, 1]);
    expect(tokenizer.decode([5, 1])).toBe("ab");
    expect(tokenizer.decode([5, 1], { skipSpecialTokens: false })).toBe("ab<|im_end|>");
    expect(tokenizer.decode([])).toBe("");
  });

  test("adds the template's tokens only when asked", () => {
    expect(parse().encode("ab", { addSpecialTokens: true })).toEqual([0, 5]);
  });

  test("special ids, spellings, template", () => {
    const tokenizer = parse();
    expect(tokenizer.special).toEqual({ bos: 0, eos: 1, pad: null });
    expect(tokenizer.token(6)).toBe("Ġab");
    expect(tokenizer.token(99)).toBeNull();
    expect(tokenizer.id("Ġab")).toBe(6);
    expect(tokenizer.id("nothing")).toBeNull();
    expect(tokenizer.size).toBe(9);
    expect(tokenizer.chatTemplate).toBe("{{ messages }}");
  });

  test("errors name the file, the token, the id", () => {
    const words = {
      model: { type: "WordLevel", vocab: { a: 2 } },
      pre_tokenizer: { type: "WhitespaceSplit" },
      decoder: null,
    };
    expect(() => parse(words).encode("a xyz")).toThrow('the tokenizer has no token for "xyz"');
    expect(() => parse().decode([2, 99])).toThrow("the tokenizer has no token with id 99");
    expect(() => parse({}, 8)).toThrow(
      "tokenizer.json: token id 8 does not fit the model, whose vocabulary has 8 tokens",
    );
    expect(() => parse({ model: { type: "Morse" } })).toThrow(
      /tokenizer\.json: model type "Morse" is not supported; supported are BPE/,
    );
    expect(() => parse({ model: undefined })).toThrow(/tokenizer\.json: "model" must be a JSON object, found nothing/);
    expect(() => parse({ pre_tokenizer: { type: "Morse" } })).toThrow(/tokenizer\.json cannot be used: .*Morse/);
    expect(() => parseTokenizer("{", null, 9)).toThrow(/tokenizer\.json is not valid JSON/);
    expect(() => parseTokenizer(JSON.stringify(bpe), "[]", 9)).toThrow(/tokenizer_config\.json must be a JSON object/);
  });
});

describe("the bundled model's word-level vocabulary", () => {
  const tokenizer = parseTokenizer(tokenizerJson(), tokenizerConfigJson(), VOCABULARY_SIZE);

  test("agrees with the world's own encode and decode", () => {
    for (const text of [
      "red circle b 3 blue square c 1",
      "4 7 + 2 5 =",
      "describe",
      "purple circle",
      "left-of <eos>",
    ]) {
      expect(tokenizer.encode(text)).toEqual(encode(text));
    }
    const ids = encode("<bos> describe red circle b 3 <eos>");
    expect(tokenizer.decode(ids)).toBe(decode(ids));
  });

  test("every token has its id", () => {
    expect(tokenizer.size).toBe(VOCABULARY_SIZE);
    VOCABULARY.forEach((word, id) => {
      expect(tokenizer.id(word)).toBe(id);
      expect(tokenizer.token(id)).toBe(word);
    });
    expect(tokenizer.special).toEqual({ bos: 1, eos: 2, pad: 0 });
  });
});

import { Tokenizer } from "@huggingface/tokenizers";
import { describe, expect, test } from "vitest";
import * as v from "../../src/world/vocabulary.ts";

describe("vocabulary", () => {
  test("64 different tokens whose ids never change", () => {
    expect(v.VOCABULARY).toHaveLength(v.VOCABULARY_SIZE);
    expect(new Set(v.VOCABULARY).size).toBe(64);
    expect([v.PAD, v.BOS, v.EOS, v.UNK]).toEqual([0, 1, 2, 3]);
    expect(v.encode("red circle b 3 describe yes no")).toEqual([4, 8, 12, 18, 25, 33, 34]);
  });

  test("encode and decode are each other's inverse; unknown words become <unk>", () => {
    const text = "count blue square 4 7 + 2 5 =";
    expect(v.decode(v.encode(text))).toBe(text);
    expect(v.encode("red  hexagon\n")).toEqual([4, v.UNK]);
    expect(v.decode([4, v.EOS])).toBe("red");
    expect(v.decode([4, v.EOS], { special: true })).toBe("red <eos>");
  });

  test("numbers are digits, most significant first", () => {
    expect(v.decode(v.encodeNumber(198))).toBe("1 9 8");
    expect(v.decode(v.encodeNumber(0))).toBe("0");
    expect(() => v.encodeNumber(-1)).toThrow("whole number");
  });

  test("tokenizer.json gives the same ids in Hugging Face's tokenizers", () => {
    const tokenizer = new Tokenizer(JSON.parse(v.tokenizerJson()), JSON.parse(v.tokenizerConfigJson()));
    const everyWord = v.VOCABULARY.join(" ");
    for (const text of [
      "describe",
      "left-of red circle blue square",
      "7 2 - 2 5 = 4 7 <eos>",
      "red hexagon",
      everyWord,
    ]) {
      const { ids } = tokenizer.encode(text);
      expect(ids).toEqual(v.encode(text));
      expect(tokenizer.decode(ids, { skip_special_tokens: true })).toBe(v.decode(ids));
    }
  });
});

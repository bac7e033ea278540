import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { asObject, describe, type JsonObject, parseObject } from "./json.ts";

/** Text ↔ token ids by a model's own tokenizer.json. */
export interface Tokenizer {
  /** Number of tokens, added ones included. */
  readonly size: number;
  /** Token ids. Special tokens written in the text are recognised; `addSpecialTokens` adds those of the template (BOS …). */
  encode(text: string, options?: { addSpecialTokens?: boolean }): number[];
  /** Text of the ids. Throws on an id that the vocabulary lacks. */
  decode(ids: readonly number[], options?: { skipSpecialTokens?: boolean }): string;
  /** The token's own spelling, e.g. "Ġred"; null for an unknown id. */
  token(id: number): string | null;
  /** Id of a token's spelling; null if there is none. */
  id(token: string): number | null;
  readonly special: { readonly bos: number | null; readonly eos: number | null; readonly pad: number | null };
  /** Jinja template of chat models, null if there is none. */
  readonly chatTemplate: string | null;
}

/** Kinds of vocabulary that are read; "type" is absent in some older files. */
const MODEL_TYPES: readonly unknown[] = ["BPE", "WordPiece", "Unigram", "WordLevel"];

/**
 * Reads tokenizer.json and, where there is one, tokenizer_config.json. Throws an error that names the file and the field.
 * @param vocabulary size of the model's embedding; a tokenizer with greater ids is refused
 */
export function parseTokenizer(tokenizerJson: string, configJson: string | null, vocabulary: number): Tokenizer {
  const source = "tokenizer.json";
  const json = parseObject(tokenizerJson, source);
  const config = configJson === null ? {} : parseObject(configJson, "tokenizer_config.json");
  const model = asObject(json.model, `${source}: "model"`);
  if (model.type !== undefined && !MODEL_TYPES.includes(model.type)) {
    throw new Error(
      `${source}: model type ${describe(model.type)} is not supported; supported are ${MODEL_TYPES.join(", ")}`,
    );
  }
  const inner = construct(json, config, source);
  const unknown = unknownId(model);

  const ids = [...inner.get_vocab(true).values()];
  const largest = ids.reduce((a, b) => Math.max(a, b), -1);
  if (ids.length === 0) throw new Error(`${source}: the vocabulary is empty`);
  if (largest >= vocabulary) {
    throw new Error(`${source}: token id ${largest} does not fit the model, whose vocabulary has ${vocabulary} tokens`);
  }

  const id = (token: string): number | null => inner.token_to_id(token) ?? null;
  const special = (name: string): number | null => {
    const value = config[name];
    // A string, or the object form of an added token.
    const text = typeof value === "object" && value !== null ? (value as { content?: unknown }).content : value;
    return typeof text === "string" ? id(text) : null;
  };
  const template = config.chat_template;
  return {
    size: ids.length,
    encode(text, options = {}) {
      const encoded = inner.encode(text, { add_special_tokens: options.addSpecialTokens ?? false });
      return encoded.ids.map((value, place) => {
        // A word-level vocabulary without an entry for the word: its unknown token, as Transformers does it.
        const token = (value as number | undefined) ?? unknown;
        if (token === null) throw new Error(`the tokenizer has no token for ${describe(encoded.tokens[place])}`);
        return token;
      });
    },
    decode(tokens, options = {}) {
      for (const token of tokens) {
        if (inner.id_to_token(token) === undefined)
          throw new Error(`the tokenizer has no token with id ${describe(token)}`);
      }
      return tokens.length === 0
        ? ""
        : inner.decode([...tokens], { skip_special_tokens: options.skipSpecialTokens ?? true });
    },
    token: (value) => inner.id_to_token(value) ?? null,
    id,
    special: { bos: special("bos_token"), eos: special("eos_token"), pad: special("pad_token") },
    chatTemplate: typeof template === "string" ? template : null,
  };
}

function construct(json: JsonObject, config: JsonObject, source: string): HuggingFaceTokenizer {
  const empty = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  try {
    return new HuggingFaceTokenizer({ ...empty, ...json }, config);
  } catch (error) {
    throw new Error(`${source} cannot be used: ${(error as Error).message}`);
  }
}

/** Id of the model's "unk_token", null if there is none. */
function unknownId(model: JsonObject): number | null {
  const { vocab, unk_token: token } = model;
  if (typeof token !== "string" || typeof vocab !== "object" || vocab === null || !Object.hasOwn(vocab, token))
    return null;
  const id = (vocab as JsonObject)[token];
  return typeof id === "number" ? id : null;
}

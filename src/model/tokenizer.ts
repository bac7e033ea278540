import { Tokenizer as HuggingFaceTokenizer } from "@huggingface/tokenizers";
import { InputError, reasonOf } from "../base/input.ts";
import { asObject, describe, type JsonObject, parseObject } from "./json.ts";
import { type Bounded, probePatterns, TimeLimit } from "./patterns.ts";

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
 * @param bounded for files of somebody else: patterns that backtrack without end are refused, and each use has a time limit
 */
export function parseTokenizer(
  tokenizerJson: string,
  configJson: string | null,
  vocabulary: number,
  bounded: Bounded | null = null,
): Tokenizer {
  const source = "tokenizer.json";
  const json = parseObject(tokenizerJson, source);
  const config = configJson === null ? {} : parseObject(configJson, "tokenizer_config.json");
  const model = asObject(json.model, `${source}: "model"`);
  if (model.type !== undefined && !MODEL_TYPES.includes(model.type)) {
    throw new InputError(
      `${source}: model type ${describe(model.type)} is not supported; supported are ${MODEL_TYPES.join(", ")}`,
    );
  }
  checkParts(json, vocabulary, source);
  const inner = construct(json, config, source, bounded);
  if (bounded !== null)
    probePatterns(
      PARTS.map((part) => Reflect.get(inner, part)),
      source,
      bounded,
    );
  const unknown = unknownId(model);

  const ids = [...inner.get_vocab(true).values()];
  const largest = ids.reduce((a, b) => Math.max(a, b), -1);
  if (ids.length === 0) throw new InputError(`${source}: the vocabulary is empty`);
  if (largest >= vocabulary) {
    throw new InputError(
      `${source}: token id ${largest} does not fit the model, whose vocabulary has ${vocabulary} tokens`,
    );
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
      const encoded = guarded(`${source} cannot encode a text`, text.length, bounded, () =>
        inner.encode(text, { add_special_tokens: options.addSpecialTokens ?? false }),
      );
      return encoded.ids.map((value, place) => {
        // A word-level vocabulary without an entry for the word: its unknown token, as Transformers does it.
        const token = (value as number | undefined) ?? unknown;
        if (token === null) throw new InputError(`the tokenizer has no token for ${describe(encoded.tokens[place])}`);
        return token;
      });
    },
    decode(tokens, options = {}) {
      for (const token of tokens) {
        if (inner.id_to_token(token) === undefined)
          throw new InputError(`the tokenizer has no token with id ${describe(token)}`);
      }
      return tokens.length === 0
        ? ""
        : guarded(`${source} cannot decode tokens`, tokens.length, bounded, () =>
            inner.decode([...tokens], { skip_special_tokens: options.skipSpecialTokens ?? true }),
          );
    },
    token: (value) => inner.id_to_token(value) ?? null,
    id,
    special: { bos: special("bos_token"), eos: special("eos_token"), pad: special("pad_token") },
    chatTemplate: typeof template === "string" ? template : null,
  };
}

function construct(
  json: JsonObject,
  config: JsonObject,
  source: string,
  bounded: Bounded | null,
): HuggingFaceTokenizer {
  const empty = { added_tokens: [], normalizer: null, pre_tokenizer: null, post_processor: null, decoder: null };
  const build = (): HuggingFaceTokenizer => new HuggingFaceTokenizer({ ...empty, ...json }, config);
  return guarded(`${source} cannot be used`, 0, bounded, build);
}

/** Milliseconds for any text, and for each of its characters or tokens. */
const [USE_MS, USE_MS_EACH] = [10_000, 1];

/** Runs the tokenizers package, which trusts its files: what it stumbles over becomes an InputError. `size`: of what it reads. */
function guarded<T>(what: string, size: number, bounded: Bounded | null, work: () => T): T {
  const limitMs = USE_MS + USE_MS_EACH * size;
  try {
    return bounded === null ? work() : bounded(work, limitMs);
  } catch (cause) {
    if (cause instanceof TimeLimit)
      throw new InputError(
        `${what} of ${size} characters in ${limitMs / 1000} s: one of its patterns backtracks. Use the tokenizer of the model's maker`,
      );
    const malformed = "its normalizer, pre_tokenizer, post_processor, decoder or model is malformed";
    throw new InputError(`${what}: ${reasonOf(cause, malformed)}`, { cause });
  }
}

/** Longer patterns are no word splitter. */
const MAX_PATTERN = 4096;
const PARTS = ["normalizer", "pre_tokenizer", "post_processor", "decoder"] as const;
/** Where a sequence of stages has them. */
const LISTS = ["normalizers", "pretokenizers", "processors", "decoders"] as const;

/** The vocabulary, merges, added tokens and pattern texts: what the package takes over without a look. */
function checkParts(json: JsonObject, vocabulary: number, source: string): void {
  const model = json.model as JsonObject;
  const isId = (id: unknown): boolean => Number.isSafeInteger(id) && (id as number) >= 0 && (id as number) < 2 ** 31;
  const fail = (where: string, want: string, found: unknown): never => {
    throw new InputError(`${source}: ${where} must ${want}, found ${describe(found)}`);
  };
  if (Array.isArray(model.vocab)) {
    const entry = (one: unknown): boolean =>
      Array.isArray(one) && one.length === 2 && typeof one[0] === "string" && Number.isFinite(one[1]);
    const bad = model.vocab.findIndex((one) => !entry(one));
    if (bad >= 0) fail(`"vocab" entry ${bad}`, "be a token and its score", model.vocab[bad]);
    const unknown = model.unk_id ?? 0;
    if (!isId(unknown) || (unknown as number) >= model.vocab.length) fail('"unk_id"', "name a token", unknown);
  } else {
    for (const [token, id] of Object.entries(asObject(model.vocab, `${source}: "vocab"`)))
      if (!isId(id)) fail(`the id of ${describe(token)}`, `be a whole number below ${vocabulary}`, id);
  }
  const merges = listOf(model.merges, `${source}: "merges"`);
  const isMerge = (one: unknown): boolean =>
    typeof one === "string" ||
    (Array.isArray(one) && one.length === 2 && one.every((part) => typeof part === "string"));
  const bad = merges.findIndex((one) => !isMerge(one));
  if (bad >= 0) fail(`"merges" entry ${bad}`, "be two tokens", merges[bad]);
  for (const added of listOf(json.added_tokens, `${source}: "added_tokens"`)) {
    const token = asObject(added, `${source}: an added token`);
    if (typeof token.content !== "string" || token.content === "" || !isId(token.id))
      fail("an added token", `have a content and an id below ${vocabulary}`, added);
  }
  for (const name of PARTS) checkStage(json[name], `${source}: "${name}"`);
}

/** Each stage is an object with a type; a sequence has a list of stages inside. */
function checkStage(stage: unknown, where: string): void {
  if (stage === undefined || stage === null) return;
  const fields = asObject(stage, where);
  if (typeof fields.type !== "string")
    throw new InputError(`${where}: "type" must be a text, found ${describe(fields.type)}`);
  const { type, pattern } = fields;
  if (pattern !== undefined || type === "Split" || type === "Replace") {
    const { String: literal, Regex: expression } = asObject(pattern, `${where}: "pattern"`);
    if (![literal, expression].some((one) => typeof one === "string" && one !== ""))
      throw new InputError(`${where}: "pattern" must be {"String": …} or {"Regex": …}, found ${describe(pattern)}`);
  }
  for (const list of LISTS) for (const one of listOf(fields[list], `${where}: "${list}"`)) checkStage(one, where);
  checkTexts(fields, where);
}

/** Texts of a bounded length all the way down; a charsmap is data. */
function checkTexts(part: unknown, where: string): void {
  if (typeof part === "string" && part.length > MAX_PATTERN)
    throw new InputError(`${where} has a text of more than ${MAX_PATTERN} characters`);
  if (typeof part !== "object" || part === null) return;
  for (const [key, one] of Object.entries(part)) if (key !== "precompiled_charsmap") checkTexts(one, where);
}

function listOf(value: unknown, where: string): readonly unknown[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value)) throw new InputError(`${where} must be a list, found ${describe(value)}`);
  return value;
}

/** Id of the model's "unk_token", null if there is none. */
function unknownId(model: JsonObject): number | null {
  const { vocab, unk_token: token } = model;
  if (typeof token !== "string" || typeof vocab !== "object" || vocab === null || !Object.hasOwn(vocab, token))
    return null;
  const id = (vocab as JsonObject)[token];
  return typeof id === "number" ? id : null;
}

/** Rows of JSON Lines files: sequences, completions and preferences, as text or as token ids. Every error names the file's line. */
import { InputError } from "../base/input.ts";
import { describe, type JsonObject, parseObject } from "./json.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** One line of a file. `where` is "FILE:LINE", for messages. */
export interface Row {
  readonly where: string;
  readonly json: JsonObject;
}

/** A TRL preference row as token ids. log π is summed over the completion's ids; nothing is added or cut. */
export interface PreferenceIds {
  readonly prompt_ids: readonly number[];
  readonly chosen_ids: readonly number[];
  readonly rejected_ids: readonly number[];
  /** All other fields of the row, such as score_chosen, source, round, image. */
  readonly extra: JsonObject;
}

/** What turns text into ids. `tokenizer` may be null where all rows come as ids. */
export interface RowOptions {
  readonly tokenizer: Tokenizer | null;
  /** Token ids must be below it. */
  readonly vocabulary: number;
}

/** The objects of a JSON Lines text; empty lines are passed over. Throws on the first line that is not a JSON object. */
export function parseRows(text: string, source: string): Row[] {
  const rows: Row[] = [];
  text.split("\n").forEach((line, index) => {
    const where = `${source}:${index + 1}`;
    if (line.trim() !== "") rows.push({ where, json: parseObject(line, where) });
  });
  if (rows.length === 0) throw new InputError(`${source} has no rows`);
  return rows;
}

/** A TRL prompt-completion row as token ids. The loss is over the completion's ids only. */
export interface CompletionIds {
  readonly prompt_ids: readonly number[];
  readonly completion_ids: readonly number[];
}

/** {"tokens": […]} or {"text": "…"} → at least one token id. */
export function parseSequence({ json, where }: Row, options: RowOptions): number[] {
  let tokens: number[];
  if (json.tokens !== undefined) tokens = readIds(json, "tokens", where, options.vocabulary);
  else if (json.text !== undefined) tokens = encode(readText(json, "text", where), where, options);
  else throw new InputError(`${where}: want {"tokens": […]} or {"text": "…"}, found the fields ${fieldsOf(json)}`);
  if (tokens.length === 0) throw new InputError(`${where}: want at least 1 token, found none`);
  return tokens;
}

/**
 * {"prompt_ids","chosen_ids","rejected_ids"} used exactly as they stand, or {"prompt","chosen","rejected"} as
 * TRL tokenizes them: EOS is appended to both completions if they lack it, and a completion's ids are those of
 * prompt + completion behind the prompt's.
 */
export function parsePreference({ json, where }: Row, options: RowOptions): PreferenceIds {
  if (json.prompt_ids !== undefined) {
    const { prompt_ids: _p, chosen_ids: _c, rejected_ids: _r, ...extra } = json;
    const ids = (name: string) => readSomeIds(json, name, where, options.vocabulary);
    return { prompt_ids: ids("prompt_ids"), chosen_ids: ids("chosen_ids"), rejected_ids: ids("rejected_ids"), extra };
  }
  if (json.prompt === undefined) {
    throw new InputError(
      `${where}: want {"prompt","chosen","rejected"} or {"prompt_ids","chosen_ids","rejected_ids"}, found the fields ${fieldsOf(json)}`,
    );
  }
  const { prompt: _p, chosen: _c, rejected: _r, ...extra } = json;
  const prompt_ids = encodePrompt(json, where, options);
  const ids = (name: string) => encodeCompletion(json, name, prompt_ids, where, options);
  return { prompt_ids, chosen_ids: ids("chosen"), rejected_ids: ids("rejected"), extra };
}

/** {"prompt_ids","completion_ids"} used exactly as they stand, or {"prompt","completion"} tokenized as preferences are. */
export function parseCompletion({ json, where }: Row, options: RowOptions): CompletionIds {
  if (json.prompt_ids !== undefined) {
    const ids = (name: string) => readSomeIds(json, name, where, options.vocabulary);
    return { prompt_ids: ids("prompt_ids"), completion_ids: ids("completion_ids") };
  }
  if (json.prompt === undefined) {
    throw new InputError(
      `${where}: want {"prompt","completion"} or {"prompt_ids","completion_ids"}, found the fields ${fieldsOf(json)}`,
    );
  }
  const prompt_ids = encodePrompt(json, where, options);
  return { prompt_ids, completion_ids: encodeCompletion(json, "completion", prompt_ids, where, options) };
}

/** A judged answer (TRL's unpaired preferences): label true is good. */
export interface UnpairedIds extends CompletionIds {
  readonly label: boolean;
}

/** A completion row, see `parseCompletion`, with "label": true or false. */
export function parseUnpaired(row: Row, options: RowOptions): UnpairedIds {
  const { label } = row.json;
  if (typeof label !== "boolean")
    throw new InputError(`${row.where}: "label" must be true or false, found ${describe(label)}`);
  return { ...parseCompletion(row, options), label };
}

/** Answers to one prompt and what each earned. */
export interface AnswerGroupIds {
  readonly prompt_ids: readonly number[];
  readonly completion_ids: readonly (readonly number[])[];
  readonly rewards: readonly number[];
}

/**
 * {"prompt_ids","completion_ids":[[…],…],"rewards":[…]} used exactly as they stand, or {"prompt","completions","rewards"}
 * tokenized as preferences are. At least two answers, one reward each.
 */
export function parseAnswerGroup({ json, where }: Row, options: RowOptions): AnswerGroupIds {
  const name = json.prompt_ids !== undefined ? "completion_ids" : "completions";
  const list = json[name];
  if (!Array.isArray(list) || list.length < 2)
    throw new InputError(`${where}: "${name}" must be a list of at least 2 answers, found ${describe(list)}`);
  const { rewards } = json;
  if (!Array.isArray(rewards) || rewards.length !== list.length || !rewards.every((r) => Number.isFinite(r)))
    throw new InputError(`${where}: "rewards" must be a list of ${list.length} numbers, one for each answer`);
  const each = list.map((completion: unknown) => {
    const one = { ...json, [name === "completions" ? "completion" : name]: completion } as JsonObject;
    return parseCompletion({ json: one, where }, options);
  });
  const [{ prompt_ids }] = each as [CompletionIds];
  return { prompt_ids, completion_ids: each.map(({ completion_ids }) => completion_ids), rewards: rewards as number[] };
}

function encodePrompt(json: JsonObject, where: string, options: RowOptions): number[] {
  const ids = encode(readText(json, "prompt", where), where, options);
  if (ids.length === 0) throw new InputError(`${where}: "prompt" has no tokens`);
  return ids;
}

/** Ids of prompt + completion + EOS behind those of the prompt. */
function encodeCompletion(
  json: JsonObject,
  name: string,
  prompt_ids: readonly number[],
  where: string,
  options: RowOptions,
): number[] {
  const text = withEos(readText(json, name, where), options.tokenizer as Tokenizer);
  const ids = encode(readText(json, "prompt", where) + text, where, options).slice(prompt_ids.length);
  if (ids.length === 0) throw new InputError(`${where}: "${name}" has no tokens`);
  return ids;
}

function readSomeIds(json: JsonObject, name: string, where: string, vocabulary: number): number[] {
  const value = readIds(json, name, where, vocabulary);
  if (value.length === 0) throw new InputError(`${where}: "${name}" is empty`);
  return value;
}

/** "1,2,3" → ids. */
export function parseIdList(text: string, source: string, vocabulary: number): number[] {
  const parts = text.split(",").map((part) => part.trim());
  return readIds({ [source]: parts.map((part) => (/^\d+$/.test(part) ? Number(part) : part)) }, source, "", vocabulary);
}

function withEos(text: string, tokenizer: Tokenizer): string {
  const eos = tokenizer.special.eos === null ? null : tokenizer.token(tokenizer.special.eos);
  return eos === null || text.endsWith(eos) ? text : text + eos;
}

function encode(text: string, where: string, { tokenizer }: RowOptions): number[] {
  if (tokenizer === null)
    throw new InputError(`${where}: is text, but the model has no tokenizer.json; give token ids`);
  return tokenizer.encode(text, { addSpecialTokens: true });
}

function readText(json: JsonObject, name: string, where: string): string {
  const value = json[name];
  if (typeof value !== "string") throw new InputError(`${where}: "${name}" must be a string, found ${describe(value)}`);
  return value;
}

function readIds(json: JsonObject, name: string, where: string, vocabulary: number): number[] {
  const start = where === "" ? name : `${where}: "${name}"`;
  const value = json[name];
  if (!Array.isArray(value)) throw new InputError(`${start} must be a list of token ids, found ${describe(value)}`);
  value.forEach((id: unknown, place) => {
    if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabulary) {
      throw new InputError(
        `${start} must hold token ids from 0 to ${vocabulary - 1}, found ${describe(id)} at place ${place}`,
      );
    }
  });
  return value as number[];
}

const fieldsOf = (json: JsonObject): string => Object.keys(json).join(", ") || "none";

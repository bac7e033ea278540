/** Reading of JSON documents that somebody else wrote: every error names the document and the field. */
import { InputError, parseJson } from "../base/input.ts";

export type JsonObject = { readonly [key: string]: unknown };

/** Parses a JSON object. `source` is the file's name for the error message. */
export function parseObject(text: string, source: string): JsonObject {
  return asObject(parseJson(text, source), source);
}

/** `value` as an object, or an error that names `what`. */
export function asObject(value: unknown, what: string): JsonObject {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw new InputError(`${what} must be a JSON object, found ${describe(value)}`);
  }
  return value as JsonObject;
}

/** UTF-8 text of a file, or an error that names it. */
export function decodeUtf8(bytes: Uint8Array, source: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError(`${source} is not UTF-8 text`);
  }
}

/** A value in an error message: short, and clear about its type. */
export function describe(value: unknown): string {
  if (value === undefined) return "nothing";
  const text = JSON.stringify(value) ?? String(value);
  return text.length > 80 ? `${text.slice(0, 77)}…` : text;
}

/** Typed access to the fields of one document. A field that is absent or null takes its default; without one it is an error. */
export class Fields {
  readonly json: JsonObject;
  readonly source: string;

  constructor(json: JsonObject, source: string) {
    this.json = json;
    this.source = source;
  }

  has(name: string): boolean {
    return this.json[name] !== undefined && this.json[name] !== null;
  }

  /** Whole number in [1, limit]. */
  count(name: string, limit: number, fallback?: number): number {
    const value = this.#value(name, fallback);
    if (!Number.isInteger(value) || (value as number) < 1 || (value as number) > limit) {
      this.fail(name, `must be a whole number from 1 to ${limit}`, value);
    }
    return value as number;
  }

  /** Number in (0, limit]. */
  positive(name: string, limit: number, fallback?: number): number {
    const value = this.#value(name, fallback);
    if (typeof value !== "number" || !(value > 0)) this.fail(name, "must be a number above 0", value);
    if ((value as number) > limit) this.fail(name, `must be at most ${limit}`, value);
    return value as number;
  }

  flag(name: string, fallback?: boolean): boolean {
    const value = this.#value(name, fallback);
    if (typeof value !== "boolean") this.fail(name, "must be true or false", value);
    return value as boolean;
  }

  text(name: string, fallback?: string): string {
    const value = this.#value(name, fallback);
    if (typeof value !== "string") this.fail(name, "must be a string", value);
    return value as string;
  }

  /** A token id, a list of them, or nothing → list, every id below `vocabulary`. */
  tokenIds(name: string, vocabulary: number): number[] {
    const value = this.json[name] ?? [];
    const ids = Array.isArray(value) ? (value as unknown[]) : [value];
    for (const id of ids) {
      if (!Number.isInteger(id) || (id as number) < 0 || (id as number) >= vocabulary) {
        this.fail(name, `must be a token id from 0 to ${vocabulary - 1}, or a list of them`, id);
      }
    }
    return ids as number[];
  }

  /** A token id below `vocabulary`, or null. */
  tokenId(name: string, vocabulary: number): number | null {
    const ids = this.tokenIds(name, vocabulary);
    if (ids.length > 1) this.fail(name, "must be one token id", ids);
    return ids[0] ?? null;
  }

  fail(name: string, problem: string, value: unknown): never {
    throw new InputError(`${this.source}: "${name}" ${problem}, found ${describe(value)}`);
  }

  #value(name: string, fallback: unknown): unknown {
    if (this.has(name)) return this.json[name];
    if (fallback === undefined) throw new InputError(`${this.source}: "${name}" is missing`);
    return fallback;
  }
}

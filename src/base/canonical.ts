import { sha256Hex } from "./hash.ts";
import { InputError, parseJson } from "./input.ts";

/**
 * Canonical JSON: one text for one value, so that its SHA-256 names it.
 * Keys are sorted by UTF-16 code units and numbers are written as ECMAScript does (RFC 8785);
 * there is no white space, absent and undefined properties are the same, bytes stand as {"$bytes": base64}.
 */

const bytesKey = "$bytes";
/** Deeper than any of our records. */
const maxDepth = 64;

/**
 * The canonical JSON of `value`: null, booleans, finite numbers, strings, Uint8Array, arrays and plain objects of them.
 * Throws a TypeError that names the path of anything else.
 */
export function canonicalJson(value: unknown): string {
  return write(value, "", 0);
}

/** SHA-256 of the canonical JSON of `value`, 64 hex digits. */
export function canonicalDigest(value: unknown): string {
  return sha256Hex(canonicalJson(value));
}

/**
 * The value that a canonical text stands for, bytes as Uint8Array.
 * Throws an InputError if the text is no JSON or not in canonical form, so that no two texts give one value.
 */
export function parseCanonical(text: string): unknown {
  const value = revive(parseJson(text, "the text"));
  if (canonicalJson(value) !== text) throw new InputError("the text is JSON but not in canonical form");
  return value;
}

/** Base64 (RFC 4648, padded) of bytes. */
export function toBase64(bytes: Uint8Array): string {
  let binary = "";
  for (let i = 0; i < bytes.length; i += 8192) binary += String.fromCharCode(...bytes.subarray(i, i + 8192));
  return btoa(binary);
}

/** Bytes of a base64 text. Throws an InputError if it is none. */
export function fromBase64(text: string): Uint8Array {
  let binary: string;
  try {
    binary = atob(text);
  } catch {
    throw new InputError("the bytes are not valid base64");
  }
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function write(value: unknown, path: string, depth: number): string {
  if (depth > maxDepth) throw fault(path, `nested more than ${maxDepth} levels deep`);
  if (value === null || typeof value === "boolean") return String(value);
  if (typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number") {
    if (!Number.isFinite(value)) throw fault(path, `${value}, and only finite numbers can be stored`);
    return JSON.stringify(value);
  }
  if (value instanceof Uint8Array) return `{"${bytesKey}":"${toBase64(value)}"}`;
  if (Array.isArray(value)) {
    const items: string[] = [];
    for (let i = 0; i < value.length; i++) items.push(write(value[i], `${path}[${i}]`, depth + 1));
    return `[${items.join(",")}]`;
  }
  if (typeof value === "object" && isPlain(value)) {
    const fields: string[] = [];
    for (const key of Object.keys(value).sort()) {
      const field = (value as Record<string, unknown>)[key];
      if (field === undefined) continue;
      if (key === bytesKey) throw fault(path, `an object with the reserved key ${bytesKey}`);
      fields.push(`${JSON.stringify(key)}:${write(field, `${path}.${key}`, depth + 1)}`);
    }
    return `{${fields.join(",")}}`;
  }
  throw fault(path, `${describe(value)}, which JSON cannot hold`);
}

function revive(value: unknown): unknown {
  if (typeof value === "number" && !Number.isFinite(value))
    throw new InputError("the text holds a number beyond 1e308");
  if (value === null || typeof value !== "object") return value;
  if (Array.isArray(value)) return value.map(revive);
  if (Object.hasOwn(value, bytesKey)) {
    const text = (value as Record<string, unknown>)[bytesKey];
    if (typeof text !== "string" || Object.keys(value).length !== 1)
      throw new InputError(`${bytesKey} is reserved for base64 text`);
    return fromBase64(text);
  }
  // fromEntries defines own properties, so a key named __proto__ stays data.
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, revive(field)]));
}

const isPlain = (value: object): boolean => {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || prototype === Object.prototype || Object.getPrototypeOf(prototype) === null;
};

const describe = (value: unknown): string =>
  typeof value === "object" && value !== null ? `a ${value.constructor?.name ?? "object"}` : typeof value;

const fault = (path: string, what: string): TypeError =>
  new TypeError(`[canonical] the value${path === "" ? "" : ` at ${path.replace(/^\./, "")}`} is ${what}`);

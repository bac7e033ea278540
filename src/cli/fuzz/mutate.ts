/** Seeded changes of well-formed input: of bytes, of zip-like length fields, of JSON by its structure. */
import type { Rng } from "../../base/rng.ts";

/** Values at the edges of what fields hold. */
const EDGES = [0, 1, 2, 7, 8, 127, 128, 255, 256, 32_767, 65_535, 65_536, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1];

/** One to four changes of a byte string: bits, numbers, cuts, repeats, a piece of `other`. */
export function mutateBytes(sample: Uint8Array, other: Uint8Array, rng: Rng): Uint8Array {
  let bytes: Uint8Array = sample.slice();
  const times = 1 + rng.int(4);
  for (let i = 0; i < times; i++) bytes = rng.pick(BYTE_CHANGES)(bytes, other, rng);
  return bytes;
}

type ByteChange = (bytes: Uint8Array, other: Uint8Array, rng: Rng) => Uint8Array;

const BYTE_CHANGES: readonly ByteChange[] = [
  function flipBit(bytes, _other, rng) {
    if (bytes.length === 0) return bytes;
    const at = rng.int(bytes.length);
    bytes[at] = (bytes[at] as number) ^ (1 << rng.int(8));
    return bytes;
  },
  function setByte(bytes, _other, rng) {
    if (bytes.length > 0) bytes[rng.int(bytes.length)] = rng.int(256);
    return bytes;
  },
  function setNumber(bytes, _other, rng) {
    const width = rng.pick([2, 4, 8]);
    if (bytes.length < width) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const at = rng.int(bytes.length - width + 1);
    const value = rng.pick([...EDGES, bytes.length, bytes.length + 1, bytes.length - 1]);
    const little = rng.next() < 0.5;
    if (width === 2) view.setUint16(at, value, little);
    else if (width === 4) view.setUint32(at, value, little);
    else view.setBigUint64(at, rng.next() < 0.5 ? BigInt(value) : 2n ** 64n - BigInt(value), little);
    return bytes;
  },
  function addToNumber(bytes, _other, rng) {
    if (bytes.length < 4) return bytes;
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const at = rng.int(bytes.length - 3);
    view.setUint32(at, view.getUint32(at, true) + rng.pick([-8, -1, 1, 8]), true);
    return bytes;
  },
  function cut(bytes, _other, rng) {
    return bytes.slice(0, rng.int(bytes.length + 1));
  },
  function drop(bytes, _other, rng) {
    const from = rng.int(bytes.length + 1);
    return joined(bytes.subarray(0, from), bytes.subarray(from + 1 + rng.int(16)));
  },
  function repeat(bytes, _other, rng) {
    const from = rng.int(bytes.length + 1);
    const to = Math.min(bytes.length, from + 1 + rng.int(64));
    return joined(bytes.subarray(0, to), bytes.subarray(from));
  },
  function insert(bytes, _other, rng) {
    const at = rng.int(bytes.length + 1);
    const noise = Uint8Array.from({ length: 1 + rng.int(8) }, () => rng.int(256));
    return joined(bytes.subarray(0, at), noise, bytes.subarray(at));
  },
  function splice(bytes, other, rng) {
    const from = rng.int(other.length + 1);
    return joined(bytes.subarray(0, rng.int(bytes.length + 1)), other.subarray(from));
  },
];

function joined(...parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** What stands in for a value of a document. */
const VALUES: readonly unknown[] = [
  null,
  true,
  false,
  0,
  -1,
  0.5,
  1e308,
  -1e308,
  2 ** 53,
  2 ** 32,
  1e-320,
  "",
  "0",
  "<script>alert(1)</script>",
  "\ud800",
  "__proto__",
  "../../etc/passwd",
  "x".repeat(5000),
  [],
  {},
  [[]],
  [null],
  { $bytes: "AAAA" },
  { $bytes: "!" },
  { type: "Sequence" },
];

const KEYS = ["__proto__", "constructor", "toString", "", "length", "$bytes", "type", "\u0000"];

/** A copy of a JSON value with one to three changes somewhere in it. */
export function mutateValue(value: unknown, rng: Rng): unknown {
  const root = { value: structuredClone(value) };
  const times = 1 + rng.int(3);
  for (let i = 0; i < times; i++) {
    const places = placesOf(root);
    changePlace(rng.pick(places), rng.pick(places), rng);
  }
  return root.value;
}

/** The text of a changed document; now and then the text itself is changed, so that it is no JSON any more. */
export function mutateJson(text: string, rng: Rng, write: (value: unknown) => string = JSON.stringify): string {
  const dice = rng.next();
  if (dice < 0.1) return mutateText(text, rng);
  const mutated = write(mutateValue(JSON.parse(text), rng)) ?? "";
  return dice < 0.2
    ? mutated.replace(/\d+/, rng.pick(["1e999", "-0", "01", "NaN", "1e-999", "9".repeat(400)]))
    : mutated;
}

/** Changes of a text's bytes, or nesting without end. */
export function mutateText(text: string, rng: Rng): string {
  if (rng.next() < 0.1) return `${rng.pick(["[", '{"a":'])}`.repeat(rng.pick([65, 5000, 100_000])) + text;
  const bytes = new TextEncoder().encode(text);
  return new TextDecoder().decode(mutateBytes(bytes, bytes, rng));
}

/** The same of one line of a JSON Lines text; lines are dropped, repeated and swapped, too. */
export function mutateLines(text: string, rng: Rng, write?: (value: unknown) => string): string {
  const lines = text.split("\n").filter((line) => line !== "");
  if (lines.length === 0) return mutateText(text, rng);
  const [at, other] = [rng.int(lines.length), rng.int(lines.length)];
  const dice = rng.next();
  if (dice < 0.7) lines[at] = mutateJson(lines[at] as string, rng, write);
  else if (dice < 0.8) lines.splice(at, 1);
  else if (dice < 0.9) lines.splice(at, 0, lines[other] as string);
  else [lines[at], lines[other]] = [lines[other] as string, lines[at] as string];
  return `${lines.join("\n")}\n`;
}

interface Place {
  readonly holder: Record<string, unknown> | unknown[];
  readonly key: string | number;
}

function placesOf(root: object): Place[] {
  const places: Place[] = [];
  const visit = (holder: Record<string, unknown> | unknown[], key: string | number): void => {
    places.push({ holder, key });
    const value = (holder as Record<string, unknown>)[key];
    if (Array.isArray(value)) for (let i = 0; i < value.length; i++) visit(value, i);
    else if (typeof value === "object" && value !== null)
      for (const name of Object.keys(value)) visit(value as Record<string, unknown>, name);
  };
  visit(root as Record<string, unknown>, "value");
  return places;
}

function changePlace({ holder, key }: Place, other: Place, rng: Rng): void {
  const fields = holder as Record<string, unknown>;
  const value = fields[key];
  const put = (field: string | number, next: unknown): void => {
    Object.defineProperty(holder, field, { value: next, writable: true, enumerable: true, configurable: true });
  };
  const dice = rng.int(8);
  if (dice === 0 && Array.isArray(holder)) holder.splice(key as number, 1);
  else if (dice === 0) delete fields[key];
  else if (dice === 1 && Array.isArray(holder)) holder.splice(key as number, 0, structuredClone(value));
  else if (dice === 1) put(rng.pick(KEYS), value);
  else if (dice === 2) put(key, structuredClone((other.holder as Record<string, unknown>)[other.key]));
  else if (dice === 3 && typeof value === "number") put(key, value + rng.pick([-1, 1, 0.5, 2 ** 31, -(2 ** 31)]));
  else if (dice === 4 && typeof value === "string")
    put(key, value.slice(0, rng.int(value.length + 1)) + rng.pick(["", "\n", "é", "0", value]));
  else if (dice === 5) put(key, nested(rng.pick([3, 70, 500])));
  else put(key, structuredClone(rng.pick(VALUES)));
}

function nested(depth: number): unknown {
  let value: unknown = 0;
  for (let i = 0; i < depth; i++) value = [value];
  return value;
}

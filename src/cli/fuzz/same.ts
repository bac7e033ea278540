import { canonicalJson } from "../../base/canonical.ts";
import { WrongRead } from "./fuzz.ts";

/** Throws a WrongRead unless both values are equal as canonical JSON. */
export function same(value: unknown, expected: unknown, what: string): void {
  if (canonicalJson(value) !== canonicalJson(expected))
    throw new WrongRead(`${what} comes out as another one when it is written and read again`);
}

export const utf8 = (value: string): Uint8Array => new TextEncoder().encode(value);
export const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex, concatBytes, utf8ToBytes } from "@noble/hashes/utils.js";

const toBytes = (part: Uint8Array | string): Uint8Array => (typeof part === "string" ? utf8ToBytes(part) : part);

/** SHA-256 of the parts joined without a separator (strings as UTF-8), 32 bytes. */
export function sha256Bytes(...parts: readonly (Uint8Array | string)[]): Uint8Array {
  return sha256(parts.length === 1 ? toBytes(parts[0] as Uint8Array | string) : concatBytes(...parts.map(toBytes)));
}

/** SHA-256 of the parts joined without a separator, as 64 lower-case hex digits. */
export function sha256Hex(...parts: readonly (Uint8Array | string)[]): string {
  return bytesToHex(sha256Bytes(...parts));
}

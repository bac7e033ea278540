import { fromBase64 } from "./canonical.ts";

/**
 * The value of one line of JSONL, bytes (`{"$bytes": base64}`, as canonical.ts writes them) as Uint8Array.
 * Unlike parseCanonical it takes any JSON text. Throws a SyntaxError that names the line, counted from 1.
 */
export function parseJsonLine(line: string, number: number): unknown {
  try {
    return JSON.parse(line, reviveBytes);
  } catch (error) {
    throw new SyntaxError(
      `line ${number} is not valid JSON: ${error instanceof Error ? error.message : String(error)}`,
    );
  }
}

function reviveBytes(_key: string, value: unknown): unknown {
  const text = typeof value === "object" && value !== null ? (value as Record<string, unknown>).$bytes : undefined;
  return typeof text === "string" ? fromBase64(text) : value;
}

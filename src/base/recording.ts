import { fromBase64 } from "./canonical.ts";
import type { LoopEvent } from "./events.ts";
import { InputError, parseJson } from "./input.ts";

/** A recording is the events of a run: JSON Lines, gzipped or plain, pictures as `{"$bytes": base64}`. */

/** A recording unpacks to at most this many bytes; the bundled one has 3 MB. */
const MAX_BYTES = 2 ** 28;
/** Milliseconds of parsing after which the page gets its turn. */
const SLICE = 10;

/**
 * Events of a recording. Gzip is recognised by its first bytes, because some servers unpack it on the way.
 * Parses in slices of about 10 ms, so that the page stays responsive; `now` is a clock in milliseconds.
 * Throws an InputError: the file is damaged or too large, or a line (named) is not the next event of a run.
 */
export async function readRecording(bytes: Uint8Array, now: () => number): Promise<readonly LoopEvent[]> {
  const text = decode(await unpack(bytes));
  const events: LoopEvent[] = [];
  let sliceStart = now();
  for (const [index, line] of text.split("\n").entries()) {
    if (line.trim() === "") continue;
    events.push(readEvent(line, `line ${index + 1}`, events.length));
    if (now() - sliceStart < SLICE) continue;
    await new Promise((resolve) => setTimeout(resolve));
    sliceStart = now();
  }
  return events;
}

async function unpack(bytes: Uint8Array): Promise<Uint8Array> {
  const gzipped = bytes[0] === 0x1f && bytes[1] === 0x8b;
  if (!gzipped) return bytes;
  const packed = new Blob([bytes as Uint8Array<ArrayBuffer>]).stream();
  const reader = packed.pipeThrough(new DecompressionStream("gzip")).getReader();
  const parts: Uint8Array[] = [];
  let total = 0;
  for (;;) {
    const { done, value } = await reader.read().catch(() => {
      throw new InputError("the recording is not a whole gzip file: fetch it again");
    });
    if (done) break;
    total += value.length;
    if (total > MAX_BYTES) {
      await reader.cancel();
      throw new InputError(`the recording unpacks to more than ${MAX_BYTES} bytes`);
    }
    parts.push(value);
  }
  const whole = new Uint8Array(total);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function decode(bytes: Uint8Array): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new InputError("the recording is not UTF-8 text");
  }
}

/** One line as event number `seq`. */
function readEvent(line: string, where: string, seq: number): LoopEvent {
  const event = revive(parseJson(line, where)) as LoopEvent | null;
  const known =
    event?.seq === seq && typeof event.type === "string" && Number.isFinite(event.at) && Number.isFinite(event.round);
  if (!known) throw new InputError(`${where} is not event ${seq} of a run`);
  return event;
}

/** Bytes where they stand as base64. Unlike parseCanonical this takes any JSON. */
function revive(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(revive);
  const { $bytes } = value as Record<string, unknown>;
  if (typeof $bytes === "string") return fromBase64($bytes);
  return Object.fromEntries(Object.entries(value).map(([key, field]) => [key, revive(field)]));
}

/** Runs one parser on seeded mutations of good input and says what it made of each. */
import { InputError } from "../../base/input.ts";
import { type Rng, rngFor } from "../../base/rng.ts";
import { StoreError } from "../../store/errors.ts";
import { ShapeError } from "../../store/shape.ts";
import { ZipError } from "../../store/zip.ts";
import { startWatchdog } from "./watchdog.ts";

/** A parser of outside bytes under test. */
export interface Target {
  readonly name: string;
  /** What it reads, for --help and reports. */
  readonly what: string;
  /** Makes the samples once. What it returns makes one mutation and parses it; what the parser throws passes through. */
  prepare(): Promise<(rng: Rng) => void | Promise<void>>;
}

export interface FuzzFailure {
  readonly parser: string;
  readonly seed: number;
  readonly run: number;
  readonly message: string;
}

export interface FuzzReport {
  readonly parser: string;
  readonly seed: number;
  readonly runs: number;
  /** Mutations that were read (and read right), and those that were refused with a clear error. */
  readonly read: number;
  readonly refused: number;
  readonly failures: readonly FuzzFailure[];
  readonly seconds: number;
  readonly slowestMs: number;
}

/** Thrown by a target that sees its parser read something wrongly. */
export class WrongRead extends Error {}

/** Thrown by a target whose parser refuses by value, with these messages. */
export class Refused extends Error {
  readonly messages: readonly string[];

  constructor(messages: readonly string[]) {
    super(messages[0]);
    this.messages = messages;
  }
}

/** Most failures of one parser that are kept: the first ones say enough. */
const MAX_FAILURES = 20;
/** Bytes that one mutation of a few kilobytes may make a parser hold. */
const MAX_MEMORY = 2 ** 28;

/**
 * Mutations `first` … `first + runs − 1` of a parser. Each must be read right or end in one of the project's own errors
 * (InputError, StoreError, ZipError, ShapeError) with a message that shows nothing of the language's insides, within
 * the watchdog's time and memory. The mutation is a function of (seed, parser's name, number), so a failure can be run again.
 */
export async function fuzz(
  target: Target,
  options: { readonly seed: number; readonly runs: number; readonly first?: number; readonly now: () => number },
): Promise<FuzzReport> {
  const { seed, runs, first = 0, now } = options;
  const attempt = await target.prepare();
  const failures: FuzzFailure[] = [];
  const counts = { read: 0, refused: 0 };
  let slowestMs = 0;
  const began = now();
  const watchdog = startWatchdog(`${target.name} --seed ${seed}`);
  try {
    for (let run = first; run < first + runs && failures.length < MAX_FAILURES; run++) {
      watchdog.beat(run);
      const before = memory();
      const start = now();
      const outcome = await judged(() => attempt(rngFor(seed, "fuzz", target.name, run)));
      slowestMs = Math.max(slowestMs, now() - start);
      const held = memory() - before;
      if (held > MAX_MEMORY) fail(`it made the parser hold ${Math.round(held / 2 ** 20)} MiB`);
      else if (outcome.kind === "failed") fail(outcome.message);
      else counts[outcome.kind]++;

      function fail(message: string): void {
        failures.push({ parser: target.name, seed, run, message });
      }
    }
  } finally {
    await watchdog.stop();
  }
  return { parser: target.name, seed, runs, ...counts, failures, seconds: (now() - began) / 1000, slowestMs };
}

function memory(): number {
  const { arrayBuffers, heapUsed } = process.memoryUsage();
  return arrayBuffers + heapUsed;
}

type Outcome = { readonly kind: "read" | "refused" } | { readonly kind: "failed"; readonly message: string };

async function judged(work: () => void | Promise<void>): Promise<Outcome> {
  try {
    await work();
    return { kind: "read" };
  } catch (error) {
    const problem = problemOf(error);
    return problem === null ? { kind: "refused" } : { kind: "failed", message: problem };
  }
}

/** What a language's or runtime's own error says, and what no reader of a message can act on. */
const INSIDES =
  /undefined|is not a function|is not iterable|cannot (read|set|convert|destructure|access|mix)|\[object |call stack|invalid (array|typed|string) length|out of (bounds|memory|range)|bigint|prototype/i;
const MAX_MESSAGE = 2000;

/** Why an error is not a clear refusal, null if it is one. */
export function problemOf(error: unknown): string | null {
  if (error instanceof WrongRead) return error.message;
  if (error instanceof Refused) return error.messages.map(messageProblem).find((problem) => problem !== null) ?? null;
  const known = [InputError, StoreError, ZipError, ShapeError].some((kind) => error instanceof kind);
  if (!known)
    return `not one of our errors: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`;
  return messageProblem((error as Error).message);
}

/** Why a message is not clear, null if it is. What it quotes from the input does not count. */
function messageProblem(message: string): string | null {
  const own = message.replace(/"(?:[^"\\]|\\.)*"/g, '""');
  if (own.trim() === "") return "the message is empty";
  if (message.length > MAX_MESSAGE) return `the message has ${message.length} characters`;
  if (INSIDES.test(own)) return `the message shows insides: ${message}`;
  return null;
}

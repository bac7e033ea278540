import { InputError } from "../base/input.ts";
import { describe } from "./json.ts";

/**
 * Runs `work` and ends it when `limitMs` is over, even in the middle of a regular expression, with a TimeLimit. Only some
 * platforms can do that (Node can); where none is given, files are trusted, as the page trusts its own.
 */
export type Bounded = <T>(work: () => T, limitMs: number) => T;

export class TimeLimit extends Error {}

/** A pattern that is fit for words does this in a few milliseconds. */
const PROBE_MS = 3_000;
const REPEATS = 64;
/** What stands behind the repetitions, so that a pattern has to give up what it has matched. */
const ENDS = ["", "!", "\u0001", "\n", "z", "0"];
/** What words are made of; beside these each pattern is tried with the letters that stand in it. */
const COMMON = ["a", "A", "é", "中", "0", " ", "\n", "\t", "!", ",", "'"];
const MOST_OWN = 8;

/**
 * Tries each regular expression that was built from a file on texts that make careless ones backtrack without end:
 * characters, and pairs of the pattern's own, repeated 64 times. Throws an InputError that names the pattern. A pattern
 * that passes may still be slow on another text: every later use is bounded as well.
 */
export function probePatterns(built: unknown, source: string, bounded: Bounded): void {
  for (const pattern of patternsOf(built)) {
    const texts = hostileTexts(pattern.source);
    try {
      bounded(() => texts.map((text) => text.match(pattern)?.length), PROBE_MS);
    } catch (error) {
      if (!(error instanceof TimeLimit)) throw error;
      throw new InputError(
        `${source}: the pattern ${describe(pattern.source)} takes more than ${PROBE_MS / 1000} s for a text of ${REPEATS} characters: it backtracks without end. Use the tokenizer of the model's maker, or write the pattern so that no two of its repetitions can match the same text`,
      );
    }
  }
}

/** Every regular expression in an object, however deep. */
function patternsOf(built: unknown): readonly RegExp[] {
  const found = new Map<string, RegExp>();
  const seen = new Set<unknown>();
  const look = (part: unknown): void => {
    if (part instanceof RegExp) {
      found.set(String(part), part);
      return;
    }
    const holds = (typeof part === "object" && part !== null) || typeof part === "function"; // stages can be called
    if (!holds || seen.has(part)) return;
    seen.add(part);
    for (const one of Object.values(part as object)) look(one);
  };
  look(built);
  return [...found.values()];
}

function hostileTexts(source: string): readonly string[] {
  const own = [...new Set(source.replace(/\\[pP]\{[^}]*\}|\\./gu, "").match(/[\p{L}\p{N}_-]/gu) ?? [])].slice(
    0,
    MOST_OWN,
  );
  const pairs = own.flatMap((a) => own.filter((b) => b !== a).map((b) => a + b));
  return [...COMMON, ...own, ...pairs].flatMap((unit) => ENDS.map((end) => unit.repeat(REPEATS) + end));
}

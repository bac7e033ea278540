import { kindOf } from "../../src/cli/faults/scenario.ts";

/** Seeds that failed once, with what was wrong. They are played in every test run and never leave this list. */
export const failedSeeds: ReadonlyMap<number, string> = new Map([
  [25, "a read-back buffer stayed behind when its mapping failed with the device"],
  [37, "an engine stayed open when the store beneath it could not be opened"],
  [53, "the same, at another write"],
  [1077, "a folder that could not be begun on a full disk did not call that a full disk"],
]);

/** Runs on IndexedDB in every test run; about as many on a folder come with them. */
export const IN_INDEXEDDB = 185;

/** The seeds of a test run, from 1000 on until so many are on IndexedDB, in two halves. */
export function seeds(): readonly [readonly number[], readonly number[]] {
  const all: number[] = [];
  for (let seed = 1000, left = IN_INDEXEDDB; left > 0; seed++) {
    all.push(seed);
    if (kindOf(seed).memory === "indexeddb") left--;
  }
  const half = Math.ceil(all.length / 2);
  return [all.slice(0, half), all.slice(half)];
}

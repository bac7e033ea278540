/** The second half of the fault matrix, in a process of its own: drivers keep something for every run. */
import { expect, test } from "vitest";
import { kindOf } from "../../src/cli/faults/scenario.ts";
import { oneFaultARun } from "./each.ts";
import { IN_INDEXEDDB, seeds } from "./seeds.ts";

const [first, second] = seeds();
oneFaultARun(second);

test("both halves together: as many runs in IndexedDB as are promised, each seed once", () => {
  const all = [...first, ...second];
  expect(new Set(all).size).toBe(all.length);
  expect(all.filter((seed) => kindOf(seed).memory === "indexeddb")).toHaveLength(IN_INDEXEDDB);
});

/** The fault matrix: whatever breaks, wherever, the resumed run ends as if nothing had happened. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Matrix, openMatrix, type Result } from "../../src/cli/faults/matrix.ts";
import { presets } from "../../src/cli/faults/preset.ts";
import { described, FAULTS } from "../../src/cli/faults/scenario.ts";
import { failedSeeds } from "./seeds.ts";

/** Runs of this file, seeds from 1000 on; those that failed once come on top. */
const RUNS = 185;

const memories = ["indexeddb", "folder"] as const;
let matrix: Matrix;
const results: Result[] = [];

beforeAll(async () => {
  matrix = await openMatrix();
});
afterAll(() => matrix.close());

describe("undisturbed runs", () => {
  test.each(presets)("$name: the same content in both memories", async (preset) => {
    const first = await matrix.plain(preset, "indexeddb");
    const second = await matrix.plain(preset, "folder");
    expect(first.content).toMatch(/^[0-9a-f]{64}$/);
    expect(second.content).toBe(first.content);
  });

  test("take every way through the loop", async () => {
    const events = new Set<string>();
    for (const preset of presets) for (const type of (await matrix.plain(preset, "folder")).events) events.add(type);
    for (const type of ["committed", "deferred", "rejected", "restored", "evaluated", "finished"] as const)
      expect(events).toContain(type);
  });
});

describe("one fault a run", () => {
  const seeds = new Set([...failedSeeds.keys(), ...Array.from({ length: RUNS }, (_, i) => 1000 + i)]);
  test.each([...seeds])("seed %i", async (seed) => {
    const result = await matrix.run(seed);
    results.push(result);
    expect(result.played.problems, described(result.scenario)).toEqual([]);
  });

  test("every fault has struck in every memory that knows it", () => {
    const struck = new Set(results.map(({ scenario: { fault, memory } }) => `${fault}, ${memory}`));
    for (const fault of FAULTS)
      for (const memory of memories)
        if (!(fault === "worker killed" && memory === "folder")) expect(struck).toContain(`${fault}, ${memory}`);
  });
});

/** The fault matrix: whatever breaks, wherever, the resumed run ends as if nothing had happened. */
import { describe, expect, test } from "vitest";
import { presets } from "../../src/cli/faults/preset.ts";
import { FAULTS } from "../../src/cli/faults/scenario.ts";
import { oneFaultARun } from "./each.ts";
import { failedSeeds, seeds } from "./seeds.ts";

const [first] = seeds();
const { matrix, results } = oneFaultARun(new Set([...failedSeeds.keys(), ...first]));

describe("undisturbed runs", () => {
  test.each(presets)("$name: the same content in both memories", async (preset) => {
    const first = await matrix().plain(preset, "indexeddb");
    const second = await matrix().plain(preset, "folder");
    expect(first.content).toMatch(/^[0-9a-f]{64}$/);
    expect(second.content).toBe(first.content);
  });

  test("take every way through the loop", async () => {
    const events = new Set<string>();
    for (const preset of presets) for (const type of (await matrix().plain(preset, "folder")).events) events.add(type);
    for (const type of ["committed", "deferred", "rejected", "restored", "evaluated", "finished"] as const)
      expect(events).toContain(type);
  });
});

test("every fault has struck in every memory that knows it", () => {
  const struck = new Set(results.map(({ scenario: { fault, memory } }) => `${fault}, ${memory}`));
  for (const fault of FAULTS)
    for (const memory of ["indexeddb", "folder"])
      if (!(fault === "worker killed" && memory === "folder")) expect(struck).toContain(`${fault}, ${memory}`);
});

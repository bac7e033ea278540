/** Mutations that once ended badly, kept by their numbers. */
import { expect, test } from "vitest";
import { fuzz, type Target } from "../../src/cli/fuzz/fuzz.ts";
import { TARGETS } from "../../src/cli/fuzz/targets.ts";

test.each([
  ["a number beyond 1e308 in canonical JSON: a TypeError", "journal", 0, [141, 172, 194]],
  ["a PNG filter that does not exist: 'undefined' in the message", "png", 0, [879, 902, 1391, 1705]],
  ["stages of a tokenizer without a type: 'undefined' in the message", "tokenizer", 0, [15, 40, 47, 60]],
  ["a config without model_type: 'undefined' in the message", "judge-config", 0, [10, 17, 26, 51]],
  ["a format version of 5,000 characters, quoted whole", "archive", 0, [598]],
  ["a pair's id of 5,000 characters, quoted whole", "archive", 1, [7909]],
])(
  "%s",
  async (_what, parser, seed, runs) => {
    const target = TARGETS.find(({ name }) => name === parser) as Target;
    for (const first of runs) {
      const report = await fuzz(target, { seed, first, runs: 1, now: () => performance.now() });
      expect(report.failures).toEqual([]);
    }
  },
  300_000,
);

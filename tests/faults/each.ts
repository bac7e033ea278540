import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type Matrix, openMatrix, type Result } from "../../src/cli/faults/matrix.ts";
import { described } from "../../src/cli/faults/scenario.ts";

export interface Rig {
  readonly matrix: () => Matrix;
  /** Of the runs so far. */
  readonly results: readonly Result[];
}

/** Opens a matrix for this file, and registers a test for each of these runs. */
export function oneFaultARun(seeds: Iterable<number>): Rig {
  let matrix: Matrix;
  const results: Result[] = [];
  beforeAll(async () => {
    matrix = await openMatrix();
  });
  afterAll(() => matrix.close());
  describe("one fault a run", () => {
    test.each([...seeds])("seed %i", async (seed) => {
      const result = await matrix.run(seed);
      results.push(result);
      expect(result.played.problems, described(result.scenario)).toEqual([]);
    });
  });
  return { matrix: () => matrix, results };
}

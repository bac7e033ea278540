import { expect, test } from "vitest";
import { expectedProduct, flopsOf, sampledPlaces, WORKS } from "../../src/bench/peers/workloads.ts";
import {
  againstFastest,
  agreeing,
  callRows,
  checkRows,
  firstRunRows,
  markdownTable,
  ratio,
  speedRows,
  type WorkResult,
} from "../../src/cli/peer-report.ts";

const step = WORKS.full.find((work) => work.kind === "train");
if (!step) throw new Error("there is no train step among the workloads");

const timed = (first: number, ...runs: number[]) => ({
  kind: "timed" as const,
  first,
  runs,
  calls: { dispatches: 464, submits: 466, bindGroups: 460, buffers: 9 },
  shown: "loss 4.1 → 4.0",
});

const result: WorkResult = {
  work: step,
  outcomes: {
    autodidact: timed(900, 100, 200, 100),
    fast: timed(5000, 300, 500, 320),
    slow: timed(9000, 2000, 2000),
    liar: { kind: "wrong", reason: "loss 3.0 → 2.9, which is not what autodidact found" },
    other: { kind: "absent" },
  },
};

test("ratios are taken round by round; who dropped out early is compared in the rounds it ran", () => {
  expect(ratio(result, "fast")).toEqual({ median: 3, least: 2.5, most: 3.2 });
  expect(ratio(result, "slow")).toEqual({ median: 20, least: 10, most: 20 });
  expect(ratio(result, "liar")).toBeNull();
  expect(ratio(result, "other")).toBeNull();
  expect(againstFastest(result)).toEqual({ peer: "fast", ratio: 3 });
});

test("a contestant that computes something else is named as wrong, without a time", () => {
  const names = ["autodidact", "fast", "slow", "liar", "other"];
  const [head, row] = speedRows([result], names) as [string[], string[]];
  expect(head.at(-1)).toBe("against the fastest peer");
  expect(row[1]).toBe("100 ms");
  expect(row[2]).toBe("320 ms (3.0×; 2.5–3.2)");
  expect(row[4]).toContain("**wrong**: loss 3.0");
  expect(row[5]).toBe("–");
  expect(row[6]).toBe("3.0×");
  expect(firstRunRows([result], names)[1]?.slice(1)).toEqual(["900 ms", "5.00 s", "9.00 s", "–", "–"]);
  expect(callRows([result], names)[1]?.[1]).toBe("464 / 466 / 460");
  expect(checkRows([result], names)[1]?.[1]).toBe("loss 4.1 → 4.0; 3 runs");
});

test("those that agree are believed; alone among several, nobody is", () => {
  expect(agreeing({ a: [4.1, 4.0], b: [4.1001, 4.0], c: [3.2, 3.1] }, 1e-3)).toEqual(new Set(["a", "b"]));
  expect(agreeing({ a: [1, 2], b: [2, 1] }, 0)).toEqual(new Set());
  expect(agreeing({ a: [1, 2] }, 0)).toEqual(new Set(["a"]));
  expect(agreeing({ a: [1, 2], b: [1] }, 0)).toEqual(new Set());
  expect(agreeing({ a: [Number.NaN], b: [Number.NaN] }, 1)).toEqual(new Set());
});

test("a table of Markdown keeps its columns", () => {
  expect(
    markdownTable([
      ["work", "a"],
      ["matmul", "1.0"],
    ]),
  ).toBe("| work   | a   |\n| ------ | --- |\n| matmul | 1.0 |");
});

test("operations and products of a work are those of its definition", () => {
  const [product] = WORKS.quick;
  if (product?.kind !== "matmul") throw new Error("the first quick work is a product");
  expect(flopsOf(product)).toBe(2 * 64 ** 3 * 2);
  expect(expectedProduct(product)).toHaveLength(sampledPlaces(product).length);
  // 3 passes over 2,048 tokens: weights of 3 layers (4·64² + 3·64·176) and a head of 64², causal attention of 4 heads of 16.
  const weights = 3 * (4 * 64 ** 2 + 3 * 64 * 176) + 64 ** 2;
  const attention = 4 * 3 * 64 * ((32 * 33) / 2);
  expect(flopsOf(step)).toBe(3 * 64 * (2 * weights * 32 + attention));
});

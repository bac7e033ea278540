import { expect, test } from "vitest";
import { llama } from "../../src/bench/peers/workloads.ts";
import { peersText, scalingText } from "../../src/cli/bench-docs.ts";
import type { PeersReport } from "../../src/cli/bench-peers.ts";
import {
  candidateRows,
  comparisonRows,
  curveRows,
  exponent,
  sameLoss,
  sharedFlops,
} from "../../src/cli/bench-scaling.ts";
import { replaceBlock } from "../../src/cli/document.ts";

const document = "before\n<!-- bench:peers:begin -->\nold\n<!-- bench:peers:end -->\nafter\n";

test("a block is replaced between its markers, and what surrounds it stays", () => {
  const once = replaceBlock(document, "bench:peers", "new\n");
  expect(once).toBe("before\n<!-- bench:peers:begin -->\n\nnew\n\n<!-- bench:peers:end -->\nafter\n");
  expect(replaceBlock(once, "bench:peers", "new")).toBe(once);
  expect(() => replaceBlock(document, "bench:scaling", "new")).toThrow("<!-- bench:scaling:begin -->");
  expect(() => replaceBlock(document + document, "bench:peers", "new")).toThrow("needs one line");
});

const report: PeersReport = {
  browser: "Chromium 156",
  adapter: "SwiftShader",
  software: true,
  versions: { autodidact: "0.1.0", "@jax-js/jax": "0.1.25" },
  names: ["autodidact", "@jax-js/jax"],
  results: [],
};

test("the tables name adapter, versions and load, and say that no real GPU was measured", () => {
  const text = peersText(report, { load: 3.2, at: Date.UTC(2026, 10, 22) });
  expect(text).toContain("2026-11-22, Chromium 156, adapter SwiftShader");
  expect(text).toContain("load average of 3.2");
  expect(text).toContain("none of it was measured on a real GPU");
  expect(text).toContain("@jax-js/jax 0.1.25");
  expect(peersText({ ...report, software: false }, { load: 0, at: 0 })).toContain("Measured on a real GPU");
  expect(scalingText([], [], { description: "llvmpipe", fallback: true }, { load: 0.1, at: 0 })).toContain(
    "adapter llvmpipe, on an idle machine",
  );
});

test("the exponent of a curve is 1 where time follows the operations, more where it grows faster", () => {
  const curve = (power: number) => [1, 2, 4, 8].map((size) => ({ size, flops: 1e6 * size, ms: 3 * size ** power }));
  expect(exponent(curve(1))).toBeCloseTo(1, 12);
  expect(exponent(curve(1.5))).toBeCloseTo(1.5, 12);
  const [, row] = curveRows([{ axis: "layers", points: curve(1) }]);
  expect(row?.[2]).toBe("2: 6.0 ms (2.00×, operations 2.00×)");
  expect(row?.at(-1)).toBe("1.00");
});

test("candidates are the same tokens with one prompt for all and with one for each", () => {
  const sizes = { count: 3, k: 4, prompt: 6, answer: 2 };
  const shared = candidateRows(sizes, 64, true);
  const separate = candidateRows(sizes, 64, false);
  expect(shared).toHaveLength(3);
  expect(separate).toHaveLength(12);
  expect(separate.map(({ answers }) => answers[0])).toEqual(shared.flatMap(({ answers }) => answers));
  expect(separate.slice(0, 4).map(({ prompt }) => prompt)).toEqual(Array(4).fill(shared[0]?.prompt));
});

test("operations of a step on shared prompts, counted by hand", () => {
  const config = llama({
    vocab_size: 10,
    hidden_size: 8,
    intermediate_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 2,
    num_key_value_heads: 2,
  });
  // 5 tokens through 640 weights and 4 through the head, forward and backward; 14 pairs of a query and a key.
  const wanted = 2 * (2 * 640 * 5 + 2 * 80 * 4) + 3 * 4 * 8 * 14;
  expect(sharedFlops(config, { count: 1, k: 2, prompt: 3, answer: 2 })).toBe(wanted);
  expect(sharedFlops(config, { count: 3, k: 2, prompt: 3, answer: 2 })).toBe(3 * wanted);
});

test("a comparison tells how much of the ratio of computed tokens is reached", () => {
  const result = { name: "shared", firstMs: 10, secondMs: 14, ratio: 1.4, cpuRatio: 1.5, expected: 1.6 };
  expect(comparisonRows([result])[1]).toEqual(["shared", "10.0 ms", "14.0 ms", "1.40×", "1.60×", "88%", "94%"]);
});

test("two ways of the same work must have the same loss", () => {
  expect(() =>
    sameLoss("shared", [
      [0.6931, 0.5],
      [0.69312, 0.4],
    ]),
  ).not.toThrow();
  expect(() => sameLoss("shared", [[0.6931], [0.694]])).toThrow("shared: the losses are 0.6931 and 0.694");
  expect(() => sameLoss("shared", [[Number.NaN], [Number.NaN]])).toThrow("NaN");
});

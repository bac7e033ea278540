import { expect, test } from "vitest";
import { Graph } from "../../src/gpu/graph.ts";
import { layoutOf } from "../../src/gpu/layout.ts";
import { chunkOf, headLogprob, STORED_VOCABULARY } from "../../src/ops/logprob.ts";
import { transpose } from "../../src/ops/matmul.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as logprobs from "../reference/logprob.ts";
import { checkOp } from "./check.ts";

const gpu = await openTestGpu();

/** log softmax(x Wᵀ)[target] in f64. */
function reference(x: Float64Array, w: Float64Array, target: ArrayLike<number>, C: number, V: number): Float64Array {
  const M = x.length / C;
  const logits = new Float64Array(M * V);
  for (let m = 0; m < M; m++)
    for (let v = 0; v < V; v++)
      for (let c = 0; c < C; c++) logits[m * V + v]! += (x[m * C + c] as number) * (w[v * C + c] as number);
  return logprobs.logprob(logits, target, V);
}

test.each([
  [1, 1, 1],
  [3, 5, 70],
  [4, 64, 200],
  [65, 12, 129],
  [5, 20, 64],
] as const)("log-probs of %i rows of %i, vocabulary %i, in chunks: values and gradients of x and W", (M, C, V) =>
  checkOp(gpu, {
    name: `head logprob ${M} ${C} ${V}`,
    inputs: {
      x: { shape: [M, C] },
      w: { shape: [V, C] },
      target: { shape: [M], data: Uint32Array.from({ length: M }, (_, m) => (m * 67 + V - 1) % V) },
    },
    op: (ctx, { x, w, target }) =>
      headLogprob(ctx, x!, { name: "head", w: w!, wT: ctx.g.temp("wT", [C, V]) }, target!, 0),
    reference: ({ x, w, target }) => reference(x!, w!, target!, C, V),
    variants: ["plain", "sg4", "sg8"],
    sampled: 30,
  }),
);

test("large logits lose no digits, in whichever chunk the largest stands", () =>
  checkOp(gpu, {
    name: "head logprob extremes",
    inputs: {
      x: { shape: [2, 4], data: new Float32Array([50, 0, 0, 0, 0, 50, 0, 0]), grad: false },
      w: {
        shape: [130, 4],
        data: Float32Array.from({ length: 520 }, (_, i) => (i % 4 === 0 ? i / 10 : i % 4 === 1 ? -i / 10 : 0)),
        grad: false,
      },
      target: { shape: [2], data: new Uint32Array([129, 0]) },
    },
    op: (ctx, { x, w, target }) =>
      headLogprob(ctx, x!, { name: "head", w: w!, wT: ctx.g.temp("wT", [4, 130]) }, target!, 0),
    reference: ({ x, w, target }) => reference(x!, w!, target!, 4, 130),
  }));

test.each([
  [64, 2048],
  [1024, 2048],
  [256, 49152],
])("%i rows of a vocabulary of %i: no tensor of (rows, vocabulary) is placed, forward or backward", (M, V) => {
  const bytes = (stored: number) => {
    const g = new Graph();
    const ctx = { g, variants: { matmul: "plain" as const } };
    const [x, w] = [g.input("x", [M, 32], "f32", true), g.input("w", [V, 32])];
    const wT = g.temp("wT", [32, V]);
    if (V <= stored) transpose(ctx, w, wT);
    const logp = headLogprob(ctx, x, { name: "head", w, wT }, g.input("target", [M], "u32"), stored);
    g.backward([{ of: logp, grad: g.input("dlogp", [M]) }]);
    return Math.max(
      ...layoutOf("head", g).buffers.map((buffer) => (buffer.name.startsWith("slot") ? buffer.bytes : 0)),
    );
  };
  expect(V).toBeGreaterThan(STORED_VOCABULARY);
  expect(bytes(STORED_VOCABULARY)).toBeLessThanOrEqual(Math.max(4 * M * chunkOf(V, M), 4 * 4 * 8 * M));
  expect(bytes(STORED_VOCABULARY)).toBeLessThanOrEqual(M * V);
  expect(bytes(V)).toBe(4 * M * V);
});

import { expect, test } from "vitest";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { addResidual } from "../../src/ops/elementwise.ts";
import { addRows, linear } from "../../src/ops/linear.ts";
import { transpose } from "../../src/ops/matmul.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/linear.ts";
import { checkOp } from "./check.ts";

const gpu = await openTestGpu();

const SIZES = [
  // R, K (in), N (out), r
  [1, 1, 1, 1],
  [3, 5, 3, 2],
  [1, 4, 4, 4],
  [3, 20, 4, 4],
  [65, 12, 36, 8],
  [5, 36, 200, 3],
  [130, 32, 48, 4],
] as const;

test.each(SIZES)("y = x Wᵀ + s x A B + bias, trainable: %i × %i × %i, rank %i", async (R, K, N, r) => {
  const scale = 0.75;
  await checkOp(gpu, {
    name: `linear ${R} ${K} ${N} ${r}`,
    inputs: {
      x: { shape: [R, K] },
      w: { shape: [N, K] },
      a: { shape: [K, r] },
      b: { shape: [r, N] },
      bias: { shape: [N] },
    },
    op: (ctx, { x, w, a, b, bias }) => {
      const wT = ctx.g.temp("wT", [K, N]);
      transpose(ctx, w!, wT);
      return linear(ctx, x!, { name: "test", w: w!, wT, bias: bias! }, { aT: a!, bT: b!, scale });
    },
    reference: ({ x, w, a, b, bias }) =>
      reference.linear({ x: x!, w: w!, a: a!, b: b!, bias: bias! }, { R, K, N, r, scale }),
    variants: ["plain", "sg4", "sg8"],
  });
});

test("two linears of one input: their gradients add up", async () => {
  const [R, K, N] = [5, 20, 36];
  await checkOp(gpu, {
    name: "linear twice",
    inputs: {
      x: { shape: [R, K] },
      w: { shape: [N, K] },
      u: { shape: [N, K] },
      a: { shape: [K, 4] },
      b: { shape: [4, N] },
    },
    op: (ctx, { x, w, u, a, b }) => {
      const both = [w!, u!].map((weight) => {
        const wT = ctx.g.temp("wT", [K, N]);
        transpose(ctx, weight, wT);
        return { name: weight.name, w: weight, wT };
      });
      const lora = { aT: a!, bT: b!, scale: 2 };
      return addResidual(ctx, linear(ctx, x!, both[0]!, lora), linear(ctx, x!, both[1]!, lora));
    },
    reference: ({ x, w, u, a, b }) => {
      const y = reference.linear({ x: x!, w: w!, a: a!, b: b! }, { R, K, N, r: 4, scale: 2 });
      const z = reference.linear({ x: x!, w: u!, a: a!, b: b! }, { R, K, N, r: 4, scale: 2 });
      return y.map((value, i) => value + (z[i] as number));
    },
  });
});

test("a frozen weight under LoRA: only the factors and x get gradients", async () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const x = g.input("x", [2, 4], "f32", true);
  const w = g.input("w", [4, 4]);
  const lora = { aT: g.input("a", [4, 4], "f32", true), bT: g.input("b", [4, 4], "f32", true), scale: 1 };
  const y = linear(ctx, x, { name: "frozen", w, wT: g.input("wT", [4, 4]) }, lora);
  g.backward([{ of: y, grad: g.input("dy", [2, 4]) }]);
  expect([x, lora.aT, lora.bT, w].map((tensor) => g.gradOf(tensor) !== null)).toEqual([true, true, true, false]);
  await gpu.checked(() => compile("frozen", g, gpu.device, gpu.pipelines));
});

test.each([
  [1, 1, 1],
  [3, 5, 1],
  [65, 3, 1],
  [6, 4, 3], // a table of three rows, repeated: the positions of patches
  [200, 65, 1],
  [200, 5, 50],
])("addRows: (%i,%i) plus a table of %i rows", (R, C, rows) =>
  checkOp(gpu, {
    name: `addRows ${R} ${C} ${rows}`,
    inputs: { x: { shape: [R, C] }, table: { shape: [rows, C] } },
    op: (ctx, { x, table }) => addRows(ctx, x!, table!),
    reference: ({ x, table }) => x!.map((value, i) => value + (table![i % (rows * C)] as number)),
  }),
);

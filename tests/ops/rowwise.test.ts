import { expect, test } from "vitest";
import { Graph, type Tensor } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { FAMILIES, type OpContext } from "../../src/ops/context.ts";
import { addResidual, splitColumns, swiglu, swigluHalves } from "../../src/ops/elementwise.ts";
import { addRows, linear } from "../../src/ops/linear.ts";
import { logprob } from "../../src/ops/logprob.ts";
import { transpose } from "../../src/ops/matmul.ts";
import { rmsnorm } from "../../src/ops/rmsnorm.ts";
import { rope, ropeTable } from "../../src/ops/rope.ts";
import { openTestGpu } from "../gpu/open.ts";
import { gather } from "../reference/embed.ts";
import * as linears from "../reference/linear.ts";
import * as logprobs from "../reference/logprob.ts";
import * as norms from "../reference/rmsnorm.ts";
import * as ropes from "../reference/rope.ts";
import * as swiglus from "../reference/swiglu.ts";
import { checkOp, keep, someRows } from "./check.ts";

const gpu = await openTestGpu();

const QUADS = [
  [1, 4],
  [3, 20],
  [4, 68],
  [5, 200],
  [65, 4],
] as const;
const ANY = [
  [1, 1],
  [3, 5],
  [4, 65],
  [5, 200],
  [65, 3],
] as const;

test.each([...QUADS, [37, 64], [2, 576]] as const)("rmsnorm (%i,%i)", (R, C) =>
  checkOp(gpu, {
    name: `rmsnorm ${R} ${C}`,
    variants: FAMILIES,
    inputs: { x: { shape: [R, C] }, w: { shape: [C] } },
    op: (ctx, { x, w }) => rmsnorm(ctx, x!, w!, 1e-3),
    reference: ({ x, w }) => norms.rmsnorm(x!, w!, R, C, 1e-3),
  }),
);

test.each([
  [5, 4, 3],
  [65, 20, 20],
  [40, 68, 40],
])("rmsnorm of rows: (%i,%i), %i of them, some twice, some places empty", (N, C, R) => {
  const { rows, index, inverse, next } = someRows(N, R);
  return checkOp(gpu, {
    name: `rmsnorm rows ${N} ${C} ${R}`,
    variants: FAMILIES,
    inputs: {
      x: { shape: [N, C] },
      w: { shape: [C] },
      index: { shape: [R], data: index },
      inverse: { shape: [N], data: inverse },
      next: { shape: [R], data: next },
    },
    op: (ctx, t) => {
      const taken = { index: t.index!, inverse: t.inverse!, next: t.next! };
      const once = () => rmsnorm(ctx, t.x!, t.w!, 1e-3, taken);
      return addResidual(ctx, once(), once()); // the second adds to the gradients of the first
    },
    reference: ({ x, w }) => norms.rmsnorm(gather(x!, rows, C), w!, R, C, 1e-3).map((value) => 2 * value),
  });
});

/** W·norm(x), as in the decoder: what is added to the residual comes out of a linear layer. */
const block = (ctx: OpContext, x: Tensor, weight: Tensor, w: Tensor) => {
  const wT = ctx.g.temp("wT", [...w.shape].reverse());
  transpose(ctx, w, wT);
  return linear(ctx, rmsnorm(ctx, x, weight, 1e-5), { name: "w", w, wT });
};
const blockReference = (x: Float64Array, weight: Float64Array, w: Float64Array, R: number, C: number) =>
  linears.linear({ x: norms.rmsnorm(x, weight, R, C, 1e-5), w }, { R, K: C, N: C, r: 0, scale: 0 });

test("a residual stream of two blocks: x + W norm(x), twice", () =>
  checkOp(gpu, {
    name: "residual stream",
    inputs: {
      x: { shape: [3, 20] },
      n: { shape: [20] },
      w: { shape: [20, 20] },
      m: { shape: [20] },
      u: { shape: [20, 20] },
    },
    op: (ctx, { x, n, w, m, u }) => {
      const h = addResidual(ctx, x!, block(ctx, x!, n!, w!));
      return addResidual(ctx, h, block(ctx, h, m!, u!));
    },
    reference: ({ x, n, w, m, u }) => {
      const add = (a: Float64Array, b: Float64Array) => a.map((value, i) => value + (b[i] as number));
      const h = add(x!, blockReference(x!, n!, w!, 3, 20));
      return add(h, blockReference(h, m!, u!, 3, 20));
    },
  }));

test("a norm whose input also takes the residual's gradient in place is refused, not computed wrongly", async () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const [x, w] = [g.input("x", [2, 4], "f32", true), g.input("w", [4])];
  g.backward([{ of: addResidual(ctx, x, rmsnorm(ctx, x, w, 1e-5)), grad: g.input("dy", [2, 4]) }]);
  await expect(compile("aliased", g, gpu.device, gpu.pipelines)).rejects.toThrow(
    /plan aliased: rmsnorm_bwd\S* reads and writes dy in one dispatch/,
  );
});

test.each(ANY)("swiglu (%i,%i)", (R, C) =>
  checkOp(gpu, {
    name: `swiglu ${R} ${C}`,
    inputs: { gate: { shape: [R, C] }, up: { shape: [R, C] } },
    op: (ctx, { gate, up }) => swiglu(ctx, gate!, up!),
    reference: ({ gate, up }) => swiglus.swiglu(gate!, up!),
  }),
);

test.each([
  [1, 1],
  [3, 5],
  [4, 64],
  [65, 3],
])("swiglu of the halves of (%i, 2 × %i)", (R, C) =>
  checkOp(gpu, {
    name: `swiglu halves ${R} ${C}`,
    inputs: { x: { shape: [R, 2 * C] } },
    op: (ctx, { x }) => swigluHalves(ctx, x!),
    reference: ({ x }) => {
      const half = (start: number) =>
        Float64Array.from({ length: R * C }, (_, i) => x![Math.floor(i / C) * 2 * C + start + (i % C)] as number);
      return swiglus.swiglu(half(0), half(C));
    },
  }),
);

test("columns come apart", async () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const x = g.input("x", [3, 14]);
  const { q, k, v } = splitColumns(ctx, x, 8, 3);
  const kept = [q, k, v].map((tensor) => keep(ctx, tensor));
  const plan = await compile("split", g, gpu.device, gpu.pipelines);
  plan.write(
    x,
    Float32Array.from({ length: 42 }, (_, i) => i),
  );
  await plan.run();
  const rows = (first: number, count: number) =>
    Float32Array.from({ length: 3 * count }, (_, i) => Math.floor(i / count) * 14 + first + (i % count));
  expect(await plan.read(...kept)).toEqual([rows(0, 8), rows(8, 3), rows(11, 3)]);
  plan.destroy();
});

test("swiglu far from zero neither overflows nor vanishes", () =>
  checkOp(gpu, {
    name: "swiglu extremes",
    inputs: {
      gate: { shape: [1, 6], data: new Float32Array([-200, -90, -30, 30, 90, 200]) },
      up: { shape: [1, 6], data: new Float32Array([1, 1, 1, 1, 1, 1]) },
    },
    op: (ctx, { gate, up }) => swiglu(ctx, gate!, up!),
    reference: ({ gate, up }) => swiglus.swiglu(gate!, up!),
  }));

test.each([
  [1, 1, 2, 0],
  [3, 5, 4, 8],
  [65, 2, 8, 0],
  [5, 3, 64, 3],
])("rope, in place: %i rows, %i heads of %i, and %i columns that stay", (R, H, D, rest) =>
  checkOp(gpu, {
    name: `rope ${R} ${H} ${D} ${rest}`,
    inputs: {
      x: { shape: [R, H * D + rest] },
      pos: { shape: [R], data: Uint32Array.from({ length: R }, (_, i) => (i * 37) % 200) },
      table: { shape: [200, 2, D / 2], data: ropeTable(200, D, 10000), grad: false },
    },
    op: (ctx, { x, pos, table }) => {
      const copy = addRows(ctx, x!, ctx.g.input("zeros", x!.shape));
      return rope(ctx, copy, pos!, table!, H);
    },
    reference: ({ x, pos }) => {
      const y = x!.slice();
      const width = H * D + rest;
      for (let r = 0; r < R; r++)
        y.set(ropes.rope(x!.slice(r * width, r * width + H * D), pos!.slice(r, r + 1), H, D, 10000), r * width);
      return y;
    },
  }),
);

// Rows of several vec4, few enough numbers that the gradient of every one is looked at.
const VECTORS = [
  [5, 8],
  [1, 48],
] as const;

test.each([...ANY, ...VECTORS])("log-probabilities (%i,%i)", (M, V) =>
  checkOp(gpu, {
    name: `logprob ${M} ${V}`,
    inputs: {
      logits: { shape: [M, V] },
      target: { shape: [M], data: Uint32Array.from({ length: M }, (_, m) => (m * 7) % V) },
    },
    op: (ctx, { logits, target }) => logprob(ctx, logits!, target!),
    reference: ({ logits, target }) => logprobs.logprob(logits!, target!, V),
  }),
);

test("log-probabilities of huge and tiny logits", () =>
  checkOp(gpu, {
    name: "logprob extremes",
    inputs: {
      logits: { shape: [3, 3], data: new Float32Array([5000, 4999, -5000, -5000, -5001, -5002, 0, 60, -60]) },
      target: { shape: [3], data: new Uint32Array([1, 2, 0]) },
    },
    op: (ctx, { logits, target }) => logprob(ctx, logits!, target!),
    reference: ({ logits, target }) => logprobs.logprob(logits!, target!, 3),
  }));

test("equal logits give −ln V", async () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const [logits, target] = [g.input("logits", [2, 200]), g.input("target", [2], "u32")];
  const out = keep(ctx, logprob(ctx, logits, target));
  const plan = await compile("uniform", g, gpu.device, gpu.pipelines);
  plan.write(logits, new Float32Array(400).fill(3));
  await plan.run();
  for (const value of (await plan.read(out))[0] as Float32Array) expect(value).toBeCloseTo(-Math.log(200), 5);
});

test("wrong shapes are named", () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  expect(() => rmsnorm(ctx, g.input("x", [2, 8]), g.input("w", [4]), 1e-5)).toThrow(
    "[shape] rmsnorm.w: want (8), got (4)",
  );
  expect(() => rmsnorm(ctx, g.input("x", [2, 6]), g.input("w", [6]), 1e-5)).toThrow("multiple of 4");
  expect(() => swiglu(ctx, g.input("gate", [2, 8]), g.input("up", [2, 4]))).toThrow("[shape] swiglu.up");
  expect(() => logprob(ctx, g.input("logits", [2, 8]), g.input("target", [3], "u32"))).toThrow(
    "[shape] logprob.target",
  );
});

import { expect, test } from "vitest";
import { Graph, type Tensor } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { FAMILIES } from "../../src/ops/context.ts";
import { addResidual } from "../../src/ops/elementwise.ts";
import { addRows, linear } from "../../src/ops/linear.ts";
import { type Lora, type LoraMember, loraGradient } from "../../src/ops/lora.ts";
import { transpose } from "../../src/ops/matmul.ts";
import { transposeAll } from "../../src/ops/transpose.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/linear.ts";
import { checkOp } from "./check.ts";

const gpu = await openTestGpu();

test.each([
  // R, K (in), N (out)
  [1, 1, 1],
  [3, 5, 3],
  [1, 4, 4],
  [65, 12, 36],
  [5, 36, 200],
  [130, 32, 48],
])("y = x Wᵀ + bias, trainable: %i × %i × %i", (R, K, N) =>
  checkOp(gpu, {
    name: `linear ${R} ${K} ${N}`,
    inputs: { x: { shape: [R, K] }, w: { shape: [N, K] }, bias: { shape: [N] } },
    op: (ctx, { x, w, bias }) => {
      const wT = ctx.g.temp("wT", [K, N]);
      transpose(ctx, w!, wT);
      return linear(ctx, x!, { name: "test", w: w!, wT, bias: bias! });
    },
    reference: ({ x, w, bias }) => reference.linear({ x: x!, w: w!, bias: bias! }, { R, K, N, r: 0, scale: 0 }),
    variants: FAMILIES,
  }),
);

/** Projections of these widths side by side, `adapted` ones with factors in a flat tensor that has gaps. */
function adapters(K: number, rank: number, widths: readonly number[], adapted: readonly number[]) {
  const members: LoraMember[] = [];
  let size = 0;
  const place = (elements: number) => {
    const at = size;
    size = Math.ceil((at + elements + 4) / 64) * 64;
    return at;
  };
  for (const [m, width] of widths.entries())
    if (adapted.includes(m)) {
      const first = widths.slice(0, m).reduce((a, b) => a + b, 0);
      members.push({ first, width, a: place(K * rank), b: place(rank * width) });
    }
  return { members, size };
}

const SHAPES: readonly [R: number, K: number, widths: readonly number[], rank: number, adapted: readonly number[]][] = [
  [1, 4, [4], 4, [0]],
  [3, 20, [4], 4, [0]],
  [65, 12, [36], 8, [0]],
  [66, 32, [48, 16, 16], 4, [0, 1, 2]],
  [33, 16, [68, 8, 8], 8, [0, 2]],
  [70, 20, [36, 36], 16, [0, 1]],
  [140, 20, [64, 32, 32], 12, [1]],
];

test.each(SHAPES)("y += s (x A) B: %i rows of %i to %j, rank %i, adapted %j", (R, K, widths, rank, adapted) => {
  const N = widths.reduce((a, b) => a + b, 0);
  const { members, size } = adapters(K, rank, widths, adapted);
  const scale = 0.75;
  return checkOp(gpu, {
    name: `lora ${R} ${K} ${widths.join(" ")} ${rank} ${adapted.join(" ")}`,
    inputs: { x: { shape: [R, K] }, w: { shape: [N, K] }, factors: { shape: [size] } },
    op: (ctx, { x, w, factors }) => {
      const wT = ctx.g.temp("wT", [K, N]);
      transpose(ctx, w!, wT);
      const lora: Lora = { factors: factors!, rank, scale, shared: { parts: null, pending: false }, members };
      loraGradient(ctx, lora);
      return linear(ctx, x!, { name: "test", w: w!, wT }, lora);
    },
    reference: ({ x, w, factors }) => {
      const y = reference.linear({ x: x!, w: w! }, { R, K, N, r: 0, scale: 0 });
      for (const { first, width, a, b } of members)
        for (let r = 0; r < R; r++)
          for (let j = 0; j < rank; j++) {
            let z = 0;
            for (let k = 0; k < K; k++) z += x![r * K + k]! * factors![a + k * rank + j]!;
            for (let n = 0; n < width; n++) y[r * N + first + n]! += scale * z * factors![b + j * width + n]!;
          }
      return y;
    },
    sampled: 12,
    variants: FAMILIES,
  });
});

test("two layers that share the place of their parts, one input: gradients add up, and none mixes with another", () => {
  const [R, K, N, rank] = [70, 20, 36, 8];
  const { members, size } = adapters(K, rank, [N], [0]);
  const dense = (x: Float64Array, w: Float64Array, factors: Float64Array) =>
    reference.linear(
      { x, w, a: factors.slice(members[0]!.a, members[0]!.a + K * rank), b: factors.slice(members[0]!.b) },
      { R, K, N, r: rank, scale: 2 },
    );
  return checkOp(gpu, {
    name: "linear twice",
    inputs: {
      x: { shape: [R, K] },
      w: { shape: [N, K] },
      u: { shape: [N, K] },
      first: { shape: [size] },
      second: { shape: [size] },
    },
    op: (ctx, { x, w, u, first, second }) => {
      const shared = { parts: null, pending: false };
      const layer = (weight: Tensor, factors: Tensor) => {
        const wT = ctx.g.temp("wT", [K, N]);
        transpose(ctx, weight, wT);
        const lora: Lora = { factors, rank, scale: 2, shared, members };
        loraGradient(ctx, lora);
        return linear(ctx, x!, { name: weight.name, w: weight, wT }, lora);
      };
      return addResidual(ctx, layer(w!, first!), layer(u!, second!));
    },
    reference: ({ x, w, u, first, second }) => {
      const z = dense(x!, u!, second!);
      return dense(x!, w!, first!).map((value, i) => value + (z[i] as number));
    },
    sampled: 12,
  });
});

test("a frozen weight under LoRA: only the factors and x get gradients", async () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const x = g.input("x", [2, 4], "f32", true);
  const w = g.input("w", [4, 4]);
  const factors = g.input("factors", [32], "f32", true);
  const members = [{ first: 0, width: 4, a: 0, b: 16 }];
  const lora: Lora = { factors, rank: 4, scale: 1, shared: { parts: null, pending: false }, members };
  loraGradient(ctx, lora);
  const y = linear(ctx, x, { name: "frozen", w, wT: g.input("wT", [4, 4]) }, lora);
  g.backward([{ of: y, grad: g.input("dy", [2, 4]) }]);
  expect([x, factors, w].map((tensor) => g.gradOf(tensor) !== null)).toEqual([true, true, false]);
  await gpu.checked(() => compile("frozen", g, gpu.device, gpu.pipelines));
});

const MATRICES = {
  "of any size": [
    [1, 1],
    [5, 3],
    [16, 40],
    [64, 1],
    [7, 130],
  ],
  "in blocks": [
    [4, 4],
    [16, 40],
    [64, 4],
    [8, 132],
  ],
} as const;

test.each(Object.entries(MATRICES))("many transpositions in one dispatch, %s", async (name, sizes) => {
  const gap = name === "in blocks" ? 4 : 3;
  let size = 0;
  const matrices = sizes.map(([R, C]) => {
    const at = size;
    size += R * C + gap;
    return { from: at, to: at + gap - 2 * (gap % 2), R, C };
  });
  const g = new Graph();
  const [from, to] = [g.input("from", [size]), g.output("to", [size])];
  transposeAll({ g, variants: { matmul: "plain" } }, from, to, matrices);
  const data = Float32Array.from({ length: size }, (_, i) => i);
  const want = new Float32Array(size);
  for (const { from: f, to: t, R, C } of matrices)
    for (let r = 0; r < R; r++) for (let c = 0; c < C; c++) want[t + c * R + r] = data[f + r * C + c] as number;
  await gpu.checked(async () => {
    const plan = await compile("transpositions", g, gpu.device, gpu.pipelines);
    plan.write(from, data);
    await plan.run();
    expect((await plan.read(to))[0]).toEqual(want);
    plan.destroy();
  });
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

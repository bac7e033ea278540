import { expect, test } from "vitest";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { infoNCE, L2_EPS, l2norm, similarity } from "../../src/ops/contrastive.ts";
import { NONE } from "../../src/ops/mask.ts";
import { poolRows, reshape } from "../../src/ops/pool.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as references from "../reference/contrastive.ts";
import { logprob } from "../reference/logprob.ts";
import { checkOp, keep } from "./check.ts";

const gpu = await openTestGpu();

test.each([
  [1, 4],
  [3, 20],
  [4, 68],
  [5, 200],
  [65, 4],
])("rows of length 1 (%i,%i)", (R, C) =>
  checkOp(gpu, {
    name: `l2norm ${R} ${C}`,
    inputs: { x: { shape: [R, C] } },
    op: (ctx, { x }) => l2norm(ctx, x!),
    reference: ({ x }) => references.l2norm(x!, R, C, L2_EPS),
  }),
);

test("a row of zeros stays zero, and its length does not become NaN", async () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const x = g.input("x", [2, 4]);
  const out = keep(ctx, l2norm(ctx, x));
  const plan = await compile("zeros", g, gpu.device, gpu.pipelines);
  plan.write(x, new Float32Array([0, 0, 0, 0, 3, 0, 4, 0]));
  await plan.run();
  const [y] = (await plan.read(out)) as [Float32Array];
  expect([...y].map((value) => Math.round(value * 1e6) / 1e6)).toEqual([0, 0, 0, 0, 0.6, 0, 0.8, 0]);
});

test.each([
  [1, 1, 4],
  [3, 5, 20],
  [4, 68, 8],
  [65, 3, 36],
])("similarity of %i and %i rows of %i", (M, N, C) =>
  checkOp(gpu, {
    name: `similarity ${M} ${N} ${C}`,
    inputs: { a: { shape: [M, C] }, b: { shape: [N, C] } },
    variants: ["plain", "sg4", "sg8"],
    op: (ctx, { a, b }) => similarity(ctx, a!, b!, 10),
    reference: ({ a, b }) => references.similarity(a!, b!, M, N, C, 10),
  }),
);

test("InfoNCE among rows of length 1, gradients through both sides", () =>
  checkOp(gpu, {
    name: "infonce",
    inputs: {
      a: { shape: [5, 12] },
      b: { shape: [9, 12] },
      target: { shape: [5], data: new Uint32Array([0, 1, 2, 8, 4]) },
    },
    op: (ctx, { a, b, target }) => infoNCE(ctx, l2norm(ctx, a!), l2norm(ctx, b!), target!, 0.1),
    reference: ({ a, b, target }) =>
      logprob(
        references.similarity(references.l2norm(a!, 5, 12, L2_EPS), references.l2norm(b!, 9, 12, L2_EPS), 5, 9, 12, 10),
        target!,
        9,
      ),
  }));

test("InfoNCE of rows that are all alike is −ln N", async () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const [a, b, target] = [g.input("a", [2, 4]), g.input("b", [12, 4]), g.input("target", [2], "u32")];
  const logp = infoNCE(ctx, a, b, target, 0.07);
  const plan = await compile("alike", g, gpu.device, gpu.pipelines);
  plan.write(a, new Float32Array(8).fill(0.5));
  plan.write(b, new Float32Array(48).fill(0.5));
  await plan.run();
  for (const value of (await plan.read(logp))[0] as Float32Array) expect(value).toBeCloseTo(-Math.log(12), 5);
});

/** Segments of 2, 0, 1, 3 rows, then a row that belongs to none. */
const SPAN = new Uint32Array([0, 2, 2, 2, 2, 3, 3, 6]);
const OWNER = [0, 0, 2, 3, 3, 3, null];

test.each([1, 5, 64, 200])("sums over segments of rows of %i, one of them empty, one row outside", (C) =>
  checkOp(gpu, {
    name: `pool ${C}`,
    inputs: {
      x: { shape: [7, C] },
      span: { shape: [4, 2], data: SPAN },
      owner: { shape: [7], data: Uint32Array.from(OWNER, (s) => s ?? NONE) },
    },
    op: (ctx, { x, span, owner }) => poolRows(ctx, x!, span!, owner!),
    reference: ({ x }) => references.poolRows(x!, OWNER, 4, C),
  }),
);

test("reshape keeps the numbers and hands back their gradients", () =>
  checkOp(gpu, {
    name: "reshape",
    inputs: { x: { shape: [6, 10] } },
    op: (ctx, { x }) => reshape(ctx, x!, [4, 15]),
    reference: ({ x }) => x!,
  }));

test("wrong shapes are named", () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  expect(() => l2norm(ctx, g.input("x", [2, 6]))).toThrow("[shape] l2norm.x: C must be a multiple of 4, got 6");
  expect(() => similarity(ctx, g.input("a", [2, 8]), g.input("b", [3, 4]))).toThrow(
    "[shape] similarity.b: want (3,8), got (3,4)",
  );
  expect(() =>
    poolRows(ctx, g.input("x", [7, 4]), g.input("span", [4, 3], "u32"), g.input("owner", [7], "u32")),
  ).toThrow("[shape] pool.span: want (4,2), got (4,3)");
  expect(() => reshape(ctx, g.input("x", [2, 6]), [5])).toThrow("[shape] reshape.x: (2,6) has another size than (5)");
});

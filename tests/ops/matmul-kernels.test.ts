/** Every kernel of the matrix product by name, whatever this adapter would choose, against float64 at awkward sizes. */
import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph, type Tensor } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import type { Product } from "../../src/ops/context.ts";
import { packHalf, productOf } from "../../src/ops/matmul.ts";
import { fits, type Kernel, kernelsOf, parseChoice } from "../../src/ops/variants.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/matmul.ts";
import { worstOf } from "./check.ts";

const gpu = await openTestGpu();
const lanes = gpu.device.features.has("subgroups") ? (gpu.device.adapterInfo.subgroupMinSize ?? 0) : 0;
const names = (kind: Product) =>
  Object.entries(kernelsOf(kind))
    .filter(([, kernel]) => kernel.lanes <= lanes)
    .map(([name]) => name);

type Size = readonly [R: number, K: number, N: number, parts?: number];

interface Case {
  readonly kind: Product;
  readonly size: Size;
  readonly plus?: "residual" | "bias";
  readonly accumulate?: boolean;
  readonly half?: boolean;
}

const normals = (size: number, ...labels: (string | number)[]) => {
  const rng = rngFor(3, ...labels);
  return Float32Array.from({ length: size }, () => rng.normal());
};

/** Data of a case, and in float64 what it must give. R, K, N: y is (R,N), K is summed. */
function prepare({ kind, size: [R, K, N], plus, accumulate }: Case, scale: number) {
  const [a, b, y] = [normals(R * K, "a", R, K), normals(K * N, "b", K, N), normals(R * N, "y", R, N)];
  const added = normals(plus === "residual" ? R * N : N, "plus", N);
  const [a64, b64] = [Float64Array.from(a), Float64Array.from(b)];
  const left = kind === "tn" ? reference.transpose(a64, K, R) : a64;
  const right = kind === "nt" ? reference.transpose(b64, N, K) : b64;
  const want = reference
    .matmul(left, right, R, K, N, scale)
    .map((v, i) => v + (accumulate ? (y[i] as number) : 0) + (plus ? (added[i % added.length] as number) : 0));
  // Σ_k |a| |b|: what an error of b's elements is multiplied with.
  const magnitude = reference.matmul(left.map(Math.abs), right.map(Math.abs), R, K, N, Math.abs(scale));
  return { a, b, y, added, want, magnitude };
}

/** All cases in one plan on the kernel `name`: results in their order. */
async function run(name: string, cases: readonly Case[], scale: number): Promise<Float32Array[]> {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const fill: [Tensor, Float32Array][] = [];
  const input = (label: string, shape: readonly number[], data: Float32Array) => {
    const tensor = g.input(label, shape);
    fill.push([tensor, data]);
    return tensor;
  };
  const outputs = cases.map((one) => {
    const { kind, size, plus, accumulate = false, half } = one;
    const [R, K, N, parts = 1] = size;
    const data = prepare(one, scale);
    const a = input("a", kind === "tn" ? [K, R] : [R, K], data.a);
    let b = input("b", kind === "nt" ? [N, K] : [K, N], data.b);
    if (half) {
      const [rows, columns] = b.shape as [number, number];
      const packed = g.temp("half", [rows, columns / 2], false, "u32");
      packHalf(ctx, b, packed);
      b = packed;
    }
    const y = input("y", [R, N], data.y);
    const extra = plus ? { plus: input("plus", plus === "bias" ? [N] : [R, N], data.added) } : {};
    const choice = parseChoice(kind, `${name}/${parts}`);
    productOf(ctx, choice, kind, { a, b, y, options: { scale, accumulate, ...extra } });
    return y;
  });
  return gpu.checked(async () => {
    const plan = await compile(name, g, gpu.device, gpu.pipelines);
    for (const [tensor, data] of fill) plan.write(tensor, data);
    await plan.run();
    const results = (await plan.read(...outputs)) as Float32Array[];
    plan.destroy();
    return results;
  });
}

const label = (name: string, { kind, size: [R, K, N, parts] }: Case) =>
  `${name} ${kind} ${R}×${K}×${N}${parts ? ` in ${parts} parts` : ""}`;

async function check(name: string, cases: readonly Case[], scale: number): Promise<void> {
  const results = await run(name, cases, scale);
  for (const [i, one] of cases.entries()) {
    const worst = worstOf(results[i] as Float32Array, prepare(one, scale).want);
    expect(
      worst.error,
      `${label(name, one)}: worst element [${worst.index}]: got ${worst.got}, want ${worst.want}`,
    ).toBeLessThan(3e-6);
  }
}

// One row; rows and columns that fill no tile; several tiles in every direction; sums split unevenly.
const SIZES: readonly Size[] = [
  [1, 4, 68],
  [5, 12, 100],
  [33, 68, 64],
  [67, 20, 132],
];
const SPLIT: Size = [17, 100, 68, 3];

/** For kernels that want multiples of 8 or 16. */
const EVEN: readonly Size[] = [
  [1, 8, 64],
  [33, 72, 48],
  [67, 24, 144],
  [17, 104, 80, 3],
];
const fitting = (kind: Product, name: string, sizes: readonly Size[]) =>
  sizes.filter(([rows, K, N]) => fits(kernelsOf(kind)[name] as Kernel, kind, { rows, K, N }));

test.each(names("nn"))("%s: y = ½ a b + a residual or a bias, whole and split", async (name) => {
  const sizes = fitting("nn", name, [...SIZES, SPLIT, ...EVEN]);
  expect(sizes.length).toBeGreaterThanOrEqual(4);
  const cases = sizes.map((size, i): Case => ({ kind: "nn", size, plus: i % 2 === 1 ? "residual" : "bias" }));
  await check(name, cases, 0.5);
});

test.each(names("nt"))("%s: y += −2 a bᵀ, whole and split", async (name) => {
  const cases = [...SIZES, SPLIT].map((size): Case => ({ kind: "nt", size, accumulate: true }));
  await check(name, cases, -2);
});

test.each(names("tn"))("%s: y = aᵀ b, whole and split", async (name) => {
  const sizes: Size[] = [
    [4, 1, 68],
    [20, 5, 100],
    [36, 65, 64],
    [68, 131, 132],
    [12, 200, 68, 3],
    [8, 1, 64],
    [40, 66, 48],
    [16, 135, 72],
    [24, 200, 80, 3],
  ];
  const able = fitting("tn", name, sizes);
  expect(able.length).toBeGreaterThanOrEqual(4);
  const cases = able.flatMap((size): Case[] => [
    { kind: "tn", size },
    { kind: "tn", size, accumulate: true },
  ]);
  await check(name, cases, 1);
});

const F16 = ["plain-8", "sg8-16", "tile-64x64", "gemv-2"].filter((name) => names("nn").includes(name));

test("b in f16: an error of at most 2⁻¹¹ Σ|a||b|, the rounding of b, on top of f32's", async () => {
  for (const name of F16)
    for (const kind of ["nn", "nt"] as const) {
      const cases = SIZES.map((size): Case => ({ kind, size, half: true }));
      const results = await run(name, cases, 1);
      for (const [i, one] of cases.entries()) {
        const { want, magnitude } = prepare(one, 1);
        const excess = want.map(
          (v, at) => Math.abs((results[i]?.[at] as number) - v) - (2 ** -11 + 1e-6) * (magnitude[at] as number),
        );
        expect(Math.max(...excess), label(name, one)).toBeLessThan(1e-6);
        // It is f16 that was read: more than f32's rounding.
        expect(worstOf(results[i] as Float32Array, want).error, label(name, one)).toBeGreaterThan(1e-6);
      }
    }
});

test("broadcasting over 4 or 8 lanes, 4 to 32 rows a thread: the same bits", async () => {
  const cases: Case[] = [{ kind: "nn", size: [67, 68, 132] }];
  const results: Buffer[] = [];
  for (const name of names("nn").filter((one) => /^sg[48]-\d/.test(one))) {
    const [y] = (await run(name, cases, 1)) as [Float32Array];
    results.push(Buffer.from(y.buffer, y.byteOffset, y.byteLength));
  }
  for (const other of results) expect(other.equals(results[0] as Buffer)).toBe(true);
});

test("a choice that this version does not know is refused", () => {
  expect(() => parseChoice("nn", "sg64-2")).toThrow("there is no kernel sg64-2 for nn");
  expect(() => parseChoice("tn", "sg8-16/0")).toThrow("there is no kernel sg8-16/0 for tn");
  expect(parseChoice("nn", "tile-64x64/4")).toMatchObject({ name: "tile-64x64", Z: 4 });
});

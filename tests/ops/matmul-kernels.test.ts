/** Every kernel of the matrix product by name, whatever this adapter would choose, against float64 at awkward sizes. */
import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph, type Tensor } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import type { Product } from "../../src/ops/context.ts";
import { type LoraTerm, productOf } from "../../src/ops/matmul.ts";
import { fits, type Kernel, kernelsOf, parseChoice } from "../../src/ops/variants.ts";
import { openTestGpu } from "../gpu/open.ts";
import { packed, rounded } from "../reference/float16.ts";
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
  /** The operand that is f16. */
  readonly half?: "a" | "b";
  /** What two adapters add, by their B in columns of their own with a gap between, or by their A in all columns. */
  readonly lora?: LoraTerm["factor"];
}

/** Places in flat factors of what the adapters of a case read, in elements. */
function termOf(factor: LoraTerm["factor"], [, , N]: Size): Omit<LoraTerm, "z" | "factors"> {
  const half = 4 * Math.floor(N / 12);
  const columns = factor === "A" ? [[0, N] as const, [0, N] as const] : [[0, half] as const, [N - half, half] as const];
  return {
    factor,
    rank: RANK,
    members: columns.map(([first, width], m) => [first, width, 8 + m * RANK * N, 4 + m * RANK]),
  };
}
const RANK = 8;
/** A row of z holds more than the members read. */
const STRIDE = 2 * RANK + 8;

/** In float64, to which the term adds. */
function addTerm(want: Float64Array, { members, factor }: ReturnType<typeof termOf>, size: Size, data: TermData): void {
  const [R, , N] = size;
  for (const [first, width, place, row] of members)
    for (let r = 0; r < R; r++)
      for (let n = 0; n < width; n++)
        for (let j = 0; j < RANK; j++) {
          const at = place + (factor === "B" ? j * width + n : n * RANK + j);
          want[r * N + first + n] =
            (want[r * N + first + n] as number) +
            (data.z[r * STRIDE + row + j] as number) * (data.factors[at] as number);
        }
}
interface TermData {
  readonly z: Float32Array;
  readonly factors: Float32Array;
}

const normals = (size: number, ...labels: (string | number)[]) => {
  const rng = rngFor(3, ...labels);
  return Float32Array.from({ length: size }, () => rng.normal());
};

/** Data of a case, and in float64 what it must give. R, K, N: y is (R,N), K is summed. */
function prepare({ kind, size, plus, accumulate, half, lora }: Case, scale: number) {
  const [R, K, N] = size;
  const operand = (name: "a" | "b", size: number, ...labels: number[]) =>
    half === name ? rounded(normals(size, name, ...labels)) : normals(size, name, ...labels);
  const [a, b, y] = [operand("a", R * K, R, K), operand("b", K * N, K, N), normals(R * N, "y", R, N)];
  const added = normals(plus === "residual" ? R * N : N, "plus", N);
  const [a64, b64] = [Float64Array.from(a), Float64Array.from(b)];
  const left = kind === "tn" ? reference.transpose(a64, K, R) : a64;
  const right = kind === "nt" ? reference.transpose(b64, N, K) : b64;
  const term = { z: normals(R * STRIDE, "z", R), factors: normals(16 + 2 * RANK * N, "factors", N) };
  const product = reference.matmul(left, right, R, K, N, 1);
  if (lora) addTerm(product, termOf(lora, size), size, term);
  const want = product.map(
    (v, i) => scale * v + (accumulate ? (y[i] as number) : 0) + (plus ? (added[i % added.length] as number) : 0),
  );
  return { a, b, y, added, term, want };
}

/** All cases in one plan on the kernel `name`: results in their order. */
async function run(name: string, cases: readonly Case[], scale: number): Promise<Float32Array[]> {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const fill: [Tensor, Float32Array | Uint32Array][] = [];
  const input = (label: string, shape: readonly number[], data: Float32Array) => {
    const tensor = g.input(label, shape);
    fill.push([tensor, data]);
    return tensor;
  };
  const inHalves = (label: string, [rows, columns]: readonly [number, number], data: Float32Array) => {
    const tensor = g.input(label, [rows, columns / 2], "u32");
    fill.push([tensor, packed(data)]);
    return tensor;
  };
  const outputs = cases.map((one) => {
    const { kind, size, plus, accumulate = false, half, lora } = one;
    const [R, K, N, parts = 1] = size;
    const data = prepare(one, scale);
    const a = (half === "a" ? inHalves : input)("a", kind === "tn" ? [K, R] : [R, K], data.a);
    const b = (half === "b" ? inHalves : input)("b", kind === "nt" ? [N, K] : [K, N], data.b);
    const y = input("y", [R, N], data.y);
    const extra = plus ? { plus: input("plus", plus === "bias" ? [N] : [R, N], data.added) } : {};
    const { z, factors } = data.term;
    const term = lora && {
      ...termOf(lora, size),
      z: input("z", [R, STRIDE], z),
      factors: input("factors", [factors.length], factors),
    };
    const choice = parseChoice(kind, `${name}/${parts}`);
    productOf(ctx, choice, kind, {
      a,
      b,
      y,
      options: { scale, accumulate, ...extra, ...(term ? { lora: term } : {}) },
    });
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

/** For kernels that want multiples of 8 or 16, and rows of 4. */
const EVEN: readonly Size[] = [
  [1, 8, 64],
  [4, 8, 64],
  [33, 72, 48],
  [36, 72, 48],
  [67, 24, 144],
  [68, 24, 144],
  [17, 104, 80, 3],
  [20, 104, 80, 3],
];
const fitting = (kind: Product, name: string, sizes: readonly Size[]) =>
  sizes.filter(([rows, K, N]) => fits(kernelsOf(kind)[name] as Kernel, kind, { rows, K, N }));

test.each(names("nn"))("%s: y = ½ a b + a residual or a bias, whole and split", async (name) => {
  const sizes = fitting("nn", name, [...SIZES, SPLIT, ...EVEN]);
  expect(sizes.length).toBeGreaterThanOrEqual(4);
  const cases = sizes.map((size, i): Case => ({ kind: "nn", size, plus: i % 2 === 1 ? "residual" : "bias" }));
  await check(name, cases, 0.5);
});

const able = names("nn").filter((name) => !kernelsOf("nn")[name]?.bare);
test.each(able)("%s: y = ½ (a b + what adapters add) + a residual, or + y, whole and split", async (name) => {
  const sizes = fitting("nn", name, [...SIZES, SPLIT, ...EVEN]);
  expect(sizes.length).toBeGreaterThanOrEqual(4);
  const cases = sizes.flatMap((size): Case[] => [
    { kind: "nn", size, plus: "residual", lora: "B" },
    { kind: "nn", size, accumulate: true, lora: "A" },
  ]);
  await check(name, cases, 0.5);
});

test.each(names("nt"))("%s: y += −2 a bᵀ, whole and split", async (name) => {
  const cases = [...SIZES, SPLIT].map((size): Case => ({ kind: "nt", size, accumulate: true }));
  await check(name, cases, -2);
});

const TN_SIZES: readonly Size[] = [
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

test.each(names("tn"))("%s: y = aᵀ b and y += aᵀ b, whole and split", async (name) => {
  const sizes = fitting("tn", name, TN_SIZES);
  expect(sizes.length).toBeGreaterThanOrEqual(4);
  const cases = sizes.flatMap((size): Case[] => [
    { kind: "tn", size },
    { kind: "tn", size, accumulate: true },
  ]);
  await check(name, cases, 1);
});

// One kernel of each source; a in f16 is what the chunks of a large head are multiplied by.
const F16: readonly [string, Product, "a" | "b"][] = [
  ...["plain-8", "sg8-16", "tile-32x32", "gemv-2"].flatMap((name): typeof F16 => [
    [name, "nn", "a"],
    [name, "nn", "b"],
  ]),
  ["turned-32x64", "nn", "a"],
  ["plain-8", "nt", "b"],
  ["plain-8", "tn", "b"],
  ["sg8-16", "tn", "b"],
];

test.each(F16.filter(([name, kind]) => names(kind).includes(name)))(
  "%s, %s with %s in f16: the product of the rounded operand, in f32",
  (name, kind, half) => {
    const sizes = fitting(kind, name, kind === "tn" ? TN_SIZES : [...SIZES, SPLIT, ...EVEN]);
    return check(
      name,
      sizes.map((size) => ({ kind, size, half })),
      -0.5,
    );
  },
);

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

import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { matmulNN, matmulNT, matmulTN, transpose } from "../../src/ops/matmul.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/matmul.ts";
import { worstOf } from "./check.ts";

const gpu = await openTestGpu();
const bits = (data: Float32Array) => Buffer.from(data.buffer, data.byteOffset, data.byteLength);

const PRODUCTS = { NN: matmulNN, NT: matmulNT, TN: matmulTN };

/** y = scale · a b (or a bᵀ, aᵀ b) onto what y holds, in every variant; the same bits on repeat. */
async function check(
  kind: keyof typeof PRODUCTS,
  [R, K, N]: readonly [number, number, number],
  scale: number,
  accumulate: boolean,
): Promise<void> {
  const rng = rngFor(1, kind, R, K, N);
  const normals = (size: number) => Float32Array.from({ length: size }, () => rng.normal());
  // NN: a (R,K), b (K,N), y (R,N).  NT: a (R,K), b (N,K), y (R,N).  TN: a (R,K), b (R,N), y (K,N).
  const shapeB = ({ NN: [K, N], NT: [N, K], TN: [R, N] } as const)[kind];
  const rowsY = kind === "TN" ? K : R;
  const [a, b, y0] = [normals(R * K), normals(shapeB[0] * shapeB[1]), normals(rowsY * N)];
  const [a64, b64] = [Float64Array.from(a), Float64Array.from(b)];
  const product =
    kind !== "TN"
      ? reference.matmul(a64, kind === "NN" ? b64 : reference.transpose(b64, N, K), R, K, N, scale)
      : reference.matmul(reference.transpose(a64, R, K), b64, K, R, N, scale);
  const want = product.map((value, i) => value + (accumulate ? (y0[i] as number) : 0));
  for (const matmul of gpu.variants) {
    const g = new Graph();
    const [ta, tb, ty] = [g.input("a", [R, K]), g.input("b", shapeB), g.input("y", [rowsY, N])];
    PRODUCTS[kind]({ g, variants: { matmul } }, ta, tb, ty, { scale, accumulate });
    await gpu.checked(async () => {
      const plan = await compile(kind, g, gpu.device, gpu.pipelines);
      const results: Float32Array[] = [];
      for (let run = 0; run < 2; run++) {
        plan.write(ta, a);
        plan.write(tb, b);
        plan.write(ty, y0);
        await plan.run();
        results.push((await plan.read(ty))[0] as Float32Array);
      }
      plan.destroy();
      const worst = worstOf(results[0] as Float32Array, want);
      expect(
        worst.error,
        `${kind} ${R}×${K}×${N} ${matmul}: worst element [${worst.index}]: got ${worst.got}, want ${worst.want}`,
      ).toBeLessThan(3e-6);
      expect(bits(results[0] as Float32Array).equals(bits(results[1] as Float32Array))).toBe(true);
    });
  }
}

const NN = [
  [1, 4, 4], // one row, one vec4
  [3, 12, 8], // few columns: many rows a workgroup
  [17, 8, 12],
  [7, 20, 32], // rows no multiple of 8, the least width of the broadcast kernels
  [9, 36, 36], // columns no multiple of the lanes
  [65, 64, 68],
  [200, 68, 100],
  [33, 256, 16],
] as const;

test.each(NN)("y = a b, %i × %i × %i, all variants", (...size) => check("NN", size, 1, false));
test.each(NN)("y += 0.5 a b, %i × %i × %i, all variants", (...size) => check("NN", size, 0.5, true));

test.each(NN)("y = a bᵀ and y += −2 a bᵀ, %i × %i × %i, all variants", async (...size) => {
  await check("NT", size, 1, false);
  await check("NT", size, -2, true);
});

const TN = [
  [1, 4, 4],
  [3, 8, 12],
  [5, 20, 36],
  [63, 16, 32],
  [65, 36, 48],
  [129, 68, 64], // two chunks of rows, the second one short and odd
  [200, 4, 100],
  [1000, 12, 8], // many chunks
  [4097, 8, 32], // the last chunks are empty
] as const;

test.each(TN)("y = aᵀ b, %i × %i × %i, all variants", (...size) => check("TN", size, 1, false));
test.each(TN)("y += −2 aᵀ b, %i × %i × %i, all variants", (...size) => check("TN", size, -2, true));

const ODD = [
  [1, 1, 1],
  [3, 5, 1],
  [5, 3, 65],
  [65, 200, 3],
  [1, 65, 200],
  [200, 1, 5],
] as const;

test.each(ODD)("odd sizes: y = a b and y += 3 a b, %i × %i × %i", async (...size) => {
  await check("NN", size, 1, false);
  await check("NN", size, 3, true);
});
test.each(ODD)("odd sizes: y = a bᵀ, %i × %i × %i", (...size) => check("NT", size, 1, false));
test.each(ODD)("odd sizes: y = aᵀ b and y += 3 aᵀ b, %i × %i × %i", async (...size) => {
  await check("TN", size, 1, false);
  await check("TN", size, 3, true);
});

test.each([
  [1, 1],
  [3, 5],
  [65, 4],
  [200, 65],
])("transpose %i × %i is exact", async (R, C) => {
  const rng = rngFor(2, R, C);
  const x = Float32Array.from({ length: R * C }, () => rng.normal());
  const g = new Graph();
  const [from, to] = [g.input("x", [R, C]), g.output("y", [C, R])];
  transpose({ g, variants: { matmul: "plain" } }, from, to);
  await gpu.checked(async () => {
    const plan = await compile("transpose", g, gpu.device, gpu.pipelines);
    plan.write(from, x);
    await plan.run();
    expect(Array.from((await plan.read(to))[0] as Float32Array)).toEqual(
      Array.from(reference.transpose(Float64Array.from(x), R, C)),
    );
  });
});

test("a wrong shape is named", () => {
  const g = new Graph();
  const [a, b, y] = [g.input("a", [3, 8]), g.input("b", [4, 8]), g.output("y", [3, 8])];
  expect(() => matmulNN({ g, variants: { matmul: "plain" } }, a, b, y)).toThrow(
    "[shape] matmul.b: want (8,8), got (4,8)",
  );
});

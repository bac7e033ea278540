/** One helper that tests every op: forward against f64 loops, backward against f64 central differences. */
import { expect } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph, type Tensor } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import type { MatmulVariant, OpContext } from "../../src/ops/context.ts";
import { NONE } from "../../src/ops/mask.ts";
import { reduceSum } from "../../src/ops/matmul.ts";
import type { TestGpu } from "../gpu/open.ts";

export interface Input {
  readonly shape: readonly number[];
  /** Left out: standard normal numbers. */
  readonly data?: Float32Array | Uint32Array;
  /** Its gradient is checked; true unless `data` are u32. */
  readonly grad?: boolean;
}

type Values = Readonly<Record<string, Float64Array>>;

export interface OpCase {
  readonly name: string;
  readonly inputs: Readonly<Record<string, Input>>;
  readonly op: (ctx: OpContext, t: Readonly<Record<string, Tensor>>) => Tensor;
  /** In f64, over the f32 inputs. u32 inputs come as numbers, too. */
  readonly reference: (values: Values) => Float64Array;
  readonly variants?: readonly MatmulVariant[];
  /** Largest error allowed, relative to the largest element of the tensor. */
  readonly tolerance?: number;
  /** Elements of each gradient that are checked (all, if there are no more than this). */
  readonly sampled?: number;
  readonly seed?: number;
}

/** Largest |got − want| relative to the largest |want|, and where. NaN is the worst of all. */
export function worstOf(
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  at: ArrayLike<number> | null = null,
): { error: number; index: number; got: number; want: number } {
  let scale = 1e-3; // smaller numbers are compared absolutely
  for (let i = 0; i < want.length; i++) scale = Math.max(scale, Math.abs(want[i] as number));
  let worst = { error: -1, index: -1, got: 0, want: 0 };
  for (let i = 0; i < want.length; i++) {
    const index = at ? (at[i] as number) : i;
    const difference = Math.abs((got[index] as number) - (want[i] as number)) / scale;
    const error = Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference;
    if (error > worst.error) worst = { error, index, got: got[index] as number, want: want[i] as number };
  }
  return worst;
}

function expectClose(
  label: string,
  got: ArrayLike<number>,
  want: ArrayLike<number>,
  tolerance: number,
  at: ArrayLike<number> | null = null,
): void {
  const worst = worstOf(got, want, at);
  expect(
    worst.error,
    `${label}: worst element [${worst.index}]: got ${worst.got}, want ${worst.want}`,
  ).toBeLessThanOrEqual(tolerance);
}

/** M of R rows, some of them several times, every fifth place empty; `inverse` and `next` say where each row went. */
export function someRows(R: number, M: number) {
  const rng = rngFor(6, R, M);
  const rows = Array.from({ length: M }, (_, m) => (m % 5 === 4 ? null : rng.int(R)));
  const inverse = new Uint32Array(R).fill(NONE);
  const next = new Uint32Array(M).fill(NONE);
  for (const [m, r] of [...rows.entries()].reverse()) {
    if (r === null) continue;
    next[m] = inverse[r] as number;
    inverse[r] = m;
  }
  return { rows, index: Uint32Array.from(rows, (r) => r ?? NONE), inverse, next };
}

/** Copies a temporary so that the host can read it. */
export function keep(ctx: OpContext, tensor: Tensor): Tensor {
  const out = ctx.g.output(`kept ${tensor.name}`, tensor.shape);
  reduceSum(ctx, tensor, out, 1, false);
  return out;
}

/** Runs an op on the GPU and compares; twice, since the same plan must give the same bits again. */
export async function checkOp(gpu: TestGpu, test: OpCase): Promise<void> {
  const rng = rngFor(test.seed ?? 1, test.name);
  const { tolerance = 1e-5, sampled = 60 } = test;
  const data = Object.fromEntries(
    Object.entries(test.inputs).map(([name, { shape, data }]) => {
      const size = shape.reduce((a, b) => a * b, 1);
      return [name, data ?? Float32Array.from({ length: size }, () => rng.normal())];
    }),
  );
  const values = Object.fromEntries(Object.entries(data).map(([name, array]) => [name, Float64Array.from(array)]));
  const want = test.reference(values);
  const seed = Float32Array.from(want, () => rng.normal());
  const wantsGrad = (name: string) => !(data[name] instanceof Uint32Array) && (test.inputs[name]?.grad ?? true);

  // dL/dx for L = Σ seed · reference(x), element by element.
  const gradients = new Map<string, { at: number[]; want: Float64Array }>();
  for (const name of Object.keys(data).filter(wantsGrad)) {
    const x = values[name] as Float64Array;
    const all = [...x.keys()];
    const at = x.length <= sampled ? all : [0, x.length - 1, ...rng.shuffle(all).slice(0, sampled - 2)];
    const loss = () => test.reference(values).reduce((sum, y, i) => sum + y * (seed[i] as number), 0);
    const numeric = Float64Array.from(at, (i) => {
      const old = x[i] as number;
      const h = 1e-5;
      x[i] = old + h;
      const up = loss();
      x[i] = old - h;
      const down = loss();
      x[i] = old;
      return (up - down) / (2 * h);
    });
    gradients.set(name, { at, want: numeric });
  }

  for (const matmul of test.variants ?? ["plain"]) {
    if (!gpu.variants.includes(matmul)) continue;
    const g = new Graph();
    const ctx: OpContext = { g, variants: { matmul } };
    const tensors = Object.fromEntries(
      Object.entries(test.inputs).map(([name, { shape }]) => [
        name,
        g.input(name, shape, data[name] instanceof Uint32Array ? "u32" : "f32", wantsGrad(name)),
      ]),
    );
    const y = test.op(ctx, tensors);
    const out = keep(ctx, y);
    const dy = g.input("dy", y.shape);
    g.backward([{ of: y, grad: dy }]);
    const grads = [...gradients.keys()].map((name) => {
      const grad = g.gradOf(tensors[name] as Tensor);
      if (!grad) throw new Error(`${test.name}: no gradient of ${name}`);
      return keep(ctx, grad);
    });
    const runs: (Float32Array | Uint32Array)[][] = [];
    await gpu.checked(async () => {
      const plan = await compile(test.name, g, gpu.device, gpu.pipelines);
      for (let run = 0; run < 2; run++) {
        for (const [name, tensor] of Object.entries(tensors)) plan.write(tensor, data[name] as Float32Array);
        plan.write(dy, seed);
        await plan.run();
        runs.push(await plan.read(out, ...grads));
      }
      plan.destroy();
    });
    const [first, second] = runs as [Float32Array[], Float32Array[]];
    for (const [i, array] of first.entries())
      expect(
        Buffer.from(array.buffer, array.byteOffset, array.byteLength).equals(
          Buffer.from((second[i] as Float32Array).buffer, (second[i] as Float32Array).byteOffset, array.byteLength),
        ),
        `${test.name}: same bits again`,
      ).toBe(true);
    expect(first[0]?.length).toBe(want.length);
    expectClose(`${test.name} ${matmul}`, first[0] as Float32Array, want, tolerance);
    for (const [i, [name, { at, want: numeric }]] of [...gradients].entries())
      expectClose(`${test.name} ${matmul} d${name}`, first[i + 1] as Float32Array, numeric, tolerance, at);
  }
}

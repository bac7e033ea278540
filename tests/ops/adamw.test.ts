import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { ADAMW_HYPER, adamw } from "../../src/ops/adamw.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/adamw.ts";
import { worstOf } from "./check.ts";

const gpu = await openTestGpu();

async function optimizer(N: number) {
  const g = new Graph();
  const t = Object.fromEntries(["weight", "grad", "m", "v"].map((name) => [name, g.input(name, [N])])) as Record<
    "weight" | "grad" | "m" | "v",
    ReturnType<Graph["input"]>
  >;
  const hyper = g.input("hyper", [ADAMW_HYPER]);
  const square = adamw({ g, variants: { matmul: "plain" } }, t.weight, t.grad, t.m, t.v, hyper);
  const plan = await compile("adamw", g, gpu.device, gpu.pipelines);
  const set = { lr: 1e-2, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.05, maxNorm: 1 };
  return {
    set,
    write: (name: keyof typeof t, data: Float32Array) => plan.write(t[name], data),
    step: async (grad: Float32Array, step: number, options: Partial<typeof set> = {}) => {
      const { lr, beta1, beta2, eps, weightDecay, maxNorm } = { ...set, ...options };
      plan.write(t.grad, grad);
      plan.write(
        hyper,
        new Float32Array([
          lr,
          beta1,
          beta2,
          eps,
          weightDecay,
          1 - beta1 ** step,
          1 - beta2 ** step,
          maxNorm,
          1 - beta1,
          1 - beta2,
        ]),
      );
      await plan.run();
      return (await plan.read(t.weight, t.m, t.v, square)) as [Float32Array, Float32Array, Float32Array, Float32Array];
    },
  };
}

test.each([
  [1, "clipped", 0.1],
  [5, "clipped", 0.5],
  [65, "not clipped", 1e9],
  [200, "clipped", 2],
  [5000, "clipped", 1],
] as const)("twenty steps of AdamW on %i numbers, %s, against f64", async (N, _, maxNorm) => {
  const rng = rngFor(1, "adamw", N);
  const normals = () => Float32Array.from({ length: N }, () => rng.normal());
  const it = await optimizer(N);
  const start = normals();
  it.write("weight", start);
  const [w, m, v] = [Float64Array.from(start), new Float64Array(N), new Float64Array(N)];
  for (let step = 1; step <= 20; step++) {
    const grad = normals();
    const got = await it.step(grad, step, { maxNorm });
    reference.adamw(w, m, v, Float64Array.from(grad), { ...it.set, maxNorm, step });
    for (const [name, a, b] of [
      ["weight", got[0], w],
      ["m", got[1], m],
      ["v", got[2], v],
    ] as const) {
      const worst = worstOf(a, b);
      expect(worst.error, `step ${step}, ${name}[${worst.index}]: got ${worst.got}, want ${worst.want}`).toBeLessThan(
        2e-6,
      );
    }
    expect((got[3][0] as number) / grad.reduce((sum, g) => sum + g * g, 0)).toBeCloseTo(1, 5);
  }
});

test("the first step moves every weight by the learning rate against its gradient", async () => {
  const it = await optimizer(3);
  it.write("weight", new Float32Array([1, 1, 1]));
  const [w] = await it.step(new Float32Array([5, -0.01, 300]), 1, { weightDecay: 0, maxNorm: 1e9 });
  expect([...w].map((x) => Number(x.toFixed(5)))).toEqual([0.99, 1.01, 0.99]);
});

test.each([
  ["NaN", Number.NaN],
  ["infinity", Number.POSITIVE_INFINITY],
  ["an overflowing norm", 1e30],
])("a gradient of %s changes nothing: neither weights nor moments", async (_, bad) => {
  const it = await optimizer(5);
  const start = { weight: [1, 2, 3, 4, 5], m: [0.1, 0.2, 0.3, 0.4, 0.5], v: [0.01, 0.02, 0.03, 0.04, 0.05] };
  for (const [name, data] of Object.entries(start)) it.write(name as "weight", new Float32Array(data));
  const [w, m, v, square] = await it.step(new Float32Array([1, 1, bad, 1, 1]), 7);
  expect(Number.isFinite(square[0])).toBe(false);
  expect([w, m, v].map((a) => [...a])).toEqual([start.weight, start.m, start.v].map((a) => [...new Float32Array(a)]));
});

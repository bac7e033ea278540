import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph, type Tensor } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { groupAdvantages, grpoLoss, tokenWeights } from "../../src/ops/grpo.ts";
import { ktoDivergence, ktoLoss } from "../../src/ops/kto.ts";
import { NONE } from "../../src/ops/mask.ts";
import { openTestGpu } from "../gpu/open.ts";
import { grpoValue, ktoValue } from "../reference/policy.ts";
import { keep, worstOf } from "./check.ts";

const gpu = await openTestGpu();
const rng = rngFor(5, "policy losses");
const h = 1e-5;
const slope = (f: (x: number) => number, x: number): number => (f(x + h) - f(x - h)) / (2 * h);

/** Token log-probs of answers of these lengths, with two rows of padding behind. */
function answers(lengths: readonly number[]) {
  const M = lengths.reduce((a, b) => a + b, 0) + 2;
  const span = new Uint32Array(2 * lengths.length);
  const owner = new Uint32Array(M).fill(NONE);
  let m = 0;
  for (const [s, n] of lengths.entries()) {
    span.set([m, m + n], 2 * s);
    owner.fill(s, m, m + n);
    m += n;
  }
  const logp = Float32Array.from({ length: M }, () => -3 * rng.next());
  const sums = lengths.map((n, s) =>
    logp.subarray(span[2 * s], (span[2 * s] as number) + n).reduce((a, b) => a + b, 0),
  );
  return { M, span, owner, logp, sums };
}

/** Runs a graph whose inputs have these values and reads tensors back. */
async function run(
  build: (
    g: Graph,
    input: (name: string, values: Float32Array | Uint32Array, ...shape: number[]) => Tensor,
  ) => Tensor[],
): Promise<Float32Array[]> {
  const g = new Graph();
  const inputs: [Tensor, Float32Array | Uint32Array][] = [];
  const outputs = build(g, (name, values, ...shape) => {
    const dtype = values instanceof Uint32Array ? "u32" : "f32";
    const tensor = g.input(name, shape.length > 0 ? shape : [values.length], dtype, name === "logp");
    inputs.push([tensor, values]);
    return tensor;
  });
  return gpu.checked(async () => {
    const plan = await compile("loss", g, gpu.device, gpu.pipelines);
    for (const [tensor, values] of inputs) plan.write(tensor, values);
    await plan.run();
    const read = await plan.read(...outputs);
    plan.destroy();
    return read as Float32Array[];
  });
}

interface Kto {
  readonly lengths: readonly number[];
  readonly label: readonly number[];
  readonly reference: readonly number[];
  readonly weight: readonly number[];
  readonly beta: number;
  /** Log-ratios of the answers to other prompts. */
  readonly gaps: readonly number[];
}

async function kto(of: ReturnType<typeof answers>, { lengths, label, reference, weight, beta, gaps }: Kto) {
  const others = gaps.length;
  const [sums, each, grad, z] = await run((g, input) => {
    const ctx = { g, variants: { matmul: "plain" as const } };
    const logp = input("logp", of.logp);
    const z = g.output("z", [1]);
    // Two groups, so that the second adds to the first.
    for (const [i, part] of [gaps.slice(0, 1), gaps.slice(1)].entries())
      ktoDivergence(
        ctx,
        input(`other ${i}`, Float32Array.from(part)),
        {
          span: input(`span ${i}`, Uint32Array.from(part.flatMap((_, s) => [s, s + 1])), part.length, 2),
          reference: input(`zero ${i}`, new Float32Array(part.length)),
          weight: input(`share ${i}`, new Float32Array(part.length).fill(1 / others)),
        },
        z,
        i === 0,
      );
    const dlogp = g.temp("dlogp", logp.shape);
    const { sums, each } = ktoLoss(
      ctx,
      logp,
      dlogp,
      {
        span: input("span", of.span, lengths.length, 2),
        owner: input("owner", of.owner),
        reference: input("reference", Float32Array.from(reference)),
        label: input("label", Float32Array.from(label)),
        weight: input("weight", Float32Array.from(weight)),
        hyper: input("hyper", new Float32Array([beta])),
      },
      z,
    );
    return [sums, each, keep(ctx, dlogp), z];
  });
  return { sums, each, grad, z } as { sums: Float32Array; each: Float32Array; grad: Float32Array; z: Float32Array };
}

test.each([
  [0.1, [0.5, 2, 1.5]],
  [0.5, [-4, 1, 0]], // a negative estimate counts as 0
])("KTO, β %f: losses, rewards and gradients against f64", async (beta, gaps) => {
  const lengths = [3, 1, 4, 2];
  const label = [1, -1, -1, 1];
  const of = answers(lengths);
  const reference = of.sums.map((sum) => Math.fround(sum + 4 * rng.normal()));
  const weight = [0.25, 0.5, 0.5, 0.25];
  const got = await kto(of, { lengths, label, reference, weight, beta, gaps });
  const z = gaps.reduce((a, b) => a + b, 0) / gaps.length;
  expect(got.z[0]).toBeCloseTo(z, 6);
  const value = (s: number, sum: number) => ktoValue(sum, reference[s] as number, label[s] as number, beta, z);
  const want = of.sums.flatMap((sum, s) => [value(s, sum), beta * (sum - (reference[s] as number))]);
  expect(worstOf(got.each, want).error).toBeLessThan(1e-5);
  const grad = Array.from(of.owner, (s) =>
    s === NONE ? 0 : (weight[s] as number) * slope((x) => value(s, x), of.sums[s] as number),
  );
  const worst = worstOf(got.grad, grad);
  expect(worst.error, `dlogp[${worst.index}]: got ${worst.got}, want ${worst.want}`).toBeLessThan(1e-5);
});

test("KTO in the head: policy = reference, z = 0: loss 1/2, gradient ∓β/4; an empty place weighs nothing; NaN is refused", async () => {
  const of = answers([1, 1, 1]);
  const base = { lengths: [1, 1, 1], reference: of.sums, weight: [1, 1, 1], beta: 0.4, gaps: [0, 0] };
  const got = await kto(of, { ...base, label: [1, -1, 0] });
  expect([...got.each].map((x) => Number(x.toFixed(6)))).toEqual([0.5, 0, 0.5, 0, 0, 0]);
  expect([...got.grad].map((x) => Number(x.toFixed(6)) + 0)).toEqual([-0.1, 0.1, 0, 0, 0]);
  const bad = await kto(
    { ...of, logp: Float32Array.from(of.logp, (x, m) => (m === 1 ? Number.NaN : x)) },
    { ...base, label: [1, -1, 0] },
  );
  expect(bad.grad[1]).toBeGreaterThan(9e29);
});

interface Grpo {
  readonly old: Float32Array;
  readonly reference: Float32Array;
  readonly advantage: readonly number[];
  readonly weight: readonly number[];
  readonly beta: number;
  readonly onPolicy?: boolean;
}
const [low, high] = [0.2, 0.28];

async function grpo(
  of: ReturnType<typeof answers>,
  { old, reference, advantage, weight, beta, onPolicy = false }: Grpo,
) {
  const [each, grad] = await run((g, input) => {
    const ctx = { g, variants: { matmul: "plain" as const } };
    const logp = input("logp", of.logp);
    const term = Float32Array.from(of.owner).fill(0);
    const dlogp = g.temp("dlogp", logp.shape);
    const each = grpoLoss(ctx, logp, dlogp, {
      old: input("old", old),
      reference: input("reference", reference),
      term: input(
        "term",
        Float32Array.from({ length: 2 * term.length }, (_, i) => {
          const s = of.owner[i >> 1] as number;
          return s === NONE ? 0 : ((i % 2 === 0 ? advantage[s] : weight[s]) as number);
        }),
        term.length,
        2,
      ),
      hyper: input("hyper", new Float32Array([beta, low, high, onPolicy ? 1 : 0])),
    });
    return [each, keep(ctx, dlogp)];
  });
  return { each, grad } as { each: Float32Array; grad: Float32Array };
}

test.each([0, 0.04])(
  "GRPO, β %f: token losses and gradients against f64, inside and outside the clip",
  async (beta) => {
    const lengths = [6, 3, 9, 5];
    const of = answers(lengths);
    const advantage = groupAdvantages([1, 0, 0.5, 0]);
    const weight = tokenWeights("dapo", lengths, 9);
    const old = of.logp.map((x) => x + 0.4 * rng.normal());
    const reference = of.logp.map((x) => x + 0.5 * rng.normal());
    const got = await grpo(of, { old, reference, advantage, weight, beta });
    const value = (m: number, x: number) => {
      const s = of.owner[m] as number;
      if (s === NONE) return 0;
      return (
        (weight[s] as number) *
        grpoValue(x, old[m] as number, reference[m] as number, advantage[s] as number, { beta, low, high })
      );
    };
    const losses = Array.from(of.logp, (x, m) => value(m, x));
    const loss = got.each.filter((_, i) => i % 4 === 0);
    expect(worstOf(loss, losses).error).toBeLessThan(1e-5);
    const grad = Array.from(of.logp, (x, m) => slope((at) => value(m, at), x));
    const worst = worstOf(got.grad, grad);
    expect(worst.error, `dlogp[${worst.index}]: got ${worst.got}, want ${worst.want}`).toBeLessThan(1e-5);
    const clipped = got.each.filter((_, i) => i % 4 === 2);
    expect(clipped.some((x) => x === 1) && clipped.some((x) => x === 0)).toBe(true);
    expect(got.each.filter((_, i) => i % 4 === 3)).toEqual(of.logp);
  },
);

test("GRPO right after sampling: the ratio is 1, the gradient −weight · advantage, whatever `old` says; NaN is refused", async () => {
  const of = answers([2, 1]);
  const options = {
    old: new Float32Array(of.M),
    reference: new Float32Array(of.M),
    advantage: [0.5, -2],
    weight: [0.25, 0.5],
    beta: 0,
    onPolicy: true,
  };
  const got = await grpo(of, options);
  expect([...got.grad]).toEqual([-0.125, -0.125, 1, 0, 0]);
  const bad = await grpo({ ...of, logp: of.logp.map((x, m) => (m === 0 ? Number.NEGATIVE_INFINITY : x)) }, options);
  expect(bad.grad[0]).toBeGreaterThan(9e29);
});

test("advantages and weights by hand", () => {
  expect(groupAdvantages([1, 0])).toEqual([0.5 / (Math.SQRT1_2 + 1e-4), -0.5 / (Math.SQRT1_2 + 1e-4)]);
  expect(groupAdvantages([1, 0], false)).toEqual([0.5, -0.5]);
  expect(groupAdvantages([3])).toEqual([0]);
  expect(groupAdvantages([2, 2, 2])).toEqual([0, 0, 0]);
  expect(tokenWeights("grpo", [1, 3], 4)).toEqual([1 / 2, 1 / 6]);
  expect(tokenWeights("bnpo", [1, 3], 4)).toEqual([1 / 4, 1 / 4]);
  expect(tokenWeights("dapo", [1, 3], 4)).toEqual([1 / 4, 1 / 4]);
  expect(tokenWeights("dr_grpo", [1, 3], 4)).toEqual([1 / 8, 1 / 8]);
});

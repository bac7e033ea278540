import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { NONE } from "../../src/ops/mask.ts";
import { LOSS_TYPES, type LossType, preferenceLoss } from "../../src/ops/preference.ts";
import { openTestGpu } from "../gpu/open.ts";
import { preferencePair } from "../reference/preference.ts";
import { worstOf } from "./check.ts";

const gpu = await openTestGpu();

interface Setting {
  readonly type: LossType;
  readonly beta: number;
  readonly labelSmoothing: number;
}

/** Runs the loss on token log-probs of sequences; the first 2·pairs are chosen, rejected, … */
async function run(
  setting: Setting,
  logps: readonly (readonly number[])[],
  reference: readonly number[],
  pairs: number,
  sft: readonly number[],
  weight = Array(pairs).fill(1 / Math.max(1, pairs)) as number[],
) {
  const S = logps.length;
  const used = logps.reduce((sum, seq) => sum + seq.length, 0);
  const M = used + 3; // padding behind the last sequence
  const span = new Uint32Array(2 * S);
  const owner = new Uint32Array(M).fill(NONE);
  const flat = new Float32Array(M).fill(-7);
  let m = 0;
  for (const [s, seq] of logps.entries()) {
    span[2 * s] = m;
    for (const value of seq) {
      owner[m] = s;
      flat[m++] = value;
    }
    span[2 * s + 1] = m;
  }
  const g = new Graph();
  const t = {
    logp: g.input("logp", [M], "f32", true),
    span: g.input("span", [S, 2], "u32"),
    owner: g.input("owner", [M], "u32"),
    reference: g.input("reference", [S]),
    weight: g.input("weight", [Math.max(1, pairs)]),
    sft: g.input("sft", [S]),
    hyper: g.input("hyper", [4]),
  };
  const dlogp = g.temp("dlogp", [M]);
  const { sums, pair } = preferenceLoss({ g, variants: { matmul: "plain" } }, t.logp, dlogp, pairs, t);
  const out = g.output("dlogp kept", [M]);
  g.dispatch({
    shader: "reduce_sum",
    constants: { ACC: 0 },
    uniforms: [1, M],
    bindings: [
      { tensor: dlogp, access: "read" },
      { tensor: out, access: "write" },
    ],
    workgroups: [Math.ceil(M / 64), 1, 1],
    flops: 0,
  });
  return gpu.checked(async () => {
    const plan = await compile("preference", g, gpu.device, gpu.pipelines);
    plan.write(t.logp, flat);
    plan.write(t.span, span);
    plan.write(t.owner, owner);
    plan.write(t.reference, new Float32Array(reference));
    plan.write(t.weight, new Float32Array(pairs > 0 ? weight : [0]));
    plan.write(t.sft, new Float32Array(sft));
    plan.write(t.hyper, new Float32Array([setting.beta, setting.labelSmoothing, LOSS_TYPES.indexOf(setting.type), 0]));
    await plan.run();
    const [sum, loss, grad] = (await plan.read(sums, pair, out)) as [Float32Array, Float32Array, Float32Array];
    plan.destroy();
    return {
      sums: [...sum],
      pairs: Array.from(
        { length: pairs },
        (_, p) => [...loss.subarray(4 * p, 4 * p + 4)] as [number, number, number, number],
      ),
      grad: [...grad],
      span,
      used,
    };
  });
}

test.each(LOSS_TYPES.flatMap((type) => [0.1, 0.5].map((beta) => ({ type, beta, labelSmoothing: 0.2 }))))(
  "$type, β $beta: losses, rewards and gradients against f64",
  async (setting) => {
    const rng = rngFor(3, setting.type, setting.beta);
    const lengths = [3, 5, 1, 2, 9, 4, 2]; // three pairs and one plain sequence
    const logps = lengths.map((n) => Array.from({ length: n }, () => Math.fround(-4 * rng.next())));
    const reference = lengths.map((n) => Math.fround(-2 * n + rng.normal() * n));
    const sft = [0.1, 0, 0, 0.3, 0, 0, 0.5];
    const got = await run(setting, logps, reference, 3, sft);
    const sums = logps.map((seq) => seq.reduce((a, b) => a + b, 0));
    expect(worstOf(got.sums, sums).error).toBeLessThan(1e-6);
    const want = new Float64Array(got.grad.length);
    for (const [s, n] of lengths.entries())
      want.fill(-(sft[s] as number), got.span[2 * s], (got.span[2 * s] as number) + n);
    for (let p = 0; p < 3; p++) {
      const answer = (s: number) => ({
        sum: sums[s] as number,
        reference: reference[s] as number,
        length: lengths[s] as number,
      });
      const pair = preferencePair(setting, answer(2 * p), answer(2 * p + 1));
      const rewards = [2 * p, 2 * p + 1].map((s) => (sums[s] as number) - (reference[s] as number)) as [number, number];
      expect(
        worstOf(got.pairs[p] ?? [], [
          pair.value,
          setting.beta * rewards[0],
          setting.beta * rewards[1],
          rewards[0] - rewards[1],
        ]).error,
      ).toBeLessThan(1e-5);
      for (const [s, d] of [
        [2 * p, pair.dChosen],
        [2 * p + 1, pair.dRejected],
      ] as const)
        for (let m = got.span[2 * s] as number; m < (got.span[2 * s + 1] as number); m++) want[m]! += d / 3;
    }
    const worst = worstOf(got.grad, want);
    expect(worst.error, `dlogp[${worst.index}]: got ${worst.got}, want ${worst.want}`).toBeLessThan(1e-5);
    expect(got.grad.slice(got.used)).toEqual([0, 0, 0]);
  },
);

test("policy = reference: sigmoid is ln 2, hinge is 1, IPO is 1/(4β²); the gradient of sigmoid is ∓β/2", async () => {
  const logps = [[-1, -2], [-3]];
  const at = (type: LossType) => run({ type, beta: 0.5, labelSmoothing: 0.1 }, logps, [-3, -3], 1, [0, 0]);
  const sigmoid = await at("sigmoid");
  expect(sigmoid.pairs[0]?.[0]).toBeCloseTo(Math.LN2, 6);
  for (const [i, want] of [-0.25, -0.25, 0.25].entries()) expect(sigmoid.grad[i]).toBeCloseTo(want, 6);
  expect((await at("sigmoid_norm")).pairs[0]?.[0]).toBeCloseTo(Math.LN2, 6);
  expect((await at("robust")).pairs[0]?.[0]).toBeCloseTo(Math.LN2, 6);
  expect((await at("hinge")).pairs[0]?.[0]).toBe(1);
  expect((await at("ipo")).pairs[0]?.[0]).toBe(1);
});

test.each([[-5000], [5000]])("a difference of %i nats: losses stay finite, the gradient saturates", async (delta) => {
  const { pairs, grad } = await run(
    { type: "sigmoid", beta: 1, labelSmoothing: 0 },
    [[-1], [-1]],
    [-1 - delta, -1],
    1,
    [0, 0],
  );
  expect(pairs[0]?.[0]).toBeCloseTo(delta < 0 ? 5000 : 0, 3);
  expect(grad[0]).toBeCloseTo(delta < 0 ? -1 : 0, 6);
});

test("an empty place of the batch weighs nothing; no pairs at all leaves the likelihood term", async () => {
  const setting: Setting = { type: "sigmoid", beta: 0.1, labelSmoothing: 0 };
  const padded = await run(setting, [[-1], [-2], [], []], [0, 0, 0, 0], 2, [0, 0, 0, 0], [1, 0]);
  const alone = await run(setting, [[-1], [-2]], [0, 0], 1, [0, 0]);
  expect(padded.grad.slice(0, 2)).toEqual(alone.grad.slice(0, 2));
  expect((await run(setting, [[-1, -1], [-2], [-3]], [0, 0, 0], 0, [0.5, 0.25, 0.125])).grad.slice(0, 4)).toEqual([
    -0.5, -0.5, -0.25, -0.125,
  ]);
});

test("a log-probability that is not finite gets a gradient that the optimizer refuses", async () => {
  const setting: Setting = { type: "sigmoid", beta: 0.1, labelSmoothing: 0 };
  for (const bad of [Number.NaN, Number.NEGATIVE_INFINITY]) {
    expect((await run(setting, [[bad], [-2]], [0, 0], 1, [0, 0])).grad[0]).toBeGreaterThan(9e29);
    expect((await run(setting, [[bad]], [0], 0, [1])).grad[0]).toBeGreaterThan(9e29);
  }
});

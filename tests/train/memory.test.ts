import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Pipelines } from "../../src/gpu/pipelines.ts";
import { Pace, type Plan } from "../../src/gpu/plan.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { type FlatTensors, ModelWeights, type Runtime } from "../../src/model/weights.ts";
import { shaderSource } from "../../src/ops/shaders.ts";
import type { Group, GrpoGroup, KtoGroup, LossSettings, PreferenceGroup } from "../../src/train/groups.ts";
import { trainingMemory } from "../../src/train/memory.ts";
import { type StepResult, Trainer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { counting } from "./counting.ts";
import { hyper, loraOn, modelOn, relativeError, trainableOf } from "./engine.ts";
import { randomAdapter, randomPicture, randomTensors, randomTokens, tinyConfig } from "./models.ts";

const gpu = await openTestGpu();
const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
const sigmoid: LossSettings = { type: "sigmoid", beta: 0.1, labelSmoothing: 0 };

const rowsOf = (config: ModelConfig, n: number, seed: number, prompt = 5, answer = 4) => {
  const rng = rngFor(seed, "rows");
  return Array.from({ length: n }, () => ({
    picture: config.vision ? randomPicture(config, rng) : null,
    prompt: randomTokens(rng, config.vocab_size, prompt),
    answers: [randomTokens(rng, config.vocab_size, answer), randomTokens(rng, config.vocab_size, answer + 1)],
  }));
};

const pairsOf = (config: ModelConfig, n: number, seed: number, share = n, prompt = 5): PreferenceGroup => ({
  rows: rowsOf(config, n, seed, prompt),
  pairs: n,
  reference: Array.from({ length: 2 * n }, (_, s) => -9 - (s % 3)),
  sft: Array(2 * n).fill(0.01),
  weight: 1 / share,
});

/** A runtime that counts. */
function counted(pipelines?: Pipelines) {
  const { device, counts } = counting(gpu.device);
  const own: Runtime = {
    device,
    pipelines: pipelines ?? new Pipelines(device, shaderSource),
    variants: runtime.variants,
  };
  return { runtime: own, counts };
}

const plans: [string, Partial<Parameters<typeof tinyConfig>[0]>, boolean, (config: ModelConfig) => Group[]][] = [
  ["two pairs", {}, true, (config) => [pairsOf(config, 2, 1)]],
  ["pictures", { vision: true }, true, (config) => [pairsOf(config, 3, 1)]],
  ["the whole model", { layers: 3 }, false, (config) => [pairsOf(config, 5, 1)]],
  [
    "the whole model with pictures, own head",
    { vision: true, tied: false },
    false,
    (config) => [pairsOf(config, 4, 1)],
  ],
  ["a vocabulary of 1,500, by chunks", { vocab: 1500 }, true, (config) => [pairsOf(config, 4, 1)]],
  ["a vocabulary of 1,500, trained", { vocab: 1500 }, false, (config) => [pairsOf(config, 4, 1)]],
  ["two groups", { layers: 4 }, true, (config) => [pairsOf(config, 8, 1), pairsOf(config, 1, 2, 1, 20)]],
  [
    "KTO",
    {},
    true,
    (config) => [
      { kind: "kto-divergence", rows: rowsOf(config, 3, 1), reference: Array(6).fill(0), weight: 1 / 6 },
      {
        kind: "kto",
        rows: rowsOf(config, 3, 2),
        label: [1, -1, 1, 1, -1, -1],
        reference: Array(6).fill(-9),
        weight: Array(6).fill(1 / 6),
        beta: 0.1,
      } satisfies KtoGroup,
    ],
  ],
  [
    "GRPO",
    { layers: 5 },
    true,
    (config) => [
      {
        kind: "grpo",
        rows: rowsOf(config, 6, 1),
        advantage: Array(12).fill(0.5),
        weight: Array(12).fill(0.1),
        old: null,
        reference: null,
        beta: 0,
        low: 0.2,
        high: 0.2,
      } satisfies GrpoGroup,
    ],
  ],
];

test.each(plans.flatMap((plan) => [false, true].map((checkpointing) => [...plan, checkpointing] as const)))(
  "memory as predicted, to the byte: %s, options %o, LoRA %s, checkpointed in turn",
  async (_, options, adapted, groupsOf, checkpointing) => {
    const config = tinyConfig(options);
    const groups = groupsOf(config);
    const want = trainingMemory({
      config,
      variants: runtime.variants,
      limits: gpu.device.limits,
      lora: adapted ? randomAdapter(config, 2) : null,
      groups,
      checkpointing,
    });
    const own = counted(gpu.pipelines);
    const weights = new ModelWeights(own.runtime, config, randomTensors(config, 1));
    expect(want.weights).toBe(own.counts.bytes);
    const lora = adapted ? loraOn(own.runtime, config, randomAdapter(config, 2), true) : null;
    const trainer = new Trainer(own.runtime, weights, trainableOf(weights, lora), undefined, {
      checkpointing,
    });
    expect(want.weights + want.training).toBe(own.counts.bytes);
    await gpu.checked(() => trainer.step(groups, sigmoid, hyper(1)));
    expect(want.total).toBe(own.counts.bytes);
    await trainer.destroy();
  },
);

/** Result and gradients of one step. */
async function gradients(
  config: ModelConfig,
  adapted: boolean,
  step: (trainer: Trainer) => Promise<StepResult>,
  checkpointing = false,
): Promise<{ result: StepResult; grads: Float32Array; values: Float32Array }> {
  const weights = await modelOn(runtime, config, randomTensors(config, 3));
  const lora = adapted ? loraOn(runtime, config, randomAdapter(config, 4), true) : null;
  const trainable = trainableOf(weights, lora);
  const trainer = new Trainer(runtime, weights, trainable, undefined, { checkpointing });
  const result = await gpu.checked(() => step(trainer));
  const [grads, values] = [await trainable.grads.read(), await trainable.values.read()];
  await trainer.destroy();
  return { result, grads, values };
}

test.each([true, false])("checkpointing keeps every bit of loss, gradient and weights (LoRA %s)", async (adapted) => {
  const config = tinyConfig({ layers: 4, vision: true, vocab: 1100 });
  const groups = [pairsOf(config, 3, 5), pairsOf(config, 2, 6)];
  const step = (trainer: Trainer) => trainer.step(groups, sigmoid, hyper(1));
  const kept = await gradients(config, adapted, step);
  const again = await gradients(config, adapted, step, true);
  expect(again.result).toEqual(kept.result);
  expect(again.grads.some((x) => x !== 0)).toBe(true);
  expect(again.grads).toEqual(kept.grads);
  expect(again.values).toEqual(kept.values);
});

test("checkpointing: activations of one layer instead of all, so that memory hardly grows with the layers", () => {
  const bytes = (layers: number, checkpointing: boolean) => {
    const config = tinyConfig({ layers });
    return trainingMemory({
      config,
      variants: runtime.variants,
      limits: gpu.device.limits,
      lora: randomAdapter(config, 1),
      groups: [pairsOf(config, 32, 1, 32, 30)],
      checkpointing,
    }).plan;
  };
  const growth = (checkpointing: boolean) => (bytes(12, checkpointing) - bytes(4, checkpointing)) / 8;
  console.log(
    `plan of 12 layers: ${bytes(12, false)} bytes, checkpointed ${bytes(12, true)}; a layer more: ${growth(false)} and ${growth(true)}`,
  );
  expect(bytes(12, true)).toBeLessThan(0.4 * bytes(12, false));
  // A layer then keeps its input alone: (B·T, hidden), here 32 rows of 40 tokens of 16, and its gradients' small change.
  expect(growth(true)).toBeLessThan(0.15 * growth(false));
});

test.each([true, false])(
  "micro-batches of 2, 3 and 1 rows give the gradient of one batch of 6 (LoRA %s)",
  async (adapted) => {
    const config = tinyConfig();
    const whole = pairsOf(config, 6, 7);
    const slice = (from: number, to: number): PreferenceGroup => ({
      ...whole,
      rows: whole.rows.slice(from, to),
      pairs: to - from,
      reference: whole.reference.slice(2 * from, 2 * to),
      sft: whole.sft.slice(2 * from, 2 * to),
    });
    const once = await gradients(config, adapted, (trainer) => trainer.step([whole], sigmoid, hyper(1)));
    const micro = [[slice(0, 2)], [slice(2, 5)], [slice(5, 6)]];
    const parts = await gradients(config, adapted, (trainer) => trainer.accumulate(micro, sigmoid, hyper(1)));
    expect(relativeError(parts.grads, once.grads)).toBeLessThan(1e-6);
    expect(parts.result.loss).toBeCloseTo(once.result.loss, 6);
    expect(parts.result.gradNorm / once.result.gradNorm).toBeCloseTo(1, 6);
    expect(parts.result.pairs).toHaveLength(6);
    expect(relativeError(parts.values, once.values)).toBeLessThan(1e-5);
  },
);

async function smallTrainer(own: Runtime, pace?: Pace) {
  const config = tinyConfig({ layers: 1 });
  const weights = await modelOn(own, config, randomTensors(config, 8));
  const lora = loraOn(own, config, randomAdapter(config, 9, { b: 0 }), true);
  const trainable = trainableOf(weights, lora);
  return { config, trainable, trainer: new Trainer(own, weights, trainable, pace) };
}

test("1,000 steps: no new buffer, bind group or pipeline after the first, one submit a step, results two steps late", async () => {
  const own = counted();
  const { config, trainer, trainable } = await smallTrainer(own.runtime);
  const batches = [1, 2, 3].map((seed) => [pairsOf(config, 2, seed)]);
  const waiting: Promise<StepResult>[] = [];
  const before = own.counts.submits;
  let [first, last] = [0, 0];
  let settled: typeof own.counts | null = null;
  const take = async () => {
    last = ((await waiting.shift()) as StepResult).loss;
    if (first === 0) first = last;
  };
  for (let step = 1; step <= 1000; step++) {
    waiting.push(trainer.step(batches[step % 3] as Group[], sigmoid, hyper(step, { learningRate: 1e-3 })));
    if (waiting.length > 2) await take();
    if (step === 10) settled = { ...own.counts };
  }
  while (waiting.length > 0) await take();
  expect(own.counts).toEqual({ ...settled, submits: before + 1000 });
  expect(last).toBeLessThan(0.5 * first);
  expect((await trainable.values.read()).every(Number.isFinite)).toBe(true);
  await trainer.destroy();
});

test("a step takes the submits that its pace allows: at most four for three and a half budgets, one within a budget", async () => {
  const own = counted();
  const pace = new Pace();
  const { config, trainer } = await smallTrainer(own.runtime, pace);
  const groups = [pairsOf(config, 2, 1)];
  await trainer.step(groups, sigmoid, hyper(1));
  const plan = [...own.runtime.pipelines.plans].find(({ label }) => label === "train step");
  const { flops } = plan as Plan;
  /** Submits of a step on an adapter whose speed makes it so many budgets. */
  const submits = async (budgets: number): Promise<number> => {
    for (let i = 0; i < 100; i++) pace.measured(1e3 * flops, 1e3 * budgets * pace.targetMs);
    expect(flops / pace.budget).toBeCloseTo(budgets);
    const before = own.counts.submits;
    await trainer.step(groups, sigmoid, hyper(2));
    return own.counts.submits - before;
  };
  const sliced = await submits(3.5);
  expect(sliced).toBeGreaterThan(2);
  expect(sliced).toBeLessThanOrEqual(4);
  expect(await submits(0.9)).toBe(1);
  await trainer.destroy();
});

test("steps that were submitted behind one that is not finite change nothing either, until the host has seen it", async () => {
  const { config, trainer, trainable } = await smallTrainer(runtime);
  const good = [pairsOf(config, 2, 1)];
  const bad = [{ ...pairsOf(config, 2, 1), reference: [Number.NaN, 0, 0, 0] }];
  const state = async () =>
    Promise.all(
      [trainable.values, trainable.m, trainable.v].map(async (flat: FlatTensors) => Array.from(await flat.read())),
    );
  await trainer.step(good, sigmoid, hyper(1));
  const before = await state();
  const late = [bad, good, good].map((groups, i) => trainer.step(groups, sigmoid, hyper(2 + i)));
  expect((await Promise.all(late)).map(({ finite }) => finite)).toEqual([false, false, false]);
  expect(await state()).toEqual(before);
  expect((await trainer.step(good, sigmoid, hyper(2))).finite).toBe(true);
  expect(await state()).not.toEqual(before);
  await trainer.destroy();
});

import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import type { LoraWeights } from "../../src/model/weights.ts";
import type { PreferenceGroup as Group, LossSettings } from "../../src/train/groups.ts";
import { Scorer, Trainer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { adamw } from "../reference/adamw.ts";
import { hyper, loraOn, modelOn, referenceStep, relativeError, trainableOf } from "./engine.ts";
import { randomAdapter, randomPicture, randomTensors, randomTokens, tinyConfig } from "./models.ts";

const gpu = await openTestGpu();
const sigmoid: LossSettings = { type: "sigmoid", beta: 0.1, labelSmoothing: 0 };

/** Pairs with unequal lengths, with pictures where the model takes them, then plain rows with likelihood weights only. */
function groupsFor(config: ModelConfig, seed: number): Group[] {
  const rng = rngFor(seed, "rows");
  const tokens = (n: number) => randomTokens(rng, config.vocab_size, n);
  const picture = () => (config.vision ? randomPicture(config, rng) : null);
  const pairs = [
    { picture: picture(), prompt: tokens(3), answers: [tokens(2), tokens(4)] },
    { picture: picture(), prompt: tokens(1), answers: [tokens(5), tokens(1)] },
    { picture: null, prompt: tokens(4), answers: [tokens(3), tokens(3)] },
  ];
  const plain = [
    { picture: null, prompt: tokens(2), answers: [tokens(4)] },
    { picture: picture(), prompt: tokens(5), answers: [tokens(2)] },
  ];
  return [
    { rows: pairs, pairs: 3, reference: [-5, -12, -11, -3, -9, -8], sft: [0.1, 0, 0.05, 0, 0, 0.02] },
    { rows: plain, pairs: 0, reference: [0, 0], sft: [0.125, 0.25] },
  ];
}

/** Gradients of the adapter on the device, in PEFT's order: PATH.A and PATH.B. */
async function loraGradients(lora: LoraWeights): Promise<Map<string, Float64Array>> {
  const host = await (lora.grads as NonNullable<typeof lora.grads>).read();
  const found = new Map<string, Float64Array>();
  for (const [path, { A, B }] of lora.unpack(host)) {
    found.set(`${path}.A`, Float64Array.from(A.data));
    found.set(`${path}.B`, Float64Array.from(B.data));
  }
  return found;
}

/** Largest relative error over tensors, with its name. */
function worst(
  got: ReadonlyMap<string, ArrayLike<number>>,
  want: ReadonlyMap<string, Float64Array>,
): { name: string; error: number } {
  let found = { name: "", error: 0 };
  for (const [name, data] of got) {
    const error = relativeError(data, want.get(name) ?? new Float64Array(0));
    if (error > found.error) found = { name, error };
  }
  return found;
}

test.each([
  ["text, tied head, grouped queries", { vision: false, tied: true, kv: 2 }, 4],
  [
    "pictures, own head, one key-value head, vocabulary of 21, rank 3",
    { vision: true, tied: false, kv: 1, vocab: 21 },
    3,
  ],
] as const)("LoRA: loss, log-probs and every gradient against f64: %s", async (_, options, r) => {
  const config = tinyConfig(options);
  const tensors = randomTensors(config, 1);
  const adapter = randomAdapter(config, 2, { r });
  const groups = groupsFor(config, 3);
  const want = referenceStep(config, tensors, adapter, groups, sigmoid);
  for (const variant of gpu.variants) {
    const runtime = gpu.runtime(variant);
    const weights = await modelOn(runtime, config, tensors);
    const lora = loraOn(runtime, config, adapter, true);
    const trainer = new Trainer(runtime, weights, trainableOf(weights, lora));
    const got = await gpu.checked(() => trainer.step(groups, sigmoid, hyper(1)));
    expect(got.loss).toBeCloseTo(want.loss, 5);
    for (const [g, sums] of want.sums.entries())
      expect(relativeError(got.sums[g] as readonly number[], sums)).toBeLessThan(1e-5);
    const found = worst(await loraGradients(lora), want.grads);
    console.log(`LoRA ${variant}: worst tensor ${found.name} ${found.error.toExponential(1)}`);
    expect(found.error, found.name).toBeLessThan(1e-4);
    const norm = Math.sqrt(
      [...want.grads]
        .filter(([name]) => /\.[AB]$/.test(name))
        .reduce((sum, [, d]) => sum + d.reduce((s, x) => s + x * x, 0), 0),
    );
    expect(got.gradNorm / norm).toBeCloseTo(1, 4);
  }
});

test.each([
  ["text, tied head", { vision: false, tied: true, kv: 2 }],
  ["text, own head, vocabulary of 21", { vision: false, tied: false, kv: 4, vocab: 21 }],
  ["pictures, tied head", { vision: true, tied: true, kv: 2 }],
] as const)("full training: every gradient against f64: %s", async (_, options) => {
  const config = tinyConfig(options);
  const tensors = randomTensors(config, 4);
  const groups = groupsFor(config, 5);
  const want = referenceStep(config, tensors, null, groups, sigmoid);
  for (const variant of gpu.variants) {
    const runtime = gpu.runtime(variant);
    const weights = await modelOn(runtime, config, tensors);
    const trainable = trainableOf(weights, null);
    const trainer = new Trainer(runtime, weights, trainable);
    const got = await gpu.checked(() => trainer.step(groups, sigmoid, hyper(1)));
    expect(got.loss).toBeCloseTo(want.loss, 5);
    const host = await trainable.grads.read();
    const found = worst(
      new Map([...tensors.keys()].map((name) => [name, trainable.grads.slice(host, name)])),
      want.grads,
    );
    console.log(`full ${variant}: worst tensor ${found.name} ${found.error.toExponential(1)}`);
    expect(found.error, found.name).toBeLessThan(1e-4);
  }
});

test("the start of DPO: B = 0, policy = reference, loss ln 2, rewards 0; only B has a gradient", async () => {
  const config = tinyConfig();
  const tensors = randomTensors(config, 6);
  const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
  const weights = await modelOn(runtime, config, tensors);
  const rng = rngFor(7, "rows");
  const rows = Array.from({ length: 5 }, () => ({
    picture: null,
    prompt: randomTokens(rng, 24, 3),
    answers: [randomTokens(rng, 24, 2), randomTokens(rng, 24, 5)],
  }));
  const scorer = new Scorer(runtime, weights, {});
  const reference = (await scorer.tokens(rows)).flat().map((tokens) => tokens.reduce((a, b) => a + b, 0));
  const adapter = randomAdapter(config, 8, { b: 0 });
  const lora = loraOn(runtime, config, adapter, true);
  const trainer = new Trainer(runtime, weights, trainableOf(weights, lora));
  const got = await trainer.step(
    [{ rows, pairs: 5, reference, sft: Array(10).fill(0) }],
    sigmoid,
    hyper(1, { learningRate: 0 }),
  );
  expect(got.loss).toBeCloseTo(Math.LN2, 6);
  for (const pair of got.pairs)
    expect([pair.chosen, pair.rejected].map((reward) => Math.abs(reward) < 1e-5)).toEqual([true, true]);
  for (const [name, gradient] of await loraGradients(lora)) {
    const norm = Math.sqrt(gradient.reduce((sum, x) => sum + x * x, 0));
    if (name.endsWith(".A")) expect(norm, name).toBe(0);
    else expect(norm, name).toBeGreaterThan(1e-4);
  }
});

test.each([
  ["LoRA", true],
  ["the whole model", false],
])("%s: the loss falls, and the same seed gives the same bits in every run", async (_, adapted) => {
  const config = tinyConfig({ vision: true });
  const tensors = randomTensors(config, 9);
  const groups = groupsFor(config, 10);
  const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
  const run = async () => {
    const weights = await modelOn(runtime, config, tensors);
    const lora = adapted ? loraOn(runtime, config, randomAdapter(config, 11, { b: 0 }), true) : null;
    const trainable = trainableOf(weights, lora);
    const trainer = new Trainer(runtime, weights, trainable);
    const losses: number[] = [];
    for (let step = 1; step <= 30; step++)
      losses.push((await trainer.step(groups, sigmoid, hyper(step, { learningRate: 1e-2 }))).loss);
    return { losses, values: await trainable.values.read() };
  };
  const [first, second] = [await run(), await run()];
  expect(second.losses).toEqual(first.losses);
  expect(Buffer.from(first.values.buffer).equals(Buffer.from(second.values.buffer))).toBe(true);
  expect(first.losses.at(-1)).toBeLessThan(0.7 * (first.losses[0] as number));
  for (const loss of first.losses) expect(Number.isFinite(loss)).toBe(true);
});

test("three steps of the whole model follow AdamW in f64", async () => {
  const config = tinyConfig({ layers: 1 });
  const tensors = randomTensors(config, 12);
  const groups = groupsFor(config, 13);
  const runtime = gpu.runtime("plain");
  const weights = await modelOn(runtime, config, tensors);
  const trainer = new Trainer(runtime, weights, trainableOf(weights, null));
  const names = [...tensors.keys()];
  const flat = (of: (name: string) => ArrayLike<number>) =>
    Float64Array.from(names.flatMap((name) => Array.from(of(name))));
  const w = flat((name) => tensors.get(name)?.data as Float32Array);
  const [m, v] = [new Float64Array(w.length), new Float64Array(w.length)];
  const offsets = new Map<string, number>();
  let size = 0;
  for (const [name, { data }] of tensors) {
    offsets.set(name, size);
    size += data.length;
  }
  for (let step = 1; step <= 3; step++) {
    const now = new Map(
      [...tensors].map(([name, { shape, data }]) => [
        name,
        { shape, data: Float32Array.from(w.subarray(offsets.get(name), (offsets.get(name) as number) + data.length)) },
      ]),
    );
    const want = referenceStep(config, now, null, groups, sigmoid);
    const got = await trainer.step(groups, sigmoid, hyper(step, { weightDecay: 0.1 }));
    expect(got.loss).toBeCloseTo(want.loss, 4);
    adamw(
      w,
      m,
      v,
      flat((name) => want.grads.get(name) as Float64Array),
      { lr: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.1, maxNorm: 1, step },
    );
  }
  const host = await weights.toHost();
  const moved = flat((name) => host.get(name)?.data as Float32Array);
  const start = flat((name) => tensors.get(name)?.data as Float32Array);
  // The displacement, not the weights: an error of a step would hide behind their size.
  expect(
    relativeError(
      moved.map((x, i) => x - (start[i] as number)),
      w.map((x, i) => x - (start[i] as number)),
    ),
  ).toBeLessThan(2e-3);
});

test("a step of text after a step of pictures does not repeat the pictures' gradient", async () => {
  const config = tinyConfig({ vision: true });
  const runtime = gpu.runtime("plain");
  const weights = await modelOn(runtime, config, randomTensors(config, 14));
  const trainable = trainableOf(weights, null);
  const trainer = new Trainer(runtime, weights, trainable);
  const [pictures, text] = groupsFor(config, 15) as [Group, Group];
  const gradient = async () => trainable.grads.slice(await trainable.grads.read(), "model.vision_embed.weight");
  await trainer.step([pictures], sigmoid, hyper(1));
  expect((await gradient()).some((x) => x !== 0)).toBe(true);
  await trainer.step([{ ...text, rows: text.rows.map((row) => ({ ...row, picture: null })) }], sigmoid, hyper(2));
  expect((await gradient()).every((x) => x === 0)).toBe(true);
});

test.each([
  ["NaN in a frozen weight", Number.NaN, "model.layers.1.mlp.down_proj.weight", 0],
  ["infinity in the head", Number.POSITIVE_INFINITY, "lm_head.weight", 0],
  ["a reference of NaN", Number.NaN, null, Number.NaN],
])("%s: the step says so and changes nothing, then training goes on", async (_, bad, name, reference) => {
  const config = tinyConfig({ tied: false });
  const tensors = randomTensors(config, 16);
  const groups = groupsFor(config, 17);
  const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
  const weights = await modelOn(runtime, config, tensors);
  const lora = loraOn(runtime, config, randomAdapter(config, 18), true);
  const trainable = trainableOf(weights, lora);
  const trainer = new Trainer(runtime, weights, trainable);
  const state = async () => Promise.all([trainable.values, trainable.m, trainable.v].map((flat) => flat.read()));
  const good = await trainer.step(groups, sigmoid, hyper(1));
  expect(good.finite).toBe(true);
  const before = await state();
  if (name) {
    const data = Float32Array.from(tensors.get(name)?.data as Float32Array);
    data[5] = bad;
    weights.values.write(name, data);
    await weights.refresh();
  }
  const broken = groups.map((group) => ({
    ...group,
    reference: group.reference.map((r, s) => (name === null && s === 1 ? reference : r)),
  }));
  const got = await trainer.step(broken, sigmoid, hyper(2));
  expect(got.finite).toBe(false);
  for (const [i, flat] of (await state()).entries())
    expect(Buffer.from(flat.buffer).equals(Buffer.from((before[i] as Float32Array<ArrayBuffer>).buffer))).toBe(true);
  if (name) {
    weights.values.write(name, tensors.get(name)?.data as Float32Array);
    await weights.refresh();
  }
  expect((await trainer.step(groups, sigmoid, hyper(2))).finite).toBe(true);
});

test("plans of many shapes come and go, and the numbers stay", async () => {
  const config = tinyConfig({ layers: 1 });
  const tensors = randomTensors(config, 19);
  const runtime = gpu.runtime("plain");
  const weights = await modelOn(runtime, config, tensors);
  const trainer = new Trainer(
    runtime,
    weights,
    trainableOf(weights, loraOn(runtime, config, randomAdapter(config, 20), true)),
  );
  const rng = rngFor(21, "rows");
  const group = (n: number): Group => ({
    rows: Array.from({ length: n }, () => ({ picture: null, prompt: [3, 4], answers: [randomTokens(rng, 24, 2)] })),
    pairs: 0,
    reference: [],
    sft: Array(n).fill(1 / n),
  });
  const same = group(1);
  const first = await trainer.step([same], sigmoid, hyper(1, { learningRate: 0 }));
  for (let n = 2; n <= 27; n++)
    expect((await trainer.step([group(n)], sigmoid, hyper(1, { learningRate: 0 }))).finite).toBe(true);
  expect((await trainer.step([same], sigmoid, hyper(1, { learningRate: 0 }))).loss).toBe(first.loss);
});

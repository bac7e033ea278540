import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { type ModelConfig, type Projection, projectionPath, projectionShape } from "../../src/model/config.ts";
import type { LoraWeights } from "../../src/model/weights.ts";
import { type Group, type LossSettings, Trainer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { hyper, loraOn, modelOn, referenceStep, relativeError, trainableOf, transposed } from "./engine.ts";
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
async function loraGradients(lora: LoraWeights, config: ModelConfig): Promise<Map<string, Float64Array>> {
  const host = await (lora.grads as NonNullable<typeof lora.grads>).read();
  const found = new Map<string, Float64Array>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const name of lora.targets) {
      const [out, inn] = projectionShape(config, name as Projection);
      const path = projectionPath(layer, name);
      found.set(`${path}.A`, transposed(lora.flat.slice(host, `${path}.A`), inn, lora.r));
      found.set(`${path}.B`, transposed(lora.flat.slice(host, `${path}.B`), lora.r, out));
    }
  return found;
}

/** Largest relative error over tensors, with its name. */
function worst(got: ReadonlyMap<string, ArrayLike<number>>, want: ReadonlyMap<string, Float64Array>): { name: string; error: number } {
  let found = { name: "", error: 0 };
  for (const [name, data] of got) {
    const error = relativeError(data, want.get(name) ?? new Float64Array(0));
    if (error > found.error) found = { name, error };
  }
  return found;
}

test.each([
  ["text, tied head, grouped queries", { vision: false, tied: true, kv: 2 }, 4],
  ["pictures, own head, one key-value head, vocabulary of 21, rank 3", { vision: true, tied: false, kv: 1, vocab: 21 }, 3],
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
    const trainer = new Trainer(runtime, weights, trainableOf(runtime, weights, lora));
    const got = await gpu.checked(() => trainer.step(groups, sigmoid, hyper(1)));
    expect(got.loss).toBeCloseTo(want.loss, 5);
    for (const [g, sums] of want.sums.entries()) expect(relativeError(got.sums[g] as readonly number[], sums)).toBeLessThan(1e-5);
    const found = worst(await loraGradients(lora, config), want.grads);
    console.log(`LoRA ${variant}: worst tensor ${found.name} ${found.error.toExponential(1)}`);
    expect(found.error, found.name).toBeLessThan(1e-4);
    const norm = Math.sqrt([...want.grads].filter(([name]) => /\.[AB]$/.test(name)).reduce((sum, [, d]) => sum + d.reduce((s, x) => s + x * x, 0), 0));
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
    const trainable = trainableOf(runtime, weights, null);
    const trainer = new Trainer(runtime, weights, trainable);
    const got = await gpu.checked(() => trainer.step(groups, sigmoid, hyper(1)));
    expect(got.loss).toBeCloseTo(want.loss, 5);
    const host = await trainable.grads.read();
    const found = worst(new Map([...tensors.keys()].map((name) => [name, trainable.grads.slice(host, name)])), want.grads);
    console.log(`full ${variant}: worst tensor ${found.name} ${found.error.toExponential(1)}`);
    expect(found.error, found.name).toBeLessThan(1e-4);
  }
});

/** A frozen model held in float16: log-probs, LoRA gradients and generation against f64, memory, and what is refused. */
import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { type ModelConfig, tensorShapes } from "../../src/model/config.ts";
import { Generator } from "../../src/model/generate.ts";
import type { Tensor } from "../../src/model/safetensors.ts";
import { ModelWeights, mergedTensors, type Runtime, runOnce } from "../../src/model/weights.ts";
import type { PreferenceGroup as Group, LossSettings } from "../../src/train/groups.ts";
import { trainingMemory, weightMemory } from "../../src/train/memory.ts";
import { Scorer, Trainer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { Tape } from "../reference/autograd.ts";
import { leavesOf, referenceLogits } from "../reference/decoder.ts";
import { rounded } from "../reference/float16.ts";
import { counting } from "./counting.ts";
import { hyper, loraOn, referenceStep, relativeError, trainableOf } from "./engine.ts";
import { randomAdapter, randomPicture, randomTensors, randomTokens, tinyConfig } from "./models.ts";

const gpu = await openTestGpu();
const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
const sigmoid: LossSettings = { type: "sigmoid", beta: 0.1, labelSmoothing: 0 };

/** Projections, embedding and head, as far as their sizes are multiples of 4. */
const isHalf = (name: string, shape: readonly number[]): boolean =>
  /_proj\.weight$|embed_tokens|lm_head/.test(name) && shape.every((size) => size % 4 === 0);

const roundedModel = (tensors: ReadonlyMap<string, Tensor>): Map<string, Tensor> =>
  new Map(
    [...tensors].map(([name, { shape, data }]) => [name, { shape, data: isHalf(name, shape) ? rounded(data) : data }]),
  );

async function halfModel(own: Runtime, config: ModelConfig, tensors: ReadonlyMap<string, Tensor>) {
  const weights = new ModelWeights(own, config, tensors, "float16");
  await weights.refresh();
  return weights;
}

function pairs(config: ModelConfig, seed: number): Group[] {
  const rng = rngFor(seed, "rows");
  const tokens = (n: number) => randomTokens(rng, config.vocab_size, n);
  const rows = [
    {
      picture: config.vision ? randomPicture(config, rng) : null,
      prompt: tokens(3),
      answers: [tokens(2), tokens(4)],
    },
    { picture: null, prompt: tokens(1), answers: [tokens(3), tokens(1)] },
  ];
  return [{ rows, pairs: 2, reference: [-5, -12, -9, -3], sft: [0.1, 0, 0.05, 0] }];
}

/** Errors of the device's step against one reference: loss, log-probs of answers, worst LoRA gradient. */
async function errorsOf(
  config: ModelConfig,
  own: Runtime,
  tensors: ReadonlyMap<string, Tensor>,
  references: readonly ReadonlyMap<string, Tensor>[],
) {
  const adapter = randomAdapter(config, 2);
  const groups = pairs(config, 3);
  const weights = await halfModel(own, config, tensors);
  const lora = loraOn(own, config, adapter, true);
  const trainer = new Trainer(own, weights, trainableOf(weights, lora));
  const got = await gpu.checked(() => trainer.step(groups, sigmoid, hyper(1)));
  const grads = lora.unpack(await (lora.grads as NonNullable<typeof lora.grads>).read());
  await trainer.destroy();
  return references.map((reference) => {
    const want = referenceStep(config, reference, adapter, groups, sigmoid);
    const gradients = [...grads].flatMap(([path, { A, B }]) => [
      relativeError(A.data, want.grads.get(`${path}.A`) as Float64Array),
      relativeError(B.data, want.grads.get(`${path}.B`) as Float64Array),
    ]);
    return {
      loss: Math.abs(got.loss - want.loss),
      logps: Math.max(...want.sums.map((sums, g) => relativeError(got.sums[g] as readonly number[], sums))),
      gradient: Math.max(...gradients),
    };
  });
}

test.each([
  ["text, tied head, grouped queries", { kv: 2 }],
  ["pictures, own head, a vocabulary that stays f32", { vision: true, tied: false, vocab: 21 }],
  ["a vocabulary of 1,100, by chunks", { vocab: 1100, layers: 1 }],
] as const)("LoRA on float16: the model of the rounded weights as exactly as in f32: %s", async (_, options) => {
  const config = tinyConfig(options);
  const tensors = randomTensors(config, 1);
  const [own, exact] = (await errorsOf(config, runtime, tensors, [roundedModel(tensors), tensors])) as [
    Awaited<ReturnType<typeof errorsOf>>[number],
    Awaited<ReturnType<typeof errorsOf>>[number],
  ];
  console.log(
    `against the rounded weights ${own.gradient.toExponential(1)}, unrounded ${exact.gradient.toExponential(1)} (gradient), ${exact.logps.toExponential(1)} (log-probs)`,
  );
  expect(own.loss).toBeLessThan(1e-5);
  expect(own.logps).toBeLessThan(1e-5);
  expect(own.gradient).toBeLessThan(1e-4);
  // Rounding moves a weight by up to 2⁻¹¹ = 4.9e-4 of itself; it is seen, and what comes of it stays of that order.
  expect(exact.gradient).toBeGreaterThan(1e-4);
  expect(exact.gradient).toBeLessThan(2e-2);
  expect(exact.logps).toBeLessThan(2e-3);
});

test("scoring without adapter, with it, and with it merged: the rounded model's log-probs", async () => {
  const config = tinyConfig({ kv: 1 });
  const tensors = randomTensors(config, 4);
  const adapter = randomAdapter(config, 5);
  const rows = pairs(config, 6).flatMap((group) => group.rows);
  const [half, full] = [
    await halfModel(runtime, config, tensors),
    await (async () => {
      const weights = new ModelWeights(runtime, config, roundedModel(tensors));
      await weights.refresh();
      return weights;
    })(),
  ];
  const lora = loraOn(runtime, config, adapter, false);
  const merged = mergedTensors(runtime, config);
  const found: number[][] = [];
  for (const weights of [half, full]) {
    await runOnce(runtime, "merge", (ctx) => lora.appendMerge(ctx, weights, merged));
    for (const how of [{}, { lora }, { merged }]) {
      const scorer = new Scorer(runtime, weights, how);
      found.push((await gpu.checked(() => scorer.tokens(rows))).flat(2));
      await scorer.destroy();
    }
  }
  // The same products of the same numbers in the same order: the same bits.
  expect(found.slice(0, 3)).toEqual(found.slice(3));
  expect(found[0]).not.toEqual(found[1]);
});

test.each([
  ["text", {}],
  ["pictures, own head", { vision: true, tied: false, layers: 1 }],
] as const)("generation: the likeliest tokens of the rounded model: %s", async (_, options) => {
  const config = tinyConfig({ ...options, eos: null });
  const tensors = randomTensors(config, 7);
  const rng = rngFor(8, "prompts");
  const prompts = [2, 5].map((n) => ({
    picture: config.vision ? randomPicture(config, rng) : null,
    prompt: randomTokens(rng, config.vocab_size, n),
  }));
  const generator = new Generator(runtime, await halfModel(runtime, config, tensors), null);
  const sampling = { k: 1, temperature: 0, topK: 0, topP: 1, seed: 0, batch: 2, maxNewTokens: 6 };
  const got = await gpu.checked(() => generator.generate(prompts, sampling));
  for (const [i, { picture, prompt }] of prompts.entries()) {
    const made: number[] = [];
    while (made.length < 6) {
      const tape = new Tape();
      const model = { tape, config, params: leavesOf(tape, roundedModel(tensors)), lora: null };
      const last = referenceLogits(model, picture, [...prompt, ...made]).at(-1) as number[];
      const logits = last.map((x) => tape.of(x));
      made.push(logits.indexOf(Math.max(...logits)));
    }
    expect(got[i]?.[0]?.tokens).toEqual(made);
  }
  await generator.destroy();
});

test.each([
  ["tied", {}],
  ["own head, pictures", { tied: false, vision: true }],
])("memory: matrices take half, to the byte, and it is said before: %s", async (_, options) => {
  const config = tinyConfig(options);
  const { device, counts } = counting(gpu.device);
  const own = { ...runtime, device };
  new ModelWeights(own, config, randomTensors(config, 1), "float16");
  expect(weightMemory(config, "float16")).toBe(counts.bytes);
  // Every matrix lies in two orders, but the embedding beside a head of its own; projections of one input lie together.
  const aligned = (bytes: number) => 256 * Math.ceil(bytes / 256);
  const shapes = [...tensorShapes(config)];
  const saved = ["q_proj|k_proj|v_proj", "o_proj", "gate_proj|up_proj", "down_proj", "embed_tokens", "lm_head"].flatMap(
    (names) =>
      [...Array(names.includes("proj") ? config.num_hidden_layers : 1).keys()].map((layer) => {
        const pattern = new RegExp(names.includes("proj") ? `layers\\.${layer}\\..*(${names})` : names);
        const elements = shapes
          .filter(([name]) => pattern.test(name))
          .reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
        const orders = names === "embed_tokens" && !config.tie_word_embeddings ? 1 : 2;
        return orders * (aligned(4 * elements) - aligned(2 * elements));
      }),
  );
  expect(weightMemory(config, "float32") - counts.bytes).toBe(saved.reduce((a, b) => a + b, 0));
  const memory = (dtype: "float16" | "float32") =>
    trainingMemory({
      config,
      dtype,
      variants: runtime.variants,
      limits: gpu.device.limits,
      lora: randomAdapter(config, 2),
      groups: pairs(config, 3),
    });
  expect(memory("float16").weights).toBe(counts.bytes);
  expect(memory("float16").training).toBe(memory("float32").training);
});

test("training the model itself, writing it to a file, and a weight beyond f16 are refused in plain words", async () => {
  const config = tinyConfig();
  const tensors = randomTensors(config, 1);
  const weights = await halfModel(runtime, config, tensors);
  const why =
    "held in float16, which is not trained and not written to files: train an adapter, or load the model in float32";
  expect(() => trainableOf(weights, null)).toThrow(why);
  await expect(weights.toHost()).rejects.toThrow(why);
  expect(() =>
    trainingMemory({
      config,
      dtype: "float16",
      variants: runtime.variants,
      limits: gpu.device.limits,
      lora: null,
      groups: pairs(config, 3),
    }),
  ).toThrow(why);
  const name = "model.layers.1.mlp.up_proj.weight";
  const { shape, data } = tensors.get(name) as Tensor;
  const large = new Map([...tensors, [name, { shape, data: data.map((x, i) => (i === 5 ? -70000 : x)) }]]);
  expect(() => new ModelWeights(runtime, config, large, "float16")).toThrow(
    `${name} holds -70000, and float16 ends at 65504: load the model in float32`,
  );
});

import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { captionOf, judgeBatch, judgeItems } from "../../src/judge/data.ts";
import { exportImageEncoder, exportTextEncoder } from "../../src/judge/export-onnx.ts";
import { createOnnxScorer } from "../../src/judge/onnx.ts";
import { phrasesOf, pixelValues } from "../../src/judge/preprocess.ts";
import { captionInputs, DualEncoder, type DualEncoderConfig, dualEncoderShapes } from "../../src/model/dual-encoder.ts";
import { FlatTensors } from "../../src/model/weights.ts";
import { infoNCE } from "../../src/ops/contrastive.ts";
import { type Caption, encode, initialJudge, patches, pretrainJudge, writeCaptions } from "../../src/train/judge.ts";
import { openTestGpu } from "../gpu/open.ts";
import { worstOf } from "../ops/check.ts";
import { encodeCaption, encodePicture, type Weights } from "../reference/dual-encoder.ts";
import { logprob } from "../reference/logprob.ts";

const gpu = await openTestGpu();

/** Awkward on purpose: 2 × 2 cells of 3 × 3 pixels, phrases of three words, widths that are no multiples of 4. */
const TINY: DualEncoderConfig = {
  image_size: 6,
  patch_size: 3,
  num_channels: 3,
  vocab_size: 11,
  phrase_length: 3,
  hidden_size: 5,
  intermediate_size: 7,
  vision_layers: 2,
  text_layers: 1,
  projection_dim: 8,
};

const SMALL: DualEncoderConfig = {
  image_size: 32,
  patch_size: 8,
  num_channels: 3,
  vocab_size: 64,
  phrase_length: 4,
  hidden_size: 16,
  intermediate_size: 32,
  vision_layers: 1,
  text_layers: 2,
  projection_dim: 32,
};

const noise = (label: string, size: number): Float32Array<ArrayBuffer> => {
  const rng = rngFor(5, label);
  return Float32Array.from({ length: size }, () => rng.normal());
};

const wide = (tensors: ReadonlyMap<string, { data: Float32Array }>): Map<string, Float64Array> =>
  new Map([...tensors].map(([name, { data }]) => [name, Float64Array.from(data)]));

const PICTURES = [0, 1, 2, 3].map((i) => noise(`picture ${i}`, 3 * 6 * 6));
const CAPTIONS: Caption[] = [
  [[1, 2, 3]],
  [
    [4, 5, 6],
    [1, 8, 9],
  ],
  [
    [10, 0, 1],
    [2, 2, 2],
    [3, 4, 7],
  ],
  [[1, 2, 4]],
];

test("the encoders are those of the f64 reference, in every kernel variant", async () => {
  const tensors = initialJudge(TINY, 3);
  for (const name of tensors.keys())
    if (name.endsWith(".bias")) tensors.get(name)?.data.set(noise(name, tensors.get(name)?.data.length ?? 0));
  for (const variant of gpu.variants) {
    const runtime = gpu.runtime(variant);
    const encoder = new DualEncoder(runtime, TINY, tensors);
    const got = await encode(runtime, encoder, PICTURES, CAPTIONS);
    const weights = wide(tensors);
    expect(
      worstOf(
        got.pictures,
        PICTURES.flatMap((picture) => [...encodePicture(TINY, weights, picture)]),
      ).error,
    ).toBeLessThan(1e-5);
    expect(
      worstOf(
        got.captions,
        CAPTIONS.flatMap((caption) => [...encodeCaption(TINY, weights, caption)]),
      ).error,
    ).toBeLessThan(1e-5);
    encoder.destroy();
  }
});

test("the gradient of InfoNCE between pictures and captions, per tensor, against f64 central differences", async () => {
  const tensors = initialJudge(TINY, 4);
  const runtime = gpu.runtime("plain");
  const encoder = new DualEncoder(runtime, TINY, tensors);
  const grads = new FlatTensors(gpu.device, "gradients", dualEncoderShapes(TINY));
  const g = new Graph();
  const ctx = { g, variants: runtime.variants };
  encoder.appendRefresh(ctx);
  const bound = encoder.bind(g, grads);
  const input = g.input("pictures", [4 * 4, 27]);
  const words = captionInputs(g, TINY, { captions: 4, phrases: 9 }); // two places for phrases stay empty
  const target = g.input("target", [4], "u32");
  const logp = infoNCE(ctx, bound.pictures(ctx, input), bound.captions(ctx, words), target, 0.2);
  const seed = g.input("seed", [4]);
  g.backward([{ of: logp, grad: seed }]);
  const plan = await compile("gradient", g, gpu.device, gpu.pipelines);
  plan.write(input, patches(TINY, PICTURES));
  writeCaptions(plan, words, TINY, CAPTIONS);
  plan.write(target, new Uint32Array([0, 1, 2, 3]));
  plan.write(seed, new Float32Array([-0.25, -0.25, -0.25, -0.25]));
  await plan.run();
  const host = await grads.read();

  const weights = wide(tensors);
  const loss = (w: Weights): number => {
    const seen = PICTURES.map((picture) => encodePicture(TINY, w, picture));
    const said = CAPTIONS.map((caption) => encodeCaption(TINY, w, caption));
    const logits = seen.flatMap((x) =>
      said.map((y) => x.reduce((sum, value, i) => sum + value * (y[i] as number), 0) / 0.2),
    );
    return -logprob(Float64Array.from(logits), [0, 1, 2, 3], 4).reduce((a, b) => a + b, 0) / 4;
  };
  for (const [name, values] of weights) {
    const numeric = Float64Array.from(values, (old, i) => {
      values[i] = old + 1e-5;
      const up = loss(weights);
      values[i] = old - 1e-5;
      const down = loss(weights);
      values[i] = old;
      return (up - down) / 2e-5;
    });
    const got = grads.slice(host, name);
    const difference = Math.hypot(...numeric.map((want, i) => want - (got[i] as number)));
    const size = Math.hypot(...numeric);
    expect(size, `${name} has a gradient`).toBeGreaterThan(1e-4);
    expect(difference / size, name).toBeLessThan(1e-4);
  }
  plan.destroy();
});

const train = (seed: number, steps: number) => {
  const losses: number[] = [];
  const tensors = pretrainJudge(gpu.runtime(gpu.variants.at(-1) ?? "plain"), SMALL, {
    steps,
    learningRate: 3e-3,
    warmup: 5,
    weightDecay: 0.01,
    temperature: 0.1,
    maxPhrases: 5,
    seed,
    batch: (step) => judgeBatch(seed, step, { size: 12, misses: 2 }),
    onStep: ({ loss }) => losses.push(loss),
  });
  return tensors.then((result) => ({ tensors: result, losses }));
};

test("training lowers the loss, and the same seed gives the same bytes", async () => {
  const [first, second, other] = [await train(1, 30), await train(1, 30), await train(2, 3)];
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  expect(mean(first.losses.slice(-5))).toBeLessThan(0.6 * (first.losses[0] as number));
  expect(second.losses).toEqual(first.losses);
  for (const [name, { data }] of first.tensors) expect(second.tensors.get(name)?.data, name).toEqual(data);
  expect(other.losses[0]).not.toBe(first.losses[0]);
});

test("the exported ONNX files give what the kernels give", async () => {
  const runtime = gpu.runtime("plain");
  const { tensors } = await train(3, 10);
  const encoder = new DualEncoder(runtime, SMALL, tensors);
  const items = [...judgeItems(1, "A", "held-out", 15), ...judgeItems(1, "B", "held-out", 18)];
  const captions = items.map(({ scene }) => captionOf(scene));
  const want = await encode(
    runtime,
    encoder,
    items.map(({ picture }) => pixelValues(picture)),
    captions.map((caption) => phrasesOf(caption) as Caption),
  );
  const scorer = await createOnnxScorer({
    imageModel: exportImageEncoder(SMALL, tensors),
    textModel: exportTextEncoder(SMALL, tensors),
  });
  const pictures = (await scorer.encodePictures(items.map(({ picture }) => picture))).flatMap((row) => [...row]);
  const texts = (await scorer.encodeCaptions(captions)).flatMap((row) => [...row]);
  expect(pictures).toHaveLength(33 * 32);
  expect(worstOf(pictures, want.pictures).error).toBeLessThan(1e-5);
  expect(worstOf(texts, want.captions).error).toBeLessThan(1e-5);
  await scorer.release();
});

test("a diverging run stops at its first step that is not finite, with advice", async () => {
  const bad = judgeBatch(1, 1, { size: 4, misses: 1 });
  bad.seen[0]?.fill(Number.NaN);
  const run = pretrainJudge(gpu.runtime("plain"), SMALL, {
    steps: 2,
    learningRate: 1,
    warmup: 1,
    weightDecay: 0,
    temperature: 0.1,
    maxPhrases: 5,
    seed: 1,
    batch: () => bad,
  });
  await expect(run).rejects.toThrow("diverged at step 1");
});

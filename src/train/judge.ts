/**
 * Training of the judge: two encoders from nothing, by symmetric InfoNCE with near misses among the negatives.
 *
 *   L = −mean over the four directions: seen → redrawn, seen → caption, caption → redrawn, redrawn → caption
 *
 * where B seen pictures choose among N redrawn pictures or captions, of which most are wrong by one object.
 */
import { rngFor } from "../base/rng.ts";
import { Graph, type Tensor } from "../gpu/graph.ts";
import { compile, type Pace, type Plan } from "../gpu/plan.ts";
import {
  type CaptionInputs,
  captionInputs,
  DualEncoder,
  type DualEncoderConfig,
  dualEncoderShapes,
  type HostTensor,
  patchCount,
  patchWidth,
} from "../model/dual-encoder.ts";
import { sortById } from "../model/packing.ts";
import { FlatTensors, type Runtime } from "../model/weights.ts";
import { ADAMW_HYPER, adamw } from "../ops/adamw.ts";
import { infoNCE } from "../ops/contrastive.ts";
import { NONE } from "../ops/mask.ts";
import { type Hyper, hyperWords } from "./step.ts";

/** A caption: its phrases, each a list of token ids. */
export type Caption = readonly (readonly number[])[];

/** Pictures are normalised pixel values (channel, row, column). `redrawn[i]`, `captions[i]` match `seen[i]` for i < B. */
export interface ContrastiveBatch {
  readonly seen: readonly Float32Array[];
  readonly redrawn: readonly Float32Array[];
  readonly captions: readonly Caption[];
}

export interface JudgeTraining {
  readonly steps: number;
  /** Peak of the learning rate: linear warm-up, then cosine to a twentieth. */
  readonly learningRate: number;
  readonly warmup: number;
  readonly weightDecay: number;
  readonly temperature: number;
  /** Phrases that a caption has at most. */
  readonly maxPhrases: number;
  readonly seed: number;
  /** Same sizes at every step. */
  readonly batch: (step: number) => ContrastiveBatch;
  readonly onStep?: (report: { step: number; loss: number; parts: readonly number[]; gradNorm: number }) => void;
}

/**
 * Initial weights: normal with deviation 1/√fan-in, residual outputs a half of that, words .5, biases 0.
 * The same seed gives the same bytes.
 */
export function initialJudge(config: DualEncoderConfig, seed: number): Map<string, HostTensor> {
  return new Map(
    [...dualEncoderShapes(config)].map(([name, shape]) => {
      const data = new Float32Array(shape.reduce((a, b) => a * b, 1));
      const rng = rngFor(seed, "initial judge", name);
      const fanIn = shape[shape.length - 1] as number;
      const deviation = name.includes("token_embedding")
        ? 0.5
        : (name.includes("down_proj") ? 0.5 : 1) / Math.sqrt(fanIn);
      if (!name.endsWith(".bias")) for (let i = 0; i < data.length; i++) data[i] = rng.normal() * deviation;
      return [name, { shape, data }];
    }),
  );
}

/** Trains and returns the weights. Throws at the first step whose loss or gradient is not finite. */
export async function pretrainJudge(
  runtime: Runtime,
  config: DualEncoderConfig,
  options: JudgeTraining,
  pace?: Pace,
): Promise<Map<string, HostTensor>> {
  const encoder = new DualEncoder(runtime, config, initialJudge(config, options.seed));
  const shapes = dualEncoderShapes(config);
  const flat = (label: string) => new FlatTensors(runtime.device, label, shapes);
  const state = { grads: flat("judge gradients"), m: flat("judge m"), v: flat("judge v") };
  let step: StepPlan | null = null;
  for (let at = 1; at <= options.steps; at++) {
    const batch = options.batch(at);
    step ??= await buildStep(runtime, encoder, state, batch, options);
    const { loss, parts, gradNorm } = await runStep(step, config, batch, hyperWords(hyperAt(options, at)), pace);
    if (!Number.isFinite(loss) || !Number.isFinite(gradNorm))
      throw new Error(
        `the judge's training diverged at step ${at}: the loss or its gradient is not finite. Lower the learning rate.`,
      );
    options.onStep?.({ step: at, loss, parts, gradNorm });
  }
  const tensors = await encoder.toHost();
  step?.plan.destroy();
  for (const tensor of Object.values(state)) tensor.destroy();
  encoder.destroy();
  return tensors;
}

/** Linear warm-up, then cosine to a twentieth. */
function hyperAt({ steps, learningRate, warmup, weightDecay }: JudgeTraining, step: number): Hyper {
  const progress = Math.max(0, (step - warmup) / Math.max(1, steps - warmup));
  const decay = 0.05 + 0.95 * 0.5 * (1 + Math.cos(Math.PI * progress));
  const rate = learningRate * (step < warmup ? step / warmup : decay);
  return { learningRate: rate, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay, maxGradNorm: 1, step };
}

interface StepPlan {
  readonly plan: Plan;
  readonly seen: Tensor;
  readonly redrawn: Tensor;
  readonly captions: CaptionInputs;
  readonly hyper: Tensor;
  readonly square: Tensor;
  /** Log-probabilities of the right match, one tensor a direction. */
  readonly logps: readonly Tensor[];
}

async function buildStep(
  runtime: Runtime,
  encoder: DualEncoder,
  state: { readonly grads: FlatTensors; readonly m: FlatTensors; readonly v: FlatTensors },
  batch: ContrastiveBatch,
  { temperature, maxPhrases }: Pick<JudgeTraining, "temperature" | "maxPhrases">,
): Promise<StepPlan> {
  const { config } = encoder;
  const g = new Graph();
  const ctx = { g, variants: runtime.variants };
  encoder.appendRefresh(ctx);
  const bound = encoder.bind(g, state.grads);
  const B = batch.seen.length;
  const N = batch.redrawn.length;
  const cells = patchCount(config);
  const seen = g.input("seen", [B * cells, patchWidth(config)]);
  const redrawn = g.input("redrawn", [N * cells, patchWidth(config)]);
  const captions = captionInputs(g, config, { captions: N, phrases: N * maxPhrases });
  const z = {
    seen: bound.pictures(ctx, seen),
    redrawn: bound.pictures(ctx, redrawn),
    captions: bound.captions(ctx, captions),
  };
  const target = g.input("match", [N], "u32");
  const first = g.input("match of seen", [B], "u32");
  const logps = [
    infoNCE(ctx, z.seen, z.redrawn, first, temperature),
    infoNCE(ctx, z.seen, z.captions, first, temperature),
    infoNCE(ctx, z.captions, z.redrawn, target, temperature),
    infoNCE(ctx, z.redrawn, z.captions, target, temperature),
  ];
  const seeds = logps.map((of) => ({ of, grad: g.input(`d${of.name}`, of.shape) }));
  g.backward(seeds);
  const hyper = g.input("hyper", [ADAMW_HYPER]);
  const { values } = encoder;
  const square = adamw(
    ctx,
    values.bindAll(g, "values"),
    state.grads.bindAll(g, "grads"),
    state.m.bindAll(g, "m"),
    state.v.bindAll(g, "v"),
    hyper,
  );
  const plan = await compile("judge step", g, runtime.device, runtime.pipelines);
  const identity = (n: number) => Uint32Array.from({ length: n }, (_, i) => i);
  plan.write(target, identity(N));
  plan.write(first, identity(B));
  for (const { grad } of seeds) plan.write(grad, new Float32Array(grad.size).fill(-1 / (grad.size * logps.length)));
  return { plan, seen, redrawn, captions, hyper, square, logps };
}

async function runStep(
  step: StepPlan,
  config: DualEncoderConfig,
  batch: ContrastiveBatch,
  hyper: Float32Array,
  pace: Pace | undefined,
): Promise<{ loss: number; parts: readonly number[]; gradNorm: number }> {
  const { plan } = step;
  plan.write(step.seen, patches(config, batch.seen));
  plan.write(step.redrawn, patches(config, batch.redrawn));
  writeCaptions(plan, step.captions, config, batch.captions);
  plan.write(step.hyper, hyper);
  await plan.run(pace);
  const [square, ...logps] = (await plan.read(step.square, ...step.logps)) as [Float32Array, ...Float32Array[]];
  const parts = logps.map((logp) => -logp.reduce((a, b) => a + b, 0) / logp.length);
  return { loss: parts.reduce((a, b) => a + b, 0) / parts.length, parts, gradNorm: Math.sqrt(square[0] as number) };
}

/** Pictures (channel, row, column) → (pictures · patches, channels · patch²). */
export function patches(config: DualEncoderConfig, pictures: readonly Float32Array[]): Float32Array {
  const { image_size: size, patch_size: side, num_channels: channels } = config;
  const out = new Float32Array(pictures.length * channels * size * size);
  let at = 0;
  for (const picture of pictures)
    for (let py = 0; py < size; py += side)
      for (let px = 0; px < size; px += side)
        for (let c = 0; c < channels; c++)
          for (let y = 0; y < side; y++) {
            const from = (c * size + py + y) * size + px;
            out.set(picture.subarray(from, from + side), at);
            at += side;
          }
  return out;
}

/** Fills the caption inputs of a plan; captions beyond the given ones are empty. */
export function writeCaptions(
  plan: Plan,
  inputs: CaptionInputs,
  config: DualEncoderConfig,
  captions: readonly Caption[],
): void {
  const W = inputs.id.size;
  const L = config.phrase_length;
  const id = new Uint32Array(W);
  const phraseOwner = new Uint32Array(W).fill(NONE);
  const captionOwner = new Uint32Array(inputs.captionOwner.size).fill(NONE);
  const phraseSpan = new Uint32Array(inputs.phraseSpan.size);
  const captionSpan = new Uint32Array(inputs.captionSpan.size);
  let phrase = 0;
  for (const [s, caption] of captions.entries()) {
    captionSpan[2 * s] = phrase;
    for (const words of caption) {
      if (words.length !== L) throw new Error(`a phrase has ${words.length} words, the judge takes ${L}`);
      captionOwner[phrase] = s;
      phraseSpan.set([phrase * L, (phrase + 1) * L], 2 * phrase);
      for (const [i, token] of words.entries()) {
        id[phrase * L + i] = token;
        phraseOwner[phrase * L + i] = phrase;
      }
      phrase++;
    }
    captionSpan[2 * s + 1] = phrase;
  }
  plan.write(inputs.id, id);
  plan.write(inputs.info, new Uint32Array(W));
  plan.write(inputs.phraseSpan, phraseSpan);
  plan.write(inputs.phraseOwner, phraseOwner);
  plan.write(inputs.captionSpan, captionSpan);
  plan.write(inputs.captionOwner, captionOwner);
  const { order, start } = sortById(id, config.vocab_size, (place) => place < phrase * L);
  plan.write(inputs.order, order);
  plan.write(inputs.start, start);
}

/** The encoders run by the kernels: one row of length 1 for each picture and each caption. */
export async function encode(
  runtime: Runtime,
  encoder: DualEncoder,
  pictures: readonly Float32Array[],
  captions: readonly Caption[],
): Promise<{ pictures: Float32Array; captions: Float32Array }> {
  const { config } = encoder;
  const g = new Graph();
  const ctx = { g, variants: runtime.variants };
  encoder.appendRefresh(ctx);
  const bound = encoder.bind(g);
  const input = g.input("pictures", [pictures.length * patchCount(config), patchWidth(config)]);
  const phrases = captions.reduce((sum, caption) => sum + caption.length, 0);
  const words = captionInputs(g, config, { captions: captions.length, phrases });
  const seen = bound.pictures(ctx, input);
  const said = bound.captions(ctx, words);
  const plan = await compile("judge encode", g, runtime.device, runtime.pipelines);
  plan.write(input, patches(config, pictures));
  writeCaptions(plan, words, config, captions);
  await plan.run();
  const [image, text] = (await plan.read(seen, said)) as [Float32Array, Float32Array];
  plan.destroy();
  return { pictures: image, captions: text };
}

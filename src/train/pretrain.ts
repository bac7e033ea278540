/** Pre-training of the bundled model from nothing: likelihood of answers, all weights, AdamW with warm-up and decay. */
import { rngFor } from "../base/rng.ts";
import type { Pace } from "../gpu/plan.ts";
import { type ModelConfig, tensorShapes } from "../model/config.ts";
import type { PackedRow } from "../model/packing.ts";
import type { Tensor } from "../model/safetensors.ts";
import { ModelWeights, type Runtime } from "../model/weights.ts";
import { stepsAhead } from "./ahead.ts";
import type { PreferenceGroup } from "./groups.ts";
import { Trainer } from "./step.ts";

export interface PretrainOptions {
  readonly steps: number;
  readonly learningRate: number;
  readonly warmup: number;
  readonly weightDecay: number;
  readonly seed: number;
  /** Groups of rows for a step, each with one answer; groups of equal shapes share a plan. */
  readonly batch: (step: number) => readonly (readonly PackedRow[])[];
  readonly onStep?: (report: { step: number; loss: number; gradNorm: number }) => void;
  /** Called after the last step, before anything is freed. */
  readonly onEnd?: () => Promise<void>;
}

/**
 * Initial weights: normal with deviation 1/√fan-in, residual outputs smaller by √(2 layers), norms 1, biases 0.
 * The same seed gives the same bytes.
 */
export function initialWeights(config: ModelConfig, seed: number): Map<string, Tensor> {
  const tensors = new Map<string, Tensor>();
  for (const [name, shape] of tensorShapes(config)) {
    const size = shape.reduce((a, b) => a * b, 1);
    const data = new Float32Array(size);
    const rng = rngFor(seed, "initial weights", name);
    if (/norm\.weight$|layernorm\.weight$/.test(name)) data.fill(1);
    else if (!name.endsWith(".bias")) {
      const fanIn = shape[shape.length - 1] as number;
      const residual = /(o_proj|down_proj)\.weight$/.test(name) ? 1 / Math.sqrt(2 * config.num_hidden_layers) : 1;
      const deviation = /embed_tokens|position/.test(name) ? 0.05 : residual / Math.sqrt(fanIn);
      for (let i = 0; i < size; i++) data[i] = rng.normal() * deviation;
    }
    tensors.set(name, { shape, data });
  }
  return tensors;
}

/** Trains and returns the weights. Throws at the first step whose loss or gradient is not finite. */
export async function pretrain(
  runtime: Runtime,
  config: ModelConfig,
  options: PretrainOptions,
  pace?: Pace,
): Promise<Map<string, Tensor>> {
  const weights = new ModelWeights(runtime, config, initialWeights(config, options.seed));
  const { values } = weights;
  const trainable = { lora: null, values, grads: values.like("gradients"), m: values.like("m"), v: values.like("v") };
  const trainer = new Trainer(runtime, weights, trainable, pace);
  await stepsAhead({
    count: options.steps,
    prepare: (index) =>
      options.batch(index + 1).map((rows): PreferenceGroup => {
        const tokens = rows.reduce((sum, row) => sum + (row.answers[0]?.length ?? 0), 0);
        return { rows, pairs: 0, reference: [], sft: rows.map(() => 1 / tokens) };
      }),
    submit: (groups, index) => {
      const step = index + 1;
      const progress = (step - options.warmup) / Math.max(1, options.steps - options.warmup);
      const learningRate =
        options.learningRate *
        (step < options.warmup ? step / options.warmup : 0.1 + 0.9 * 0.5 * (1 + Math.cos(Math.PI * progress)));
      return trainer.step(
        groups,
        { type: "sigmoid", beta: 0, labelSmoothing: 0 },
        { learningRate, beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: options.weightDecay, maxGradNorm: 1, step },
      );
    },
    seen: ({ finite, loss, gradNorm }, groups, index) => {
      const step = index + 1;
      if (!finite)
        throw new Error(
          `pre-training diverged at step ${step}: the loss or its gradient is not finite. Lower the learning rate.`,
        );
      options.onStep?.({ step, loss: loss / groups.length, gradNorm });
      return true;
    },
  });
  await options.onEnd?.();
  const tensors = await weights.toHost();
  await trainer.destroy();
  for (const { buffer } of [trainable.grads, trainable.m, trainable.v]) buffer.destroy();
  weights.destroy();
  return tensors;
}

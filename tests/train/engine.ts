/** Trainers and f64 references of the same model, losses and rows. */
import type { ModelConfig } from "../../src/model/config.ts";
import type { LoraAdapter } from "../../src/model/peft.ts";
import type { Tensor } from "../../src/model/safetensors.ts";
import { LoraWeights, ModelWeights, type Runtime } from "../../src/model/weights.ts";
import type { PreferenceGroup as Group, LossSettings } from "../../src/train/groups.ts";
import type { Hyper, Trainable } from "../../src/train/step.ts";
import { Tape, type Var } from "../reference/autograd.ts";
import { leavesOf, type ReferenceModel, referenceLogprobs } from "../reference/decoder.ts";
import { preferencePair } from "../reference/preference.ts";

export const hyper = (step: number, options: Partial<Hyper> = {}): Hyper => ({
  learningRate: 1e-3,
  beta1: 0.9,
  beta2: 0.999,
  eps: 1e-8,
  weightDecay: 0,
  maxGradNorm: 1,
  step,
  ...options,
});

export async function modelOn(
  runtime: Runtime,
  config: ModelConfig,
  tensors: ReadonlyMap<string, Tensor>,
): Promise<ModelWeights> {
  const weights = new ModelWeights(runtime, config, tensors);
  await weights.refresh();
  return weights;
}

/** An adapter on the device; `trained`: with a place for its gradients. */
export function loraOn(runtime: Runtime, config: ModelConfig, adapter: LoraAdapter, trained: boolean): LoraWeights {
  const lora = new LoraWeights(runtime, config, adapter, "adapter");
  lora.flat.writeAll(lora.pack(adapter));
  if (trained) lora.grads = lora.flat.like("gradients");
  return lora;
}

export function trainableOf(weights: ModelWeights, lora: LoraWeights | null): Trainable {
  const values = lora ? lora.flat : weights.values;
  return {
    lora,
    values,
    grads: lora?.grads ?? values.like("gradients"),
    m: values.like("m"),
    v: values.like("v"),
  };
}

export interface ReferenceStep {
  readonly loss: number;
  /** log π of every answer, group by group. */
  readonly sums: readonly number[][];
  /** Gradient of the loss with respect to every tensor: model tensors by name, LoRA factors as PATH.A and PATH.B (PEFT's order). */
  readonly grads: ReadonlyMap<string, Float64Array>;
}

/** Loss and gradients in f64: every answer is a sequence of its own. */
export function referenceStep(
  config: ModelConfig,
  tensors: ReadonlyMap<string, Tensor>,
  adapter: LoraAdapter | null,
  groups: readonly Group[],
  settings: LossSettings,
): ReferenceStep {
  const tape = new Tape();
  const params = leavesOf(tape, tensors);
  const pairs = new Map(
    [...(adapter?.tensors ?? [])].map(([path, { A, B }]) => [
      path,
      { A: tape.leaves(A.data), B: tape.leaves(B.data), r: adapter?.r ?? 0 },
    ]),
  );
  const model: ReferenceModel = { tape, config, params, lora: adapter ? { scaling: adapter.scaling, pairs } : null };
  const terms: Var[] = [];
  const sums: number[][] = [];
  for (const group of groups) {
    const answers: Var[] = [];
    const lengths: number[] = [];
    for (const row of group.rows)
      for (const answer of row.answers) {
        answers.push(tape.sum(referenceLogprobs(model, row.picture, row.prompt, answer)));
        lengths.push(answer.length);
      }
    for (let p = 0; p < group.pairs; p++) {
      const [c, r] = [2 * p, 2 * p + 1];
      const at = (s: number) => ({
        sum: tape.of(answers[s] as Var),
        reference: group.reference[s] as number,
        length: lengths[s] as number,
      });
      const loss = preferencePair(settings, at(c), at(r));
      // The loss as a node with its derivative by central differences of its formula, so that it is not differentiated twice by hand.
      terms.push(
        tape.scale(
          tape.custom(loss.value, [answers[c] as Var, answers[r] as Var], [loss.dChosen, loss.dRejected]),
          1 / group.pairs,
        ),
      );
    }
    for (const [s, weight] of group.sft.entries()) if (weight !== 0) terms.push(tape.scale(answers[s] as Var, -weight));
    sums.push(answers.map((answer) => tape.of(answer)));
  }
  const loss = tape.sum(terms);
  const gradient = tape.gradients(loss);
  const take = (leaves: readonly Var[]) => Float64Array.from(leaves, (leaf) => gradient[leaf] as number);
  const grads = new Map<string, Float64Array>();
  for (const [name, leaves] of params) grads.set(name, take(leaves));
  for (const [path, { A, B }] of pairs) {
    grads.set(`${path}.A`, take(A));
    grads.set(`${path}.B`, take(B));
  }
  return { loss: tape.of(loss), sums, grads };
}

/** |a − b| / |b|; NaN counts as infinite. */
export function relativeError(a: ArrayLike<number>, b: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < b.length; i++) {
    difference += ((a[i] as number) - (b[i] as number)) ** 2;
    norm += (b[i] as number) ** 2;
  }
  const error = Math.sqrt(difference) / Math.max(Math.sqrt(norm), 1e-30);
  return Number.isNaN(error) || a.length !== b.length ? Number.POSITIVE_INFINITY : error;
}

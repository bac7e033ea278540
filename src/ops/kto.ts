/** Kahneman–Tversky optimisation (Ethayarajh 2024, arXiv 2402.01306), with TRL's formulas: answers that are each good or bad. */
import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { sequenceSums, spread } from "./preference.ts";

/** S answers whose mean log-ratio estimates the KL divergence: answers to other prompts of the batch. No gradient. */
export interface KlInputs {
  readonly span: Tensor; // (S,2) u32: rows of logp that belong to each answer
  readonly reference: Tensor; // (S): log π₀
  readonly weight: Tensor; // (S): 1/number of answers in the batch, 0 for an empty place
}

/** Adds Σ weight (log π − log π₀) to z: (1); `first` begins anew. Returns sums: (S) = log π of every answer. */
export function ktoDivergence(ctx: OpContext, logp: Tensor, inputs: KlInputs, z: Tensor, first: boolean): Tensor {
  const { g } = ctx;
  const S = inputs.reference.size;
  const sums = sequenceSums(ctx, logp, inputs.span);
  g.dispatch({
    shader: "kto_kl",
    constants: { FIRST: first ? 1 : 0 },
    uniforms: [S],
    bindings: [read(sums), read(inputs.reference), read(inputs.weight), write(z)],
    workgroups: [1, 1, 1],
    flops: 3 * S,
  });
  return sums;
}

/** Inputs of the loss over S answers. */
export interface KtoInputs {
  readonly span: Tensor; // (S,2) u32
  readonly owner: Tensor; // (M) u32: answer of each row, NONE for padding
  readonly reference: Tensor; // (S): log π₀
  readonly label: Tensor; // (S): 1 desirable, −1 undesirable, 0 an empty place
  readonly weight: Tensor; // (S): the label's weight over the number of answers in the batch
  readonly hyper: Tensor; // (1): β
}

/**
 * L = Σ_s weight_s (1 − σ(label_s β (log π/π₀ − max(0, z)))) over logp: (M), z: (1) a constant. Writes its gradient
 * to dlogp: (M).
 * Returns sums: (S) = log π of every answer, and each: (S,2) = loss and reward of every answer.
 */
export function ktoLoss(
  ctx: OpContext,
  logp: Tensor,
  dlogp: Tensor,
  inputs: KtoInputs,
  z: Tensor,
): { sums: Tensor; each: Tensor } {
  const { g } = ctx;
  const S = inputs.reference.size;
  wantShape("kto", inputs.label, [S]);
  wantShape("kto", inputs.weight, [S]);
  const sums = sequenceSums(ctx, logp, inputs.span);
  const each = g.output("kto", [S, 2]);
  const dsum = g.temp("dsum", [S]);
  g.dispatch({
    shader: "kto_loss",
    constants: {},
    uniforms: [S],
    bindings: [
      read(sums),
      read(inputs.reference),
      read(inputs.label),
      read(inputs.weight),
      read(z),
      read(inputs.hyper),
      write(each),
      write(dsum),
    ],
    workgroups: grid(S, 32),
    flops: 20 * S,
  });
  spread(ctx, inputs.owner, dsum, dlogp);
  return { sums, each };
}

import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";

export const LOSS_TYPES = ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"] as const;
export type LossType = (typeof LOSS_TYPES)[number];

/** Inputs of a preference loss over S sequences, of which the first 2·pairs are chosen, rejected, chosen, … */
export interface PreferenceInputs {
  readonly span: Tensor; // (S,2) u32: rows of logp that belong to each sequence
  readonly owner: Tensor; // (M) u32: sequence of each row, NONE for padding
  readonly reference: Tensor; // (S): log π₀
  readonly weight: Tensor; // (pairs): 1/number of real pairs, 0 for an empty place
  readonly sft: Tensor; // (S): weight of −log π(sequence), already divided by its length
  readonly hyper: Tensor; // (4): β, ε, loss type, unused
}

/** sums: (S) = log π of every answer, kept: the sum of logp: (M) over its span (S,2). */
export function sequenceSums({ g }: OpContext, logp: Tensor, span: Tensor): Tensor {
  const S = span.shape[0] as number;
  wantShape("sequence", span, [S, 2]);
  const sums = g.output("sums", [S]);
  g.dispatch({
    shader: "sequence_sum",
    constants: {},
    uniforms: [S],
    bindings: [read(logp), read(span), write(sums)],
    workgroups: grid(S, 32),
    flops: logp.size,
  });
  return sums;
}

/** dlogp: (M) = dsum of the answer that owns each row, 0 for rows of none. */
export function spread({ g }: OpContext, owner: Tensor, dsum: Tensor, dlogp: Tensor): void {
  const M = owner.size;
  g.dispatch({
    shader: "sequence_spread",
    constants: {},
    uniforms: [M, dsum.size],
    bindings: [read(owner), read(dsum), write(dlogp)],
    workgroups: grid(M, 64),
    flops: 0,
  });
}

/**
 * L = Σ_i weight_i loss_i − Σ_s sft_s log π(s), over logp: (M). Writes its gradient to dlogp: (M).
 * Returns sums: (S) = log π of every sequence, and pair: (pairs,4) = loss, reward chosen, reward rejected, Δ.
 */
export function preferenceLoss(
  ctx: OpContext,
  logp: Tensor,
  dlogp: Tensor,
  pairs: number,
  inputs: PreferenceInputs,
): { sums: Tensor; pair: Tensor } {
  const { g } = ctx;
  const S = inputs.reference.size;
  const M = logp.size;
  wantShape("preference", inputs.span, [S, 2]);
  wantShape("preference", inputs.owner, [M]);
  wantShape("preference", inputs.sft, [S]);
  const sums = sequenceSums(ctx, logp, inputs.span);
  const pair = g.output("pair", [Math.max(1, pairs), 4]);
  const dsum = g.temp("dsum", [S]);
  g.dispatch({
    shader: "preference_loss",
    constants: {},
    uniforms: [S, pairs],
    bindings: [
      read(sums),
      read(inputs.span),
      read(inputs.reference),
      read(inputs.weight),
      read(inputs.sft),
      read(inputs.hyper),
      write(pair),
      write(dsum),
    ],
    workgroups: grid(Math.ceil(S / 2), 32),
    flops: 20 * S,
  });
  spread(ctx, inputs.owner, dsum, dlogp);
  return { sums, pair };
}

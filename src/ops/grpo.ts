/** Group-relative policy optimisation (Shao 2024, arXiv 2402.03300), with the loss types of TRL's GRPOTrainer. */
import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";

/** How token losses become one number: see `tokenWeights`. */
export const GRPO_LOSS_TYPES = ["grpo", "bnpo", "dr_grpo", "dapo"] as const;
export type GrpoLossType = (typeof GRPO_LOSS_TYPES)[number];

/**
 * A = (R − mean) / (std + 1e-4) within one group of rewards, std with n − 1; `scale` false leaves the division out
 * (Dr. GRPO, Liu 2025). One reward alone has advantage 0.
 */
export function groupAdvantages(rewards: readonly number[], scale = true): number[] {
  const mean = rewards.reduce((a, b) => a + b, 0) / rewards.length;
  const square = rewards.reduce((sum, r) => sum + (r - mean) ** 2, 0);
  const deviation = rewards.length > 1 ? Math.sqrt(square / (rewards.length - 1)) : 0;
  return rewards.map((r) => (r - mean) / (scale ? deviation + 1e-4 : 1));
}

/**
 * Weight of a token of each answer, given the answers' lengths in the whole batch. grpo: mean over an answer's tokens, then
 * over answers. bnpo, dapo: mean over all tokens (they differ in TRL only in what a batch is). dr_grpo: sum over
 * tokens / (answers · `maxLength`).
 */
export function tokenWeights(type: GrpoLossType, lengths: readonly number[], maxLength: number): number[] {
  const tokens = lengths.reduce((a, b) => a + b, 0);
  return lengths.map((length) => {
    if (type === "grpo") return 1 / (lengths.length * Math.max(1, length));
    if (type === "dr_grpo") return 1 / (lengths.length * maxLength);
    return 1 / Math.max(1, tokens);
  });
}

export interface GrpoInputs {
  readonly old: Tensor; // (M): log-probs under the policy that sampled
  readonly reference: Tensor; // (M): log-probs under the reference, read if β is not 0
  readonly term: Tensor; // (M,2): advantage of the token's answer and the token's weight, 0 for padding
  readonly hyper: Tensor; // (4): β, ε low, ε high, 1 if `old` is logp itself (first step after sampling)
}

/**
 * L = Σ_m weight_m (−min(ρ A, clip(ρ) A) + β kl), ρ = exp(logp − old), over logp: (M). Writes its gradient to dlogp: (M).
 * Returns (M,4): loss, kl, clipped, logp of every token, kept.
 */
export function grpoLoss({ g }: OpContext, logp: Tensor, dlogp: Tensor, inputs: GrpoInputs): Tensor {
  const M = logp.size;
  wantShape("grpo", inputs.old, [M]);
  wantShape("grpo", inputs.reference, [M]);
  wantShape("grpo", inputs.term, [M, 2]);
  const each = g.output("grpo", [M, 4]);
  g.dispatch({
    shader: "grpo_loss",
    constants: {},
    uniforms: [M],
    bindings: [
      read(logp),
      read(inputs.old),
      read(inputs.reference),
      read(inputs.term),
      read(inputs.hyper),
      write(each),
      write(dlogp),
    ],
    workgroups: grid(M, 64),
    flops: 20 * M,
  });
  return each;
}

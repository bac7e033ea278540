/** KTO and GRPO in f64, from the papers' formulas as TRL writes them; derivatives are taken by the tests. */

const sigmoid = (x: number): number => 1 / (1 + Math.exp(-x));

/** KTO's loss of one answer: label 1 or −1, z the (unclamped) estimate of the divergence. */
export function ktoValue(sum: number, reference: number, label: number, beta: number, z: number): number {
  const c = sum - reference;
  const kl = Math.max(0, z);
  return label > 0 ? 1 - sigmoid(beta * (c - kl)) : 1 - sigmoid(beta * (kl - c));
}

/** GRPO's loss of one token. */
export function grpoValue(
  logp: number,
  old: number,
  reference: number,
  advantage: number,
  { beta, low, high }: { beta: number; low: number; high: number },
): number {
  const ratio = Math.exp(logp - old);
  const bounded = Math.min(Math.max(ratio, 1 - low), 1 + high);
  const kl = Math.exp(reference - logp) - (reference - logp) - 1;
  return -Math.min(ratio * advantage, bounded * advantage) + beta * kl;
}

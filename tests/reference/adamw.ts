/** AdamW as in torch.optim.AdamW after torch.nn.utils.clip_grad_norm_, in f64 and in place. */
export function adamw(
  weight: Float64Array,
  m: Float64Array,
  v: Float64Array,
  grad: Float64Array,
  {
    lr,
    beta1,
    beta2,
    eps,
    weightDecay,
    maxNorm,
    step,
  }: { lr: number; beta1: number; beta2: number; eps: number; weightDecay: number; maxNorm: number; step: number },
): void {
  const norm = Math.sqrt(grad.reduce((sum, g) => sum + g * g, 0));
  const clip = Math.min(1, maxNorm / (norm + 1e-6));
  for (let i = 0; i < weight.length; i++) {
    const g = (grad[i] as number) * clip;
    weight[i]! *= 1 - lr * weightDecay;
    m[i] = beta1 * (m[i] as number) + (1 - beta1) * g;
    v[i] = beta2 * (v[i] as number) + (1 - beta2) * g * g;
    const mean = (m[i] as number) / (1 - beta1 ** step);
    const deviation = Math.sqrt((v[i] as number) / (1 - beta2 ** step)) + eps;
    weight[i]! -= (lr * mean) / deviation;
  }
}

/** Preference losses in f64, from the papers' formulas; derivatives by central differences. */
import type { LossType } from "../../src/ops/preference.ts";

export interface Answer {
  /** log π(y|x), log π₀(y|x) and the number of tokens. */
  readonly sum: number;
  readonly reference: number;
  readonly length: number;
}

const softplus = (x: number): number => (x > 30 ? x : Math.log1p(Math.exp(x)));

/** −log σ(x) */
const minusLogSigmoid = (x: number): number => softplus(-x);

export interface PairLoss {
  readonly value: number;
  readonly dChosen: number;
  readonly dRejected: number;
}

export function preferenceValue(
  { type, beta, labelSmoothing: e }: { type: LossType; beta: number; labelSmoothing: number },
  chosen: Answer,
  rejected: Answer,
): number {
  const c = chosen.sum - chosen.reference;
  const r = rejected.sum - rejected.reference;
  const perToken = c / chosen.length - r / rejected.length;
  switch (type) {
    case "sigmoid":
      return minusLogSigmoid(beta * (c - r));
    case "ipo":
      return (perToken - 1 / (2 * beta)) ** 2;
    case "hinge":
      return Math.max(0, 1 - beta * (c - r));
    case "robust":
      return ((1 - e) * minusLogSigmoid(beta * (c - r)) - e * minusLogSigmoid(-beta * (c - r))) / (1 - 2 * e);
    case "sigmoid_norm":
      return minusLogSigmoid(beta * perToken);
  }
}

export function preferencePair(
  settings: Parameters<typeof preferenceValue>[0],
  chosen: Answer,
  rejected: Answer,
): PairLoss {
  const h = 1e-4;
  const at = (dc: number, dr: number) =>
    preferenceValue(settings, { ...chosen, sum: chosen.sum + dc }, { ...rejected, sum: rejected.sum + dr });
  return {
    value: at(0, 0),
    dChosen: (at(h, 0) - at(-h, 0)) / (2 * h),
    dRejected: (at(0, h) - at(0, -h)) / (2 * h),
  };
}

import type { Score } from "./records.ts";

/** 97.5% quantile of the standard normal distribution. */
const Z = 1.959963984540054;

/**
 * Wilson's score interval for a share (Wilson 1927), 95% unless `z` says otherwise.
 * `correct` may be fractional (a macro mean times n). n = 0 gives [0, 1]: nothing is known.
 */
export function wilson(correct: number, n: number, z: number = Z): readonly [number, number] {
  if (!(n >= 0 && correct >= 0 && correct <= n + 1e-9))
    throw new RangeError(`[stats] want 0 ≤ correct ≤ n, got ${correct} of ${n}`);
  if (n === 0) return [0, 1];
  const p = Math.min(1, correct / n);
  const centre = p + (z * z) / (2 * n);
  const half = z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n));
  const scale = 1 + (z * z) / n;
  return [Math.max(0, (centre - half) / scale), Math.min(1, (centre + half) / scale)];
}

/** Share of right answers with its Wilson interval. */
export function scoreOf(correct: number, n: number): Score {
  return { n, correct, value: n === 0 ? 0 : correct / n, ci: wilson(correct, n) };
}

/**
 * Macro mean: every class counts the same, however many items it has.
 * The interval is Wilson's at that mean and the total n, which is on the safe side when classes are equally large.
 */
export function macroScore(classes: readonly Score[]): Score {
  const known = classes.filter((score) => score.n > 0);
  const n = known.reduce((sum, score) => sum + score.n, 0);
  const correct = known.reduce((sum, score) => sum + score.correct, 0);
  const value = known.length === 0 ? 0 : known.reduce((sum, score) => sum + score.value, 0) / known.length;
  return { n, correct, value, ci: wilson(value * n, n) };
}

/** log(n!) for whole n ≥ 0. */
function logFactorial(n: number): number {
  let sum = 0;
  for (let k = 2; k <= n; k++) sum += Math.log(k);
  return sum;
}

/** Two-sided p-value of McNemar's exact test: are wins and losses of paired items equally likely? */
export function mcnemarExact(wins: number, losses: number): number {
  const n = wins + losses;
  const extreme = Math.min(wins, losses);
  const logN = logFactorial(n) - n * Math.LN2;
  let tail = 0;
  for (let k = 0; k <= extreme; k++) tail += Math.exp(logN - logFactorial(k) - logFactorial(n - k));
  return Math.min(1, 2 * tail);
}

// 97.5% quantiles of Student's t distribution for 1…30 degrees of freedom.
const T975 = [
  12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.306, 2.2622, 2.2281, 2.201, 2.1788, 2.1604, 2.1448, 2.1314,
  2.1199, 2.1098, 2.1009, 2.093, 2.086, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
];

/** Mean of a few independent values with its 95% t interval; with one value the interval is infinite. */
export function meanCI(values: readonly number[]): {
  readonly mean: number;
  readonly n: number;
  readonly ci: readonly [number, number];
} {
  const n = values.length;
  if (n === 0) throw new RangeError("[stats] the mean of no values is not defined");
  const mean = values.reduce((sum, value) => sum + value, 0) / n;
  if (n === 1) return { mean, n, ci: [-Infinity, Infinity] };
  const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (n - 1);
  // Beyond 30 degrees of freedom: the first term of the expansion in 1/df, right to 3e-4.
  const t = T975[n - 2] ?? Z + (Z ** 3 + Z) / (4 * (n - 1));
  const half = t * Math.sqrt(variance / n);
  return { mean, n, ci: [mean - half, mean + half] };
}

/**
 * Anytime-valid evidence about a mean paired change, from counts alone.
 *
 * Dᵢ ∈ {−1, 0, 1} is the paired change on item i: +1 where only the candidate is right, −1 where only the other is.
 * Against "E[D] ≤ −ε" the wealth  Wₙ = mean over λ of Π(1 + λ(Dᵢ + ε))  is a supermartingale that starts at 1,
 * so it ever reaches 1/α with probability at most α, however often one looks (Ville's inequality).
 * D has three values, so the product depends on wins, losses and ties only.
 * Source: Waudby-Smith and Ramdas, "Estimating means of bounded random variables by betting" (arXiv 2010.09686).
 */

export interface Counts {
  readonly n: number;
  readonly wins: number;
  readonly losses: number;
}

export const noCounts: Counts = { n: 0, wins: 0, losses: 0 };

/** Stakes .05, .10, …, .80. The smaller ones bet well on rare differences, the larger ones on none at all. */
export const stakes: readonly number[] = Array.from({ length: 16 }, (_, i) => (i + 1) / 20);

/** ε for which every factor stays positive at the largest stake: 1 − .8·(1 + ε) > 0. */
const largestEpsilon = 0.2;

/** Adds paired outcomes: `ours[i]` and `theirs[i]` say whether item i was answered right. Lengths must agree. */
export function countPairs(counts: Counts, ours: readonly boolean[], theirs: readonly boolean[]): Counts {
  if (ours.length !== theirs.length) {
    throw new Error(`[gate] paired outcomes differ in number: ${ours.length} and ${theirs.length}`);
  }
  let { wins, losses } = counts;
  ours.forEach((right, i) => {
    if (right && !theirs[i]) wins += 1;
    if (!right && theirs[i]) losses += 1;
  });
  return { n: counts.n + ours.length, wins, losses };
}

/** e-value against "E[D] ≤ −epsilon": large when the candidate is not worse than −epsilon. epsilon 0 shows superiority. */
export function eSafe(counts: Counts, epsilon: number): number {
  checkEpsilon(epsilon);
  return meanWealth(counts, (d, stake) => 1 + stake * (d + epsilon));
}

/** e-value against "E[D] ≥ −epsilon", the mirrored bet: large when the candidate is worse than −epsilon. */
export function eHarm(counts: Counts, epsilon: number): number {
  checkEpsilon(epsilon);
  return meanWealth(counts, (d, stake) => 1 - stake * (d + epsilon));
}

function meanWealth({ n, wins, losses }: Counts, factor: (d: -1 | 0 | 1, stake: number) => number): number {
  const logs = stakes.map(
    (stake) =>
      wins * Math.log(factor(1, stake)) +
      losses * Math.log(factor(-1, stake)) +
      (n - wins - losses) * Math.log(factor(0, stake)),
  );
  const top = Math.max(...logs);
  const sum = logs.reduce((total, log) => total + Math.exp(log - top), 0);
  // Kept finite, since reports are JSON.
  return Math.min(Math.exp(top) * (sum / logs.length), Number.MAX_VALUE);
}

function checkEpsilon(epsilon: number): void {
  if (!(epsilon >= 0 && epsilon <= largestEpsilon)) {
    throw new RangeError(`[gate] epsilon must lie in [0, ${largestEpsilon}], got ${epsilon}`);
  }
}

/** How good a judge is: does it order, is its confidence true, do two judges err together? Plain f64 arithmetic. */

/** Share of pairs in which the right one scores higher; ties count a half. */
export function pairwiseAccuracy(right: readonly number[], wrong: readonly number[]): number {
  if (right.length === 0 || right.length !== wrong.length)
    throw new Error(`[metrics] want as many right as wrong scores, got ${right.length} and ${wrong.length}`);
  const points = right.reduce((sum, score, i) => sum + order(score, wrong[i] as number), 0);
  return points / right.length;
}

const order = (right: number, wrong: number): number => (right > wrong ? 1 : right === wrong ? 0.5 : 0);

/** Area under the ROC curve: the chance that a random positive scores above a random negative (Mann & Whitney 1947). */
export function auc(positives: readonly number[], negatives: readonly number[]): number {
  if (positives.length === 0 || negatives.length === 0) throw new Error("[metrics] the AUC needs both classes");
  const sorted = [
    ...positives.map((score) => ({ score, positive: true })),
    ...negatives.map((score) => ({ score, positive: false })),
  ].sort((a, b) => a.score - b.score);
  let ranks = 0;
  for (let from = 0; from < sorted.length; ) {
    let to = from;
    while (to < sorted.length && sorted[to]?.score === sorted[from]?.score) to++;
    const rank = (from + 1 + to) / 2; // equal scores share their mean rank
    for (let i = from; i < to; i++) if (sorted[i]?.positive) ranks += rank;
    from = to;
  }
  const n = positives.length;
  return (ranks - (n * (n + 1)) / 2) / (n * negatives.length);
}

/** P(right) = σ(slope · score + intercept). */
export interface Calibration {
  readonly slope: number;
  readonly intercept: number;
}

const sigmoid = (x: number): number => (x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x)));

export const probability = ({ slope, intercept }: Calibration, score: number): number =>
  sigmoid(slope * score + intercept);

/**
 * Platt's scaling (1999): logistic regression of right against wrong on the score, by Newton's method, with Platt's
 * smoothed targets so that separable scores have a finite fit.
 */
export function fitCalibration(right: readonly number[], wrong: readonly number[]): Calibration {
  const high = (right.length + 1) / (right.length + 2);
  const low = 1 / (wrong.length + 2);
  const points = [...right.map((x) => ({ x, y: high })), ...wrong.map((x) => ({ x, y: low }))];
  // Standardised scores keep Newton's matrix well conditioned.
  const mean = points.reduce((sum, { x }) => sum + x, 0) / points.length;
  const spread = Math.sqrt(points.reduce((sum, { x }) => sum + (x - mean) ** 2, 0) / points.length) || 1;
  const loss = (a: number, b: number) =>
    points.reduce((sum, { x, y }) => {
      const t = (a * (x - mean)) / spread + b;
      return sum + Math.max(t, 0) - t * y + Math.log1p(Math.exp(-Math.abs(t)));
    }, 0);
  let [a, b] = [0, 0];
  for (let iteration = 0; iteration < 200; iteration++) {
    let [ga, gb, haa, hab, hbb] = [0, 0, 1e-9, 0, 1e-9];
    for (const { x, y } of points) {
      const u = (x - mean) / spread;
      const p = sigmoid(a * u + b);
      const w = p * (1 - p);
      ga += (p - y) * u;
      gb += p - y;
      haa += w * u * u;
      hab += w * u;
      hbb += w;
    }
    const determinant = haa * hbb - hab * hab;
    const [da, db] = [(hbb * ga - hab * gb) / determinant, (haa * gb - hab * ga) / determinant];
    let scale = 1;
    while (scale > 1e-6 && loss(a - scale * da, b - scale * db) > loss(a, b)) scale /= 2;
    a -= scale * da;
    b -= scale * db;
    if (Math.abs(scale * da) + Math.abs(scale * db) < 1e-9) break;
  }
  return { slope: a / spread, intercept: b - (a * mean) / spread };
}

/** One bin of a reliability diagram: mean predicted probability, share that was right, how many. */
export interface Bin {
  readonly predicted: number;
  readonly right: number;
  readonly n: number;
}

/** Ten equal bins of [0, 1], empty ones left out. */
export function reliability(calibration: Calibration, right: readonly number[], wrong: readonly number[]): Bin[] {
  const bins = Array.from({ length: 10 }, () => ({ sum: 0, right: 0, n: 0 }));
  const put = (score: number, isRight: boolean) => {
    const p = probability(calibration, score);
    const bin = bins[Math.min(9, Math.floor(p * 10))] as (typeof bins)[number];
    bin.sum += p;
    bin.right += isRight ? 1 : 0;
    bin.n++;
  };
  for (const score of right) put(score, true);
  for (const score of wrong) put(score, false);
  return bins.filter(({ n }) => n > 0).map(({ sum, right: count, n }) => ({ predicted: sum / n, right: count / n, n }));
}

/** Expected calibration error (Naeini 2015): mean gap between predicted and observed, weighted by bin size. */
export function calibrationError(bins: readonly Bin[]): number {
  const total = bins.reduce((sum, { n }) => sum + n, 0);
  return bins.reduce((sum, { predicted, right, n }) => sum + (n / total) * Math.abs(predicted - right), 0);
}

/** Pearson's correlation; null if one of the two never varies (a judge without a single error). */
export function correlation(x: readonly number[], y: readonly number[]): number | null {
  if (x.length !== y.length) throw new Error(`[metrics] cannot correlate ${x.length} values with ${y.length}`);
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [mx, my] = [mean(x), mean(y)];
  let [xy, xx, yy] = [0, 0, 0];
  for (let i = 0; i < x.length; i++) {
    const [a, b] = [(x[i] as number) - mx, (y[i] as number) - my];
    xy += a * b;
    xx += a * a;
    yy += b * b;
  }
  return xx === 0 || yy === 0 ? null : xy / Math.sqrt(xx * yy);
}

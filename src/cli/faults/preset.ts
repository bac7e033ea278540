/** Runs small enough to be broken a thousand times: the bundled policy and judge, few tasks, short gates. */
import { type Contour, defaultContour } from "../../base/contour.ts";

const { sample, judge, train, gate } = defaultContour;

const small: Contour = {
  ...defaultContour,
  name: "faults",
  rounds: 2,
  propose: { tasks: 4 },
  sample: { ...sample, k: 4, maxNewTokens: 14 },
  judge: { ...judge, record: ["pixels", "self"] },
  train: { ...train, batchSize: 2, minPairs: 1, loraR: 4, replayA: { perStep: 2, weight: 1 }, replayPairs: 0.5 },
  gate: { ...gate, period: 1, alpha: 0.5, epsilonA: 0.2, epsilonB: 0.2, batch: 12, maxItems: 12, maxDeferrals: 1 },
  evaluate: { every: 0, items: 6, worlds: ["B"] },
};

export interface Preset {
  readonly name: string;
  readonly contour: Contour;
  readonly seed: number;
}

/** Together they take every way through the loop (a test holds them to it). */
export const presets: readonly Preset[] = [
  { name: "accepts", contour: { ...small, train: { ...small.train, learningRate: 1e-4 } }, seed: 1 },
  { name: "defers", contour: { ...small, gate: { ...small.gate, alpha: 0.05 } }, seed: 2 },
  { name: "untested", contour: { ...small, gate: { ...small.gate, on: false, period: 2 } }, seed: 3 },
  {
    // The first candidate forgets everything, the second one is not a number.
    name: "rolls back",
    contour: { ...small, train: { ...small.train, learningRate: 0.1, learningRateDecay: 1e36, maxGradNorm: 0 } },
    seed: 4,
  },
];

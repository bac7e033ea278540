/**
 * Drift monitor: signs of a wrecked candidate that need no label. An alarm sends the candidate to the gate at once,
 * where it passes or is rejected ("drift"); without a gate nobody listens.
 */
import type { Contour } from "../base/contour.ts";
import type { StepMetrics } from "../base/records.ts";

/**
 * Likelihood displacement (arXiv 2410.08847): the margin rises while the chosen answers themselves become unlikely.
 * 10 nats is a factor of e⁻¹⁰ a whole answer; a healthy round moves them by one or two.
 */
const displacementNats = 10;

/** Fall of the share of samples that end by themselves, since the candidate started. */
const unfinishedJump = 0.15;

/** What is wrong, in words, or null. `finished` are shares of samples that ended by themselves, at the start and now. */
export function driftAlarm(
  train: Contour["train"],
  steps: readonly StepMetrics[],
  finished: { readonly start: number; readonly now: number },
): string | null {
  const last = steps.at(-1);
  if (train.method === "dpo" && last && train.beta > 0) {
    // rewards/chosen is β·log(π/π₀) of the chosen answers, for every loss type.
    const shift = last["rewards/chosen"] / train.beta;
    if (shift < -displacementNats && last["rewards/margins"] > 0) {
      return `likelihood displacement: chosen answers fell by ${(-shift).toFixed(1)} nats while the margin is ${last["rewards/margins"].toFixed(2)}`;
    }
  }
  const fall = finished.start - finished.now;
  if (fall > unfinishedJump) {
    return `answers stopped ending: ${percent(finished.now)} of samples are finished, ${percent(finished.start)} when the candidate started`;
  }
  return null;
}

function percent(share: number): string {
  return `${(100 * share).toFixed(0)}%`;
}

/** Filter: which tasks yield a pair, and why the others do not. Refusals are recorded too. */
import { type Contour, DECIDING_JUDGES } from "../base/contour.ts";
import type { EventBody } from "../base/events.ts";
import type { FilterReason, FilterVerdict, JudgedCandidate, JudgedTask } from "../base/records.ts";
import { pairId } from "./keys.ts";
import { answerClusters } from "./sample.ts";

export interface FilteredTask {
  readonly judged: JudgedTask;
  readonly verdict: FilterVerdict;
}

/** Verdicts in the order of `judged`. `hasPair` asks the buffer; twins within the round are dropped too. */
export async function filter(
  judged: readonly JudgedTask[],
  contour: Contour,
  hasPair: (id: string) => Promise<boolean>,
): Promise<readonly FilteredTask[]> {
  const filtered: FilteredTask[] = [];
  const seen = new Set<string>();
  for (const one of judged) {
    let verdict = contrast(one, contour);
    if (verdict.kind === "kept" && contour.filter.duplicates) {
      const id = pairId(one.task, one.candidates[verdict.chosen] as JudgedCandidate);
      if (seen.has(id) || (await hasPair(id))) {
        verdict = dropped("near-duplicate", `pair ${id.slice(0, 12)} already stands in the buffer`);
      }
      seen.add(id);
    }
    filtered.push({ judged: one, verdict });
  }
  return filtered;
}

/** Best against worst by the first of the rule's judges, if its other judges agree; the first of equals counts. */
export function contrast({ candidates }: JudgedTask, contour: Contour): FilterVerdict {
  const [by, ...others] = DECIDING_JUDGES[contour.judge.rule];
  const score = (candidate: JudgedCandidate): number | undefined => candidate.scores[by];
  const scored = candidates.filter((candidate) => score(candidate) !== undefined);
  const best = extreme(scored.filter(mayBeChosen), (candidate) => score(candidate) as number);
  if (!best) return dropped("syntax", `none of ${candidates.length} answers parses and has a score by ${by}`);

  const clusters = answerClusters(candidates);
  const worst = extreme(scored, (candidate) => -(score(candidate) as number)) ?? best;
  const margin = (score(best) as number) - (score(worst) as number);
  if (clusters.size === 1) return dropped("no-contrast", `all ${candidates.length} answers are the same`);
  if (margin <= 0) return dropped("no-contrast", `all answers score the same by ${by}`);

  const h = entropy([...clusters.values()]);
  const [low, high] = contour.filter.entropy;
  if (h < low) return dropped("entropy-low", `entropy of answers ${h.toFixed(2)} nats, wanted at least ${low}`);
  if (h > high) return dropped("entropy-high", `entropy of answers ${h.toFixed(2)} nats, wanted at most ${high}`);

  const { minMargin } = contour.filter;
  if (margin < minMargin)
    return dropped("margin", `${by} differs by ${margin.toFixed(4)}, wanted at least ${minMargin}`);
  for (const other of others) {
    const [ours, theirs] = [best.scores[other], worst.scores[other]];
    if (ours === undefined || theirs === undefined || ours <= theirs) {
      return dropped(
        "judges-disagree",
        `${other} does not order them as ${by} does (${ours ?? "no score"} and ${theirs ?? "no score"})`,
      );
    }
  }
  return { kind: "kept", chosen: candidates.indexOf(best), rejected: candidates.indexOf(worst), margin };
}

/** An answer that ended by itself and that can be understood, under every rule. An answer without the mark is not chosen. */
function mayBeChosen(candidate: JudgedCandidate): boolean {
  return candidate.finished && candidate.parses === true;
}

function extreme(
  candidates: readonly JudgedCandidate[],
  value: (candidate: JudgedCandidate) => number,
): JudgedCandidate | null {
  return candidates.reduce<JudgedCandidate | null>(
    (top, candidate) => (top === null || value(candidate) > value(top) ? candidate : top),
    null,
  );
}

/** Entropy of the clusters' shares in nats: 0 when all answers are the same, log K when all differ. */
export function entropy(sizes: readonly number[]): number {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  return sizes.reduce((sum, size) => sum - (size / total) * Math.log(size / total), 0);
}

function dropped(reason: FilterReason, detail: string): FilterVerdict {
  return { kind: "dropped", reason, detail };
}

export function filteredEvent(filtered: readonly FilteredTask[]): EventBody {
  const reasons: Record<string, number> = {};
  for (const { verdict } of filtered) {
    if (verdict.kind === "dropped") reasons[verdict.reason] = (reasons[verdict.reason] ?? 0) + 1;
  }
  return {
    type: "filtered",
    kept: filtered.filter(({ verdict }) => verdict.kind === "kept").length,
    dropped: reasons,
    verdicts: filtered.map(({ judged, verdict }) => ({ task: judged.task.id, verdict })),
  };
}

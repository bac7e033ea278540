/** Pair: chosen and rejected with the reference's log-probabilities stored beside them. */
import type { EventBody } from "../base/events.ts";
import type { JudgedCandidate, Pair, Task } from "../base/records.ts";
import type { FilteredTask } from "./filter.ts";
import { pairId } from "./keys.ts";
import type { EnginePort } from "./ports.ts";

/**
 * Pairs of the kept tasks, fresh, with log π₀ of both answers.
 * π₀ is the frozen incumbent from which the candidate started, not the adapter that sampled the answers.
 */
export async function pair(
  engine: EnginePort,
  filtered: readonly FilteredTask[],
  context: { readonly reference: string; readonly round: number; readonly seed: number },
): Promise<readonly Pair[]> {
  const pairs = filtered.flatMap(({ judged, verdict }): readonly Pair[] => {
    if (verdict.kind !== "kept") return [];
    const chosen = judged.candidates[verdict.chosen] as JudgedCandidate;
    const rejected = judged.candidates[verdict.rejected] as JudgedCandidate;
    return [unreferenced(judged.task, chosen, rejected, verdict.margin, context)];
  });
  return withReference(engine, pairs, context.reference);
}

/** A fresh pair whose reference log-probabilities are still to be computed. */
export function unreferenced(
  task: Task,
  chosen: JudgedCandidate,
  rejected: JudgedCandidate,
  margin: number,
  { round, seed }: { readonly round: number; readonly seed: number },
): Pair {
  const reference = { adapter: "", chosen: 0, rejected: 0 };
  return { id: pairId(task, chosen), task, chosen, rejected, margin, reference, status: "fresh", round, seed };
}

/** The same pairs with log-probabilities of `reference`; those that already have them are left as they are. */
export async function withReference(
  engine: EnginePort,
  pairs: readonly Pair[],
  reference: string,
): Promise<readonly Pair[]> {
  const stale = pairs.filter((one) => one.reference.adapter !== reference);
  if (stale.length === 0) return pairs;
  const items = stale.flatMap(({ task, chosen, rejected }) => [
    { task, tokens: chosen.tokens },
    { task, tokens: rejected.tokens },
  ]);
  const logps = await engine.logprobs(items, { adapter: reference });
  const computed = new Map(
    stale.map((one, i) => [
      one.id,
      {
        ...one,
        reference: { adapter: reference, chosen: logps[2 * i] as number, rejected: logps[2 * i + 1] as number },
      },
    ]),
  );
  return pairs.map((one) => computed.get(one.id) ?? one);
}

export function pairedEvent(pairs: readonly Pair[], reference: string): EventBody {
  const meanMargin = pairs.reduce((sum, one) => sum + one.margin, 0) / Math.max(pairs.length, 1);
  return { type: "paired", pairs: pairs.map((one) => one.id), meanMargin, reference };
}

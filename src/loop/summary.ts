/** The summary that `autodidact loop` prints, from the event log alone. */
import type { LoopEvent } from "../base/events.ts";
import type { HeldOut, WorldName } from "../base/records.ts";

export type WorldScores = Partial<Record<WorldName, HeldOut>>;

export interface RoundSummary {
  readonly round: number;
  /** "none" when nothing was decided in this round. */
  decision: "accepted" | "rejected" | "deferred" | "none";
  /** The decision's detail, or why nothing was trained; "" while a candidate gathers rounds. */
  reason: string;
  /** Pairs made in this round. */
  pairs: number;
  /** The incumbent after this round; null in rounds without an evaluation. */
  heldOut: WorldScores | null;
}

export interface Summary {
  readonly base: WorldScores;
  /** The last incumbent that was evaluated. */
  readonly final: WorldScores;
  readonly rounds: readonly RoundSummary[];
  /** Labelled items that gates have used; they decided acceptance and nothing else. */
  readonly labelledGateItems: number;
}

/** Reduces the events of one run, in order. An unfinished run gives the summary so far. */
export function summarise(events: readonly LoopEvent[]): Summary {
  const base: WorldScores = {};
  const final: WorldScores = {};
  const rounds = new Map<number, RoundSummary>();
  let labelledGateItems = 0;
  const of = (number: number): RoundSummary => {
    const round = rounds.get(number) ?? { round: number, decision: "none", reason: "", pairs: 0, heldOut: null };
    rounds.set(number, round);
    return round;
  };

  for (const event of events) {
    switch (event.type) {
      case "paired":
        of(event.round).pairs = event.pairs.length;
        break;
      case "trained":
        if (event.outcome.kind === "skipped") of(event.round).reason = `not trained: ${event.outcome.detail}`;
        break;
      case "gated":
        labelledGateItems += event.report.items;
        Object.assign(of(event.round), { decision: event.report.decision.kind, reason: event.report.decision.detail });
        break;
      case "rejected": // also a candidate that diverged and never reached the gate
        Object.assign(of(event.round), { decision: "rejected", reason: `${event.reason}: ${event.detail}` });
        break;
      case "evaluated": {
        if (event.adapter === "base") base[event.world] = event.heldOut;
        const round = of(event.round);
        round.heldOut = { ...round.heldOut, [event.world]: event.heldOut };
        final[event.world] = event.heldOut;
        break;
      }
    }
  }
  return { base, final, rounds: [...rounds.values()], labelledGateItems };
}

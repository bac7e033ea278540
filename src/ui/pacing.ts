import type { EventType, LoopEvent } from "../base/events.ts";

/** How long an event of a type stays on show, relative to the others. */
const weights: Partial<Record<EventType, number>> = {
  started: 2,
  proposed: 2,
  judged: 3,
  filtered: 1,
  paired: 2,
  trained: 2,
  gated: 4,
  committed: 4,
  rejected: 8,
  deferred: 4,
  evaluated: 3,
  sealed: 0.2,
};

/** Milliseconds until a held-out gain and a rejected update have both been seen. */
export const introMs = 4500;
/** Milliseconds of one unit of weight afterwards, at speed 1. */
export const unitMs = 240;

/**
 * Number of events after which both a held-out gain (greedy, above the first evaluation of the same world) and a
 * rejected update have happened; null if the log never shows both.
 */
export function introLength(events: readonly LoopEvent[]): number | null {
  const first = new Map<string, number>();
  let gain = false;
  let rejection = false;
  for (const [index, event] of events.entries()) {
    if (event.type === "rejected") rejection = true;
    if (event.type === "evaluated") {
      const base = first.get(event.world);
      if (base === undefined) first.set(event.world, event.heldOut.greedy.value);
      else if (event.heldOut.greedy.value > base) gain = true;
    }
    if (gain && rejection) return index + 1;
  }
  return null;
}

/**
 * When each event is shown, in milliseconds from the start, non-decreasing. The opening is a time lapse that fits the
 * first gain and the first rejection into `introMs`; what follows is slow enough to read.
 */
export function schedule(events: readonly LoopEvent[]): readonly number[] {
  const intro = introLength(events) ?? 0;
  const weightOf = (event: LoopEvent): number => weights[event.type] ?? 1;
  const introWeight = events.slice(0, intro).reduce((sum, event) => sum + weightOf(event), 0);
  const introUnit = introWeight === 0 ? unitMs : Math.min(unitMs, introMs / introWeight);
  let clock = 0;
  return events.map((event, index) => {
    // An event's weight is the time it stays, so the next one is shown that much later.
    const shownAt = clock;
    clock += weightOf(event) * (index < intro ? introUnit : unitMs);
    return shownAt;
  });
}

import type { EventType, LoopEvent } from "../base/events.ts";

/** Phases of a round, each named by the first event of its commit. */
export type TimedPhase = "collect" | "train" | "gate" | "evaluate";

export interface PhaseTime {
  readonly round: number;
  readonly phase: TimedPhase;
  readonly seconds: number;
}

const PHASES: Readonly<Partial<Record<EventType, TimedPhase>>> = {
  proposed: "collect",
  trained: "train",
  gated: "gate",
  evaluated: "evaluate",
};

/**
 * Seconds of each phase of a run. All events of a phase carry the time of its commit, so a phase took the time from
 * the commit before it; the first one is counted from `started`. collect: propose, sample, judge, filter and pair.
 */
export function phaseTimes(events: readonly LoopEvent[]): readonly PhaseTime[] {
  const times: PhaseTime[] = [];
  let before = events[0]?.at ?? 0;
  for (const { type, round, at } of events) {
    const phase = PHASES[type];
    const last = times.at(-1);
    if (phase === undefined || (last?.round === round && last.phase === phase)) continue;
    times.push({ round, phase, seconds: (at - before) / 1000 });
    before = at;
  }
  return times;
}

/** Seconds from propose to the end of training in `round`; null if it did not get there. */
export function roundSeconds(times: readonly PhaseTime[], round: number): number | null {
  const of = (phase: TimedPhase) => times.find((time) => time.round === round && time.phase === phase)?.seconds;
  const [collect, train] = [of("collect"), of("train")];
  return collect === undefined || train === undefined ? null : collect + train;
}

import { expect, test } from "vitest";
import type { LoopEvent } from "../../src/base/events.ts";
import { phaseTimes, roundSeconds } from "../../src/cli/phase-times.ts";

const event = (type: LoopEvent["type"], round: number, at: number): LoopEvent =>
  ({ type, round, at, seq: at }) as unknown as LoopEvent;

test("a phase lasts from the commit before it to its own; the events of one commit count once", () => {
  const events = [
    event("started", 1, 1000),
    event("sealed", 1, 5000),
    event("proposed", 1, 5000),
    event("paired", 1, 5000),
    event("trained", 1, 6500),
    event("evaluated", 1, 9500),
    event("evaluated", 1, 9500),
    event("proposed", 2, 12500),
    event("trained", 2, 13500),
    event("gated", 2, 20000),
    event("rejected", 2, 20000),
    event("evaluated", 2, 21000),
    event("finished", 2, 21000),
  ];
  const times = phaseTimes(events);
  expect(times).toEqual([
    { round: 1, phase: "collect", seconds: 4 },
    { round: 1, phase: "train", seconds: 1.5 },
    { round: 1, phase: "evaluate", seconds: 3 },
    { round: 2, phase: "collect", seconds: 3 },
    { round: 2, phase: "train", seconds: 1 },
    { round: 2, phase: "gate", seconds: 6.5 },
    { round: 2, phase: "evaluate", seconds: 1 },
  ]);
  expect([roundSeconds(times, 1), roundSeconds(times, 2), roundSeconds(times, 3)]).toEqual([5.5, 4, null]);
});

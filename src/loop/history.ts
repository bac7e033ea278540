/** The past of a run, from its events alone. */
import type { LoopEvent } from "../base/events.ts";
import { driftAlarm } from "./monitor.ts";
import type { CandidateState, LoopState } from "./ports.ts";
import { firstState } from "./state.ts";

/**
 * The committed state in which round `round` began to collect. `last` is the run's last state: the key of a gate that
 * has not been held yet stands there only. Throws if the run has no such round.
 */
export function stateBeforeRound(events: readonly LoopEvent[], round: number, last: LoopState): LoopState {
  const [started] = events;
  const proposed = events.findIndex((event) => event.type === "proposed" && event.round === round);
  if (started?.type !== "started" || proposed < 0) throw new Error(`The run has no round ${round} that was begun.`);
  const before = events[proposed - 1];
  const seq = before?.type === "sealed" && before.round === round ? proposed - 1 : proposed;
  let state = firstState({ run: started.run, contour: started.contour, seed: started.seed });
  for (const event of events.slice(0, seq)) state = after(state, event, events, last);
  return { ...state, round, seq };
}

/** `state` with what one event says of it; round, phase and seq are the caller's. */
function after(state: LoopState, event: LoopEvent, events: readonly LoopEvent[], last: LoopState): LoopState {
  const { gate, contour, candidate } = state;
  switch (event.type) {
    case "sealed":
      return { ...state, gate: { ...gate, keyHash: event.keyHash, key: keyOf(event.keyHash, events, last) } };
    case "trained": {
      const { outcome } = event;
      if (outcome.kind !== "trained") return state;
      const now = finishedShare(events, event.round);
      const start = candidate?.finishedShare ?? now;
      const alarm = candidate?.alarm ?? driftAlarm(contour.train, outcome.steps, { start, now });
      const grown: CandidateState = {
        adapter: outcome.adapter,
        rounds: [...(candidate?.rounds ?? []), event.round],
        deferrals: candidate?.deferrals ?? 0,
        finishedShare: start,
        ...(alarm === null ? {} : { alarm }),
      };
      return { ...state, candidate: grown };
    }
    case "gated": {
      const { decision, items } = event.report;
      const gained = decision.kind === "accepted" && decision.superior;
      const sinceGain = gained || !contour.gate.on ? 0 : gate.sinceGain + 1;
      const next = { index: gate.index + 1, key: "", keyHash: "", used: gate.used + items, sinceGain };
      return { ...state, gate: next };
    }
    case "deferred":
      return candidate === null ? state : { ...state, candidate: { ...candidate, deferrals: candidate.deferrals + 1 } };
    case "rejected":
      return { ...state, candidate: null };
    case "committed": {
      const best = gate.sinceGain === 0 ? event.adapter : state.best;
      return { ...state, candidate: null, incumbent: event.adapter, best };
    }
    default:
      return state;
  }
}

function keyOf(keyHash: string, events: readonly LoopEvent[], last: LoopState): string {
  const opened = events.find((event) => event.type === "gated" && event.report.keyHash === keyHash);
  if (opened?.type === "gated") return opened.report.key;
  return last.gate.keyHash === keyHash ? last.gate.key : "";
}

function finishedShare(events: readonly LoopEvent[], round: number): number {
  const sampled = events.find((event) => event.type === "sampled" && event.round === round);
  return sampled?.type === "sampled" && sampled.candidates > 0 ? sampled.finished / sampled.candidates : 1;
}

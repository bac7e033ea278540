/** The loop's state machine: which phase follows which. */
import type { Contour } from "../base/contour.ts";
import type { LoopState } from "./ports.ts";

export function firstState(options: {
  readonly run: string;
  readonly contour: Contour;
  readonly seed: number;
}): LoopState {
  return {
    ...options,
    round: 1,
    phase: "collect",
    seq: 0,
    incumbent: "base",
    best: "base",
    candidate: null,
    gate: { index: 0, key: "", keyHash: "", used: 0, sinceGain: 0 },
    finished: null,
  };
}

export function isLastRound({ round, contour, gate }: LoopState): boolean {
  return round >= contour.rounds || noMoreGain(contour, gate.sinceGain);
}

export function noMoreGain({ stop }: Contour, sinceGain: number): boolean {
  return stop.patience > 0 && sinceGain >= stop.patience;
}

/**
 * Does the candidate stand at the gate now? When it has gathered `period` rounds (again that many after each deferral),
 * when the monitor has fired, and in the last round.
 */
export function gateIsDue({ candidate, contour, round }: LoopState): boolean {
  if (candidate === null) return false;
  const gathered = candidate.rounds.length >= contour.gate.period * (candidate.deferrals + 1);
  const alarmed = contour.gate.on && candidate.alarm !== undefined;
  return gathered || alarmed || round >= contour.rounds;
}

/** The incumbent is evaluated every few rounds and at the end; round 1 also evaluates the base. The last round ends there. */
export function evaluationIsDue(state: LoopState): boolean {
  const { every, worlds } = state.contour.evaluate;
  const wanted = worlds.length > 0 && (state.round === 1 || (every > 0 && state.round % every === 0));
  return wanted || isLastRound(state);
}

/** After training: the gate if it is due. */
export function afterTraining(state: LoopState): LoopState {
  return gateIsDue(state) ? { ...state, phase: "gate" } : afterGate(state);
}

/** After the gate: the evaluation if it is due, else the next round. */
export function afterGate(state: LoopState): LoopState {
  return evaluationIsDue(state) ? { ...state, phase: "evaluate" } : nextRound(state);
}

export function nextRound(state: LoopState): LoopState {
  return { ...state, round: state.round + 1, phase: "collect" };
}

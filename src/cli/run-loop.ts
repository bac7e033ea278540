/** One run of the loop in a directory, from its beginning or from its last commit: what `loop` and `experiment` share. */
import { type Contour, defaultContour, type JudgeRule, judgesOf } from "../base/contour.ts";
import { type DeviceSummary, deviceOf, type LoopEvent } from "../base/events.ts";
import type { OnnxScorer } from "../judge/jury.ts";
import type { EnginePort } from "../loop/ports.ts";
import { type Summary, summarise } from "../loop/summary.ts";
import { type FolderStore, openFolderStore } from "../store/folder.ts";
import { composeLoop } from "../worker/compose.ts";

export const RULES: readonly JudgeRule[] = ["default", "pixels", "onnx", "self", "gold", "random", "majority"];

/** The contour with another judge. A control records the judge it needs; only the default records every judge. */
export function controlled(contour: Contour, rule: JudgeRule): Contour {
  const record =
    rule === defaultContour.judge.rule
      ? contour.judge.record
      : contour.judge.record.filter((judge) => judge === "pixels");
  return { ...contour, judge: { rule, record } };
}

export const runName = (contour: Contour, seed: number): string =>
  `${contour.name}-${contour.judge.rule}${contour.gate.on ? "" : "-ungated"}-${seed}`;

export interface RunSummary extends Summary {
  readonly contour: string;
  readonly judge: JudgeRule;
  readonly gate: boolean;
  readonly seed: number;
  /** Adapter of the GPU. */
  readonly device: string;
  /** Of this process: a run that was resumed took longer. */
  readonly seconds: number;
}

export interface RunLoopOptions {
  /** Of a run to go on with: opened for `deviceIn` its directory. */
  readonly engine: EnginePort;
  readonly openJudge: () => Promise<OnnxScorer>;
  readonly contour: Contour;
  readonly seed: number;
  readonly directory: string;
  /** Go on with the run in the directory; its own contour and seed count. */
  readonly resume: boolean;
  /** After each commit, with the seconds that are left at the measured pace. */
  readonly onEvent: (event: LoopEvent, secondsLeft: number) => void;
  /** After the first Ctrl+C: the run stops at the end of the phase. */
  readonly onInterrupt?: () => void;
}

/** The device that the run in a directory was computed on last, whose kernels it goes on with; undefined if it has not begun. */
export async function deviceIn(directory: string): Promise<DeviceSummary | undefined> {
  const store = openFolderStore(directory);
  try {
    return deviceOf(await store.events({ since: 0 }));
  } finally {
    store.close();
  }
}

/** Runs to the end, or to the end of a phase after Ctrl+C. The store stays open for an export. */
export async function runLoop(
  options: RunLoopOptions,
): Promise<{ summary: RunSummary; store: FolderStore; finished: boolean }> {
  const { engine, directory, resume } = options;
  const store = await openFolderStore(directory, resume ? {} : { run: runName(options.contour, options.seed) });
  const stored = await store.state();
  if (stored && !resume)
    throw new Error(`${directory} holds a run already: add --resume to go on with it, or choose another --dir`);
  const contour = stored?.contour ?? options.contour;
  const seed = stored?.seed ?? options.seed;
  const onnx = [...judgesOf(contour)].some((judge) => judge.startsWith("onnx")) ? await options.openJudge() : undefined;
  const began = performance.now();
  const first = stored?.round ?? 1;
  const emit = (event: LoopEvent): void => {
    const perRound = (performance.now() - began) / 1000 / Math.max(1, event.round - first + 1);
    options.onEvent(event, Math.round(perRound * Math.max(0, contour.rounds - event.round)));
  };
  const loop = composeLoop(
    { engine, store, ...(onnx ? { onnx } : {}), now: () => Date.now(), emit, progress: () => {} },
    { contour, seed },
  );
  if (stored) await loop.resume();
  else await loop.start({ run: store.run, contour, seed, versions: { autodidact: __VERSION__ } });
  const stop = new AbortController();
  const interrupt = () => {
    options.onInterrupt?.();
    stop.abort();
  };
  process.once("SIGINT", interrupt);
  const state = await loop.run({ signal: stop.signal });
  process.off("SIGINT", interrupt);
  const summary = {
    contour: contour.name,
    judge: contour.judge.rule,
    gate: contour.gate.on,
    seed,
    device: engine.device.description,
    seconds: (performance.now() - began) / 1000,
    ...summarise(await store.events({ since: 0 })),
  };
  return { summary, store, finished: state.finished !== null };
}

/**
 * The loop. One round: propose → sample → judge → filter → pair | train | gate | evaluate.
 * Each phase between bars ends in one commit and only then emits its events; all that a phase does follows from
 * (state, seed, round), so a crash between two commits repeats the phase and comes out the same.
 */
import { canonicalJson } from "../base/canonical.ts";
import type { Contour } from "../base/contour.ts";
import { type DeviceSummary, deviceOf } from "../base/events.ts";
import type { JudgedCandidate, Task } from "../base/records.ts";
import { knownAdapters } from "./adapters.ts";
import { type Choice, forget } from "./curate.ts";
import { record } from "./journal.ts";
import { unreferenced, withReference } from "./pair.ts";
import { type Context, collect, evaluate, finish, standAtGate, trainCandidate } from "./phases.ts";
import type { LoopState, Ports } from "./ports.ts";
import { firstState } from "./state.ts";

export interface Loop {
  /** Begins a run in an empty store. Throws if the store holds one already. */
  start(options: {
    readonly run: string;
    readonly contour: Contour;
    readonly seed: number;
    readonly versions?: Readonly<Record<string, string>>;
  }): Promise<LoopState>;
  /**
   * Goes on with the store's run at its last commit. Throws if there is none or if the engine has other base weights.
   * On another GPU adapter, or with other kernel variants, than before it commits an event "restored" that says so.
   */
  resume(): Promise<LoopState>;
  /** The last committed state, null before `start` or `resume`. */
  state(): LoopState | null;
  /** One phase. Returns at once when the run is finished. If it throws, nothing was committed and it can be tried again. */
  advance(): Promise<LoopState>;
  /** The rest of the current round, phase by phase. */
  step(): Promise<LoopState>;
  /** Until the run is finished or `signal` is aborted, which is looked at between phases. */
  run(options?: { readonly signal?: AbortSignal }): Promise<LoopState>;
  /** Ends the run for good, after the phase that is running. */
  stop(detail: string): Promise<LoopState>;
  /** A visitor's correction becomes a fresh pair, trained with the next round's. */
  correct(options: {
    readonly task: Task;
    readonly chosen: JudgedCandidate;
    readonly rejected: JudgedCandidate;
    readonly detail: string;
  }): Promise<LoopState>;
  /** Deletes pairs of the replay buffer for good; the journal keeps their tombstone. Throws if one is not there. */
  forget(options: Choice): Promise<LoopState>;
}

export function createLoop(ports: Ports): Loop {
  const context: Context = { ports, adapters: knownAdapters(ports.engine, ports.store), evaluated: new Map() };
  let state: LoopState | null = null;
  let tail: Promise<unknown> = Promise.resolve();

  /** One thing at a time, in the order of the calls; a failure does not block the next. */
  const alone = (work: () => Promise<LoopState>): Promise<LoopState> => {
    const result = tail.then(work);
    tail = result.catch(() => undefined);
    return result;
  };
  const current = (): LoopState => {
    if (state === null) throw new Error("[loop] no run yet: call start or resume first");
    return state;
  };
  const advance = (): Promise<LoopState> =>
    alone(async () => (state = await phases[current().phase](context, current())));

  return {
    start: (options) => alone(async () => (state = await start(context, options))),
    resume: () => alone(async () => (state = await resume(context))),
    state: () => state,
    advance,
    step: async () => {
      const { round } = current();
      let now = await advance();
      while (now.finished === null && now.round === round) now = await advance();
      return now;
    },
    run: async ({ signal } = {}) => {
      let now = current();
      while (now.finished === null && !signal?.aborted) now = await advance();
      return now;
    },
    stop: (detail) => alone(async () => (state = await finish(context, current(), "stopped", detail))),
    correct: (options) => alone(async () => (state = await correct(context, current(), options))),
    forget: (options) => alone(async () => (state = await forget(ports, current(), options))),
  };
}

/** Which one follows which: src/loop/state.ts. */
const phases: Readonly<Record<LoopState["phase"], (context: Context, state: LoopState) => Promise<LoopState>>> = {
  collect,
  train: trainCandidate,
  gate: standAtGate,
  evaluate,
  finished: async (_context, state) => state,
};

async function start({ ports }: Context, options: Parameters<Loop["start"]>[0]): Promise<LoopState> {
  const { run, contour, seed, versions = {} } = options;
  if (await ports.store.state())
    throw new Error("[loop] the store holds a run already: resume it, or open an empty store");
  const { device, base } = ports.engine;
  const first = firstState({ run, contour, seed });
  return record(ports, first, {
    next: first,
    events: [{ type: "started", run, contour, seed, device, base, versions }],
  });
}

async function resume({ ports }: Context): Promise<LoopState> {
  const state = await ports.store.state();
  if (!state) throw new Error("[loop] the store holds no run: start one first");
  const { base, device } = ports.engine;
  const events = await ports.store.events({ since: 0 });
  const started = events.find((event) => event.type === "started");
  if (started?.type === "started" && started.base !== base) {
    throw new Error(
      `This run's adapters belong to other base weights (${started.base.slice(0, 12)}…) than the model that is loaded (${base.slice(0, 12)}…): on top of it they would be wrong. Nothing was changed. The run can be looked at and exported; to train on, open it with the model that it began with (a release of that time, or --model with its folder), or start a new run.`,
    );
  }
  const reason = moved(deviceOf(events), device);
  if (reason === null || state.finished !== null) return state;
  return record(ports, state, {
    next: state,
    events: [{ type: "restored", adapter: state.incumbent, reason, device }],
  });
}

/** Why results will no longer be those of the GPU before, to the last bit; null if it is the same one. */
function moved(before: DeviceSummary | undefined, now: DeviceSummary): string | null {
  if (before === undefined) return null;
  const [variants, variantsBefore] = [canonicalJson(now.variants), canonicalJson(before.variants)];
  const consequence = "results from here on differ in rounding";
  if (nameOf(now) !== nameOf(before))
    return `resumed on another adapter (${nameOf(now)} instead of ${nameOf(before)}): ${consequence}`;
  if (variants !== variantsBefore)
    return `resumed with other kernel variants (${variants} instead of ${variantsBefore}): ${consequence}`;
  return null;
}

const nameOf = ({ vendor, architecture, description }: DeviceSummary): string =>
  [...new Set([vendor, architecture, description])].filter((part) => part !== "").join(" ");

async function correct(
  { ports, adapters }: Context,
  state: LoopState,
  options: Parameters<Loop["correct"]>[0],
): Promise<LoopState> {
  const { task, detail } = options;
  const chosen = { ...options.chosen, scores: { ...options.chosen.scores, visitor: 1 } };
  const rejected = { ...options.rejected, scores: { ...options.rejected.scores, visitor: 0 } };
  await adapters.use(state.incumbent);
  const made = await withReference(ports.engine, [unreferenced(task, chosen, rejected, 1, state)], state.incumbent);
  const id = made[0]?.id ?? "";
  if (await ports.store.hasPair(id)) throw new Error("[loop] this correction is in the buffer already");
  return record(ports, state, { next: state, events: [{ type: "corrected", pair: id, detail }], putPairs: made });
}

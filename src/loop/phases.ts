/** The four phases of a round. Each takes the committed state, does its work and ends in one commit. */
import type { EventBody } from "../base/events.ts";
import type { HeldOut, StepMetrics, WorldName } from "../base/records.ts";
import type { Adapters } from "./adapters.ts";
import { makeRoom } from "./buffer.ts";
import { filter, filteredEvent } from "./filter.ts";
import { runGate, sealKey, ungatedReport } from "./gate.ts";
import { record } from "./journal.ts";
import { judge, judgedEvent } from "./judge.ts";
import { seedFor } from "./keys.ts";
import { driftAlarm } from "./monitor.ts";
import { pair, pairedEvent } from "./pair.ts";
import type { CandidateState, LoopState, Ports } from "./ports.ts";
import { propose, proposedEvent } from "./propose.ts";
import { sample, sampledEvent } from "./sample.ts";
import { afterGate, afterTraining, isLastRound, nextRound, noMoreGain } from "./state.ts";
import { train, trainedEvent } from "./train.ts";

export interface Context {
  readonly ports: Ports;
  readonly adapters: Adapters;
  /** Held-out results by "adapter world": the evaluation is fixed, so an unchanged incumbent is not evaluated twice. */
  readonly evaluated: Map<string, HeldOut>;
}

/** propose → sample → judge → filter → pair. A gate's key is sealed first, before anything is trained; a full buffer makes room. */
export async function collect({ ports, adapters }: Context, state: LoopState): Promise<LoopState> {
  const { round, seed, contour, incumbent } = state;
  const sampler = state.candidate?.adapter ?? incumbent;
  await adapters.use(sampler);
  await adapters.use(incumbent);

  const tasks = await propose(ports, state);
  const sampled = await sample(ports, state, tasks, sampler);
  const judged = await judge(ports, state, sampled);
  const filtered = await filter(judged, contour, (id) => ports.store.hasPair(id));
  const pairs = await pair(ports.engine, filtered, { reference: incumbent, round, seed });
  ports.progress({ round, stage: "pair", done: pairs.length, total: tasks.length });

  const { gate, sealed } = sealGate(ports, state);
  const room = await makeRoom(ports.store, contour, pairs, { seed, round });
  return record(ports, state, {
    next: { ...state, gate, phase: "train" },
    events: [
      ...sealed,
      proposedEvent(tasks),
      sampledEvent(sampled),
      judgedEvent(judged),
      filteredEvent(filtered),
      pairedEvent(pairs, incumbent),
      ...room.events,
    ],
    putPairs: pairs,
    removePairs: room.removePairs,
  });
}

/** Draws the next gate's key if it has none yet; only its hash goes to the journal. */
function sealGate(
  { sealed }: Ports,
  { contour, gate, seed }: LoopState,
): { gate: LoopState["gate"]; sealed: readonly EventBody[] } {
  if (!contour.gate.on || gate.key !== "") return { gate, sealed: [] };
  const key = sealed.newKey({ seed, gate: gate.index });
  const keyHash = sealKey(key);
  return { gate: { ...gate, key, keyHash }, sealed: [{ type: "sealed", keyHash }] };
}

/** LoRA + DPO on the candidate; one that diverges is rolled back and the loop goes on from the incumbent. */
export async function trainCandidate({ ports, adapters }: Context, state: LoopState): Promise<LoopState> {
  await adapters.use(state.incumbent);
  if (state.candidate) await adapters.use(state.candidate.adapter);
  const trained = await train(ports, state);
  const { outcome, snapshot, rereferenced } = trained;
  const pairs = trained.pairs.map((one) => one.id);

  if (outcome.kind === "diverged") {
    const lost = [...pairs, ...(await trainedPairs(ports))];
    await adapters.restore(state.incumbent);
    const adapter = state.candidate?.adapter ?? state.incumbent;
    return record(ports, state, {
      next: afterGate({ ...state, candidate: null }),
      events: [trainedEvent(trained), ...rolledBack(state, adapter, "diverged", outcome.detail, lost.length)],
      putPairs: rereferenced,
      setStatus: lost.map((id) => ({ id, status: "quarantined" })),
    });
  }
  if (outcome.kind === "skipped" || snapshot === null) {
    return record(ports, state, { next: afterTraining(state), events: [trainedEvent(trained)] });
  }
  adapters.made(snapshot.hash);
  const candidate = await grown(ports, state, trained.steps, snapshot.hash);
  return record(ports, state, {
    next: afterTraining({ ...state, candidate }),
    events: [trainedEvent(trained)],
    putPairs: rereferenced,
    setStatus: pairs.map((id) => ({ id, status: "trained" })),
    putAdapters: [snapshot],
  });
}

/** The candidate with one round more, and with what the monitor saw in it. */
async function grown(
  ports: Ports,
  state: LoopState,
  steps: readonly StepMetrics[],
  adapter: string,
): Promise<CandidateState> {
  const { candidate, contour, round } = state;
  const now = await finishedShare(ports, state);
  const begun = candidate?.finishedShare ?? now;
  const alarm = candidate?.alarm ?? driftAlarm(contour.train, steps, { start: begun, now });
  return {
    adapter,
    rounds: [...(candidate?.rounds ?? []), round],
    deferrals: candidate?.deferrals ?? 0,
    finishedShare: begun,
    ...(alarm === null ? {} : { alarm }),
  };
}

/** Share of this round's samples that ended by themselves, from the journal's last lines. */
async function finishedShare({ store }: Ports, { seq, round }: LoopState): Promise<number> {
  const recent = await store.events({ since: Math.max(0, seq - 20) });
  const sampled = recent.findLast((event) => event.type === "sampled" && event.round === round);
  return sampled?.type === "sampled" && sampled.candidates > 0 ? sampled.finished / sampled.candidates : 1;
}

/** Accept, reject and roll back, or defer. */
export async function standAtGate({ ports, adapters }: Context, state: LoopState): Promise<LoopState> {
  const { candidate, incumbent, best, contour, gate, round } = state;
  if (candidate === null) return record(ports, state, { next: afterGate(state), events: [] });
  for (const adapter of [incumbent, best, candidate.adapter]) await adapters.use(adapter);
  const settings = contour.gate;
  const report = settings.on
    ? await runGate(ports.engine, ports.sealed, {
        settings,
        world: contour.world,
        maxNewTokens: contour.sample.maxNewTokens,
        key: gate.key,
        keyHash: gate.keyHash,
        index: gate.index,
        candidate: candidate.adapter,
        incumbent,
        best,
        deferrals: candidate.deferrals,
        alarm: candidate.alarm ?? null,
        onItems: (used) => ports.progress({ round, stage: "gate", done: used, total: 2 * settings.maxItems }),
      })
    : ungatedReport({ candidate: candidate.adapter, incumbent, alpha: settings.alpha });

  const { decision } = report;
  const gained = decision.kind === "accepted" && decision.superior;
  const after: LoopState = {
    ...state,
    gate: {
      index: gate.index + 1,
      key: "",
      keyHash: "",
      used: gate.used + report.items,
      sinceGain: gained || !settings.on ? 0 : gate.sinceGain + 1,
    },
  };
  const gated: EventBody = { type: "gated", report };

  if (decision.kind === "deferred") {
    const { items, detail } = decision;
    return record(ports, state, {
      next: afterGate({ ...after, candidate: { ...candidate, deferrals: candidate.deferrals + 1 } }),
      events: [gated, { type: "deferred", adapter: candidate.adapter, items, detail }],
    });
  }
  const pairs = await trainedPairs(ports);
  if (decision.kind === "rejected") {
    await adapters.restore(incumbent);
    return record(ports, state, {
      next: afterGate({ ...after, candidate: null }),
      events: [gated, ...rolledBack(state, candidate.adapter, decision.reason, decision.detail, pairs.length)],
      setStatus: pairs.map((id) => ({ id, status: "quarantined" })),
    });
  }
  const { adapter, rounds } = candidate;
  return record(ports, state, {
    next: afterGate({ ...after, candidate: null, incumbent: adapter, best: gained || !settings.on ? adapter : best }),
    events: [gated, { type: "committed", adapter, previous: incumbent, pairs: pairs.length, rounds }],
    setStatus: pairs.map((id) => ({ id, status: "accepted" })),
  });
}

function rolledBack(
  { incumbent }: LoopState,
  adapter: string,
  reason: string,
  detail: string,
  pairs: number,
): readonly EventBody[] {
  return [
    { type: "rejected", adapter, restored: incumbent, reason, detail, pairs },
    { type: "restored", adapter: incumbent, reason },
  ];
}

/** Ids of the pairs that trained the candidate at hand. */
async function trainedPairs({ store }: Ports): Promise<readonly string[]> {
  return (await store.pairs({ status: "trained" })).map((one) => one.id).sort();
}

/** Held-out scores of the incumbent, for reports only; then the next round, or the end. */
export async function evaluate(context: Context, state: LoopState): Promise<LoopState> {
  const { ports } = context;
  const { contour, round, incumbent } = state;
  const adapters = [...new Set(round === 1 ? ["base", incumbent] : [incumbent])];
  const plan = adapters.flatMap((adapter) => contour.evaluate.worlds.map((world) => ({ adapter, world })));
  const events: EventBody[] = [];
  for (const { adapter, world } of plan) {
    ports.progress({ round, stage: "evaluate", done: events.length, total: plan.length });
    events.push({ type: "evaluated", adapter, world, heldOut: await heldOut(context, state, adapter, world) });
  }
  if (!isLastRound(state)) return record(ports, state, { next: nextRound(state), events });
  const tired = noMoreGain(contour, state.gate.sinceGain);
  const detail = tired
    ? `${state.gate.sinceGain} gates in a row without a better best`
    : `${round} of ${contour.rounds} rounds`;
  return finish(context, state, tired ? "no-more-gain" : "rounds", detail, events);
}

async function heldOut(
  { ports, adapters, evaluated }: Context,
  state: LoopState,
  adapter: string,
  world: WorldName,
): Promise<HeldOut> {
  const key = `${adapter} ${world}`;
  const known = evaluated.get(key);
  if (known) return known;
  await adapters.use(adapter);
  const { items } = state.contour.evaluate;
  const result = await ports.evaluator.evaluate({
    engine: ports.engine,
    adapter,
    world,
    items,
    seed: seedFor(state.seed, "evaluate"),
  });
  evaluated.set(key, result);
  return result;
}

/** Ends the run, with a reason, in the same commit as `events`. */
export async function finish(
  { ports }: Context,
  state: LoopState,
  reason: "rounds" | "no-more-gain" | "stopped",
  detail: string,
  events: readonly EventBody[] = [],
): Promise<LoopState> {
  if (state.finished !== null) return state;
  return record(ports, state, {
    next: { ...state, phase: "finished", finished: reason },
    events: [...events, { type: "finished", reason, detail }],
  });
}

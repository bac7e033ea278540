/**
 * The view model: everything the page shows is a pure function of the event log.
 * `reduce` folds one event and shares all unchanged parts with the model before it, so a model may be kept for every
 * event and time travel is a look-up (timeline.ts).
 */

import type { Contour } from "../base/contour.ts";
import type { DeviceSummary, EventType, LoopEvent } from "../base/events.ts";
import type {
  FilterVerdict,
  GateReport,
  HeldOut,
  JudgedCandidate,
  JudgedTask,
  StepMetrics,
  Task,
  WorldName,
} from "../base/records.ts";

export const stages = ["propose", "sample", "judge", "filter", "pair", "train", "gate"] as const;
export type Stage = (typeof stages)[number];

export interface RunInfo {
  readonly run: string;
  readonly contour: Contour;
  readonly seed: number;
  readonly device: DeviceSummary;
  readonly base: string;
  readonly versions: Readonly<Record<string, string>>;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
}

/** A pair with the pictures that the log kept; pairs without a preview are only counted. */
export interface PairView {
  readonly id: string;
  readonly task: Task;
  readonly chosen: JudgedCandidate;
  readonly rejected: JudgedCandidate;
  readonly margin: number;
  readonly round: number;
}

/** What the stages of the newest round said; null until the stage has spoken. */
export interface RoundFacts {
  readonly round: number;
  readonly proposed: { readonly tasks: number; readonly source: string } | null;
  readonly sampled: {
    readonly tasks: number;
    readonly candidates: number;
    readonly finished: number;
    readonly distinct: number;
  } | null;
  readonly judged: {
    readonly tasks: number;
    readonly meanScore: Readonly<Record<string, number>>;
    readonly agreement: Readonly<Record<string, number>>;
  } | null;
  readonly filtered: { readonly kept: number; readonly dropped: Readonly<Record<string, number>> } | null;
  readonly paired: { readonly pairs: number; readonly meanMargin: number; readonly reference: string } | null;
  readonly trained:
    | { readonly kind: "trained"; readonly steps: number; readonly last: StepMetrics | null; readonly adapter: string }
    | { readonly kind: "skipped" | "diverged"; readonly detail: string }
    | null;
}

export type UpdateOutcome =
  | { readonly kind: "open" }
  | {
      readonly kind: "accepted";
      readonly adapter: string;
      readonly previous: string;
      readonly superior: boolean;
      readonly gated: boolean;
    }
  | {
      readonly kind: "rejected";
      readonly adapter: string;
      readonly restored: string;
      readonly reason: string;
      readonly detail: string;
    }
  | { readonly kind: "deferred"; readonly adapter: string; readonly items: number; readonly detail: string };

/** A candidate: several rounds of training that stand at the gate together. */
export interface Update {
  /** 1, 2, … in the order of their first round. */
  readonly index: number;
  readonly rounds: readonly number[];
  readonly pairs: number;
  readonly pairIds: readonly string[];
  readonly pairViews: readonly PairView[];
  readonly steps: number;
  readonly lastStep: StepMetrics | null;
  /** One report each time it stood at the gate. */
  readonly reports: readonly GateReport[];
  readonly outcome: UpdateOutcome;
  /** Number of events folded when the outcome was known; 0 while it is open. */
  readonly decidedAt: number;
}

/** One optimizer step, on one axis over all rounds. */
export interface CurvePoint {
  /** 0, 1, … over the whole run. */
  readonly step: number;
  readonly round: number;
  readonly loss: number;
  readonly margin: number;
  readonly accuracy: number;
  readonly chosen: number;
  readonly rejected: number;
  readonly gradNorm: number;
}

export interface HeldOutPoint {
  readonly round: number;
  readonly world: WorldName;
  readonly adapter: string;
  readonly heldOut: HeldOut;
}

/** Shares of a round: how much survived the filter, how far two judges agree. */
export interface RatePoint {
  readonly round: number;
  readonly kept: number;
  readonly agreement: number | null;
}

/** A place on the time bar to which ←/→ jump. */
export interface Checkpoint {
  /** Events folded when it was reached. */
  readonly at: number;
  readonly round: number;
  readonly kind: "start" | "accepted" | "rejected" | "deferred" | "restored" | "finished";
}

export interface LoopModel {
  /** Events folded. */
  readonly count: number;
  readonly seq: number;
  readonly at: number;
  readonly lastType: EventType | null;
  readonly run: RunInfo | null;
  readonly round: number;
  readonly rounds: number;
  readonly stage: Stage | null;
  /** Tasks of the newest round that came with pictures; candidates are empty until they are judged. */
  readonly tasks: readonly JudgedTask[];
  readonly verdicts: Readonly<Record<string, FilterVerdict>>;
  readonly facts: RoundFacts;
  readonly updates: readonly Update[];
  readonly curves: readonly CurvePoint[];
  readonly heldOut: readonly HeldOutPoint[];
  readonly rates: readonly RatePoint[];
  readonly counts: { readonly accepted: number; readonly rejected: number; readonly deferred: number };
  /** Labelled items that gates have used so far: they decide acceptance and nothing else. */
  readonly labelledItems: number;
  /** Sum of the alphas of all decided gates: the expected number of false accepts is at most this. */
  readonly alphaSpent: number;
  readonly keyHash: string | null;
  readonly incumbent: string;
  readonly corrections: number;
  readonly checkpoints: readonly Checkpoint[];
  readonly finished: { readonly reason: "rounds" | "no-more-gain" | "stopped"; readonly detail: string } | null;
  readonly error: { readonly code: string; readonly message: string } | null;
}

const noFacts = (round: number): RoundFacts => ({
  round,
  proposed: null,
  sampled: null,
  judged: null,
  filtered: null,
  paired: null,
  trained: null,
});

export const emptyModel: LoopModel = {
  count: 0,
  seq: -1,
  at: 0,
  lastType: null,
  run: null,
  round: 0,
  rounds: 0,
  stage: null,
  tasks: [],
  verdicts: {},
  facts: noFacts(0),
  updates: [],
  curves: [],
  heldOut: [],
  rates: [],
  counts: { accepted: 0, rejected: 0, deferred: 0 },
  labelledItems: 0,
  alphaSpent: 0,
  keyHash: null,
  incumbent: "base",
  corrections: 0,
  checkpoints: [],
  finished: null,
  error: null,
};

/** Folds a whole log. */
export function modelOf(events: readonly LoopEvent[]): LoopModel {
  return events.reduce(reduce, emptyModel);
}

/** Folds one event. Pure; unknown event types of later versions leave everything but the counters as it was. */
export function reduce(model: LoopModel, event: LoopEvent): LoopModel {
  const next: LoopModel = {
    ...model,
    count: model.count + 1,
    seq: event.seq,
    at: event.at,
    round: Math.max(model.round, event.round),
    lastType: event.type,
  };
  switch (event.type) {
    case "started":
      return {
        ...next,
        run: {
          run: event.run,
          contour: event.contour,
          seed: event.seed,
          device: event.device,
          base: event.base,
          versions: event.versions,
          startedAt: event.at,
        },
        rounds: event.contour.rounds,
        checkpoints: [{ at: next.count, round: event.round, kind: "start" }],
      };
    case "proposed":
      return {
        ...next,
        stage: "propose",
        tasks: event.preview.map((task) => ({ task, candidates: [] })),
        verdicts: {},
        facts: { ...noFacts(event.round), proposed: { tasks: event.tasks.length, source: event.source } },
        error: null,
      };
    case "sampled": {
      const { tasks, candidates, finished, distinct } = event;
      return {
        ...next,
        stage: "sample",
        facts: { ...model.facts, sampled: { tasks, candidates, finished, distinct } },
      };
    }
    case "judged": {
      const { tasks, meanScore, agreement, preview } = event;
      return {
        ...next,
        stage: "judge",
        tasks: preview.length > 0 ? preview : model.tasks,
        facts: { ...model.facts, judged: { tasks, meanScore, agreement } },
      };
    }
    case "filtered":
      return {
        ...next,
        stage: "filter",
        verdicts: Object.fromEntries(event.verdicts.map((entry) => [entry.task, entry.verdict])),
        facts: { ...model.facts, filtered: { kept: event.kept, dropped: event.dropped } },
        rates: [...model.rates, ratePoint(model, event.round, event.kept)],
      };
    case "paired":
      return {
        ...next,
        stage: "pair",
        facts: {
          ...model.facts,
          paired: { pairs: event.pairs.length, meanMargin: event.meanMargin, reference: event.reference },
        },
      };
    case "trained":
      return foldTrained(model, next, event);
    case "sealed":
      return { ...next, keyHash: event.keyHash };
    case "gated":
      return foldGated(next, event.report);
    case "committed": {
      const report = openUpdate(next).reports.at(-1);
      const superior = report?.decision.kind === "accepted" && report.decision.superior;
      const outcome: UpdateOutcome = {
        kind: "accepted",
        adapter: event.adapter,
        previous: event.previous,
        superior,
        gated: report !== undefined,
      };
      const counts = { ...model.counts, accepted: model.counts.accepted + 1 };
      return { ...settle(next, outcome, event.pairs), counts, incumbent: event.adapter };
    }
    case "rejected": {
      const { adapter, restored, reason, detail } = event;
      const counts = { ...model.counts, rejected: model.counts.rejected + 1 };
      return {
        ...settle(next, { kind: "rejected", adapter, restored, reason, detail }, event.pairs),
        counts,
        incumbent: restored,
      };
    }
    case "deferred": {
      const { adapter, items, detail } = event;
      const counts = { ...model.counts, deferred: model.counts.deferred + 1 };
      return { ...settle(next, { kind: "deferred", adapter, items, detail }, null), counts };
    }
    case "evaluated":
      return {
        ...next,
        heldOut: [
          ...model.heldOut,
          { round: event.round, world: event.world, adapter: event.adapter, heldOut: event.heldOut },
        ],
      };
    case "restored":
      return {
        ...next,
        incumbent: event.adapter,
        error: null,
        checkpoints: [...model.checkpoints, { at: next.count, round: event.round, kind: "restored" }],
      };
    case "corrected":
      return { ...next, corrections: model.corrections + 1 };
    case "finished":
      return {
        ...next,
        finished: { reason: event.reason, detail: event.detail },
        checkpoints: [...model.checkpoints, { at: next.count, round: event.round, kind: "finished" }],
      };
    case "error":
      return { ...next, error: { code: event.code, message: event.message } };
    default:
      return next;
  }
}

function ratePoint(model: LoopModel, round: number, kept: number): RatePoint {
  const tasks = model.facts.judged?.tasks ?? model.facts.proposed?.tasks ?? 0;
  const agreements = Object.values(model.facts.judged?.agreement ?? {});
  const agreement =
    agreements.length === 0 ? null : agreements.reduce((sum, value) => sum + value, 0) / agreements.length;
  return { round, kept: tasks === 0 ? 0 : kept / tasks, agreement };
}

/** The candidate under training: the last update if it is open or deferred, else a new one (not yet in the list). */
function openUpdate(model: LoopModel): Update {
  const last = model.updates.at(-1);
  if (last && (last.outcome.kind === "open" || last.outcome.kind === "deferred")) return last;
  return {
    index: model.updates.length + 1,
    rounds: [],
    pairs: 0,
    pairIds: [],
    pairViews: [],
    steps: 0,
    lastStep: null,
    reports: [],
    outcome: { kind: "open" },
    decidedAt: 0,
  };
}

function putUpdate(model: LoopModel, update: Update): LoopModel {
  return { ...model, updates: [...model.updates.slice(0, update.index - 1), update] };
}

function settle(model: LoopModel, outcome: UpdateOutcome, pairs: number | null): LoopModel {
  const open = openUpdate(model);
  const kind = outcome.kind === "open" ? "start" : outcome.kind;
  return {
    ...putUpdate(model, { ...open, outcome, pairs: pairs ?? open.pairs, decidedAt: model.count }),
    stage: "gate",
    checkpoints: [...model.checkpoints, { at: model.count, round: model.round, kind }],
  };
}

function foldTrained(model: LoopModel, next: LoopModel, event: LoopEvent & { readonly type: "trained" }): LoopModel {
  const { outcome } = event;
  const open = openUpdate(model);
  const rounds = open.rounds.includes(event.round) ? open.rounds : [...open.rounds, event.round];
  if (outcome.kind === "skipped") {
    return { ...next, stage: "train", facts: { ...model.facts, trained: { kind: "skipped", detail: outcome.detail } } };
  }
  const update: Update = {
    ...open,
    outcome: { kind: "open" },
    rounds,
    pairs: open.pairs + event.pairs.length,
    pairIds: [...open.pairIds, ...event.pairs],
    pairViews: [...open.pairViews, ...pairViews(model, event.round)],
  };
  if (outcome.kind === "diverged") {
    return {
      ...putUpdate(next, update),
      stage: "train",
      facts: { ...model.facts, trained: { kind: "diverged", detail: outcome.detail } },
    };
  }
  const from = (model.curves.at(-1)?.step ?? -1) + 1;
  const points = outcome.steps.map(
    (step, index): CurvePoint => ({
      step: from + index,
      round: event.round,
      loss: step.loss,
      margin: step["rewards/margins"],
      accuracy: step["rewards/accuracies"],
      chosen: step["logps/chosen"],
      rejected: step["logps/rejected"],
      gradNorm: step.grad_norm,
    }),
  );
  const last = outcome.steps.at(-1) ?? null;
  return {
    ...putUpdate(next, { ...update, steps: open.steps + outcome.steps.length, lastStep: last }),
    stage: "train",
    curves: [...model.curves, ...points],
    facts: {
      ...model.facts,
      trained: { kind: "trained", steps: outcome.steps.length, last, adapter: outcome.adapter },
    },
  };
}

function foldGated(next: LoopModel, report: GateReport): LoopModel {
  const open = openUpdate(next);
  return {
    ...putUpdate(next, { ...open, reports: [...open.reports, report] }),
    stage: "gate",
    labelledItems: next.labelledItems + report.items,
    alphaSpent: next.alphaSpent + (report.decision.kind === "deferred" ? 0 : report.alpha),
  };
}

/** Pairs of the newest round whose pictures the log kept. */
export function pairViews(model: LoopModel, round: number): readonly PairView[] {
  const views: PairView[] = [];
  for (const { task, candidates } of model.tasks) {
    const verdict = model.verdicts[task.id];
    if (verdict?.kind !== "kept") continue;
    const chosen = candidates[verdict.chosen];
    const rejected = candidates[verdict.rejected];
    if (chosen && rejected)
      views.push({ id: `${round}:${task.id}`, task, chosen, rejected, margin: verdict.margin, round });
  }
  return views;
}

/** First and newest held-out point of a world, null before its first evaluation. */
export function heldOutSpan(
  model: LoopModel,
  world: WorldName,
): { readonly first: HeldOutPoint; readonly last: HeldOutPoint } | null {
  const points = model.heldOut.filter((point) => point.world === world);
  const first = points[0];
  const last = points.at(-1);
  return first && last ? { first, last } : null;
}

/** The newest update with a decision, null before the first one. */
export function lastDecision(model: LoopModel): Update | null {
  return model.updates.findLast((update) => update.outcome.kind !== "open") ?? null;
}

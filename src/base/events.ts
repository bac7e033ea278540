import type { Contour } from "./contour.ts";
import type { FilterVerdict, GateReport, HeldOut, JudgedTask, Task, TrainOutcome, WorldName } from "./records.ts";

/**
 * Everything that happens is an event; the page is a function of the event log, live or recorded.
 * `seq` is numbered from 0 without gaps in a run, `at` is milliseconds since the epoch (outside the content digest).
 * Payloads name data by id; `preview` fields carry what a page needs to draw.
 */
export type EventBody =
  | {
      readonly type: "started";
      readonly run: string;
      readonly contour: Contour;
      readonly seed: number;
      readonly device: DeviceSummary;
      readonly base: string; // SHA-256 of the base weights
      readonly versions: Readonly<Record<string, string>>;
    }
  | {
      readonly type: "proposed";
      readonly tasks: readonly string[];
      readonly source: string;
      readonly preview: readonly Task[];
    }
  | {
      readonly type: "sampled";
      readonly tasks: number;
      readonly candidates: number;
      readonly finished: number;
      readonly distinct: number;
    }
  | {
      readonly type: "judged";
      readonly tasks: number;
      readonly meanScore: Readonly<Record<string, number>>;
      /** Share of candidate pairs that two judges order alike. */
      readonly agreement: Readonly<Record<string, number>>;
      readonly preview: readonly JudgedTask[];
    }
  | {
      readonly type: "filtered";
      readonly kept: number;
      readonly dropped: Readonly<Record<string, number>>;
      readonly verdicts: readonly { readonly task: string; readonly verdict: FilterVerdict }[];
    }
  | {
      readonly type: "paired";
      readonly pairs: readonly string[];
      readonly meanMargin: number;
      readonly reference: string;
    }
  | { readonly type: "trained"; readonly outcome: TrainOutcome; readonly pairs: readonly string[] }
  | { readonly type: "sealed"; readonly keyHash: string }
  | { readonly type: "gated"; readonly report: GateReport }
  | {
      readonly type: "committed";
      readonly adapter: string;
      readonly previous: string;
      readonly pairs: number;
      readonly rounds: readonly number[];
    }
  | {
      readonly type: "rejected";
      readonly adapter: string;
      readonly restored: string;
      readonly reason: string;
      readonly detail: string;
      readonly pairs: number;
    }
  | { readonly type: "deferred"; readonly adapter: string; readonly items: number; readonly detail: string }
  | { readonly type: "evaluated"; readonly adapter: string; readonly world: WorldName; readonly heldOut: HeldOut }
  | {
      readonly type: "restored";
      readonly adapter: string;
      readonly reason: string;
      /** The GPU from here on, where a resumed run moved to another one than before. */
      readonly device?: DeviceSummary;
    }
  | { readonly type: "corrected"; readonly pair: string; readonly detail: string }
  | {
      readonly type: "deleted"; // the tombstone of pairs of the replay buffer
      readonly pairs: readonly string[];
      readonly reason: "capacity" | "request";
      readonly bytes: number;
      readonly detail: string;
    }
  | {
      readonly type: "included"; // a visitor lets imported pairs train
      readonly pairs: readonly string[];
      readonly detail: string;
    }
  | { readonly type: "finished"; readonly reason: "rounds" | "no-more-gain" | "stopped"; readonly detail: string }
  | { readonly type: "error"; readonly code: string; readonly message: string };

export type LoopEvent = EventBody & { readonly seq: number; readonly at: number; readonly round: number };
export type EventType = EventBody["type"];

export interface DeviceSummary {
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  readonly fallback: boolean;
  readonly features: readonly string[];
  /** Kernel variants this run is pinned to, op → variant. */
  readonly variants: Readonly<Record<string, string>>;
}

/** The device that computed the newest of these events; undefined before the first. */
export const deviceOf = (events: readonly LoopEvent[]): DeviceSummary | undefined =>
  events
    .map((event) => (event.type === "started" || event.type === "restored" ? event.device : undefined))
    .findLast((device) => device !== undefined);

/** What the page may show before it is committed; never stored, never relied on. */
export interface Progress {
  readonly round: number;
  readonly stage: "propose" | "sample" | "judge" | "filter" | "pair" | "train" | "gate" | "evaluate";
  readonly done: number;
  readonly total: number;
  readonly preview?: JudgedTask;
}

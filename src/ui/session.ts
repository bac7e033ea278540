import type { ReadonlySignal } from "@preact/signals";
import type { LoopEvent, Progress } from "../base/events.ts";
import type { Failure, Result, StartOptions } from "../worker/api.ts";
import type { LoopModel } from "./model.ts";
import type { Timeline } from "./timeline.ts";

/** "ready": nothing has happened yet. "playing": events arrive by themselves (a recording plays, a run trains). */
export type SessionStatus = "loading" | "ready" | "playing" | "paused" | "stopped" | "finished" | "failed";

/**
 * What the page watches: a recorded run or a live one. Both are an event log with a position in it, so every panel
 * works for both. Calls report failures as values; `failure` holds the last one until the next call succeeds.
 */
export interface Session {
  readonly mode: "recording" | "live";
  readonly status: ReadonlySignal<SessionStatus>;
  /** Events known so far. */
  readonly events: ReadonlySignal<readonly LoopEvent[]>;
  /** Events shown: the model is the fold of the first `position` events. */
  readonly position: ReadonlySignal<number>;
  /** The model at `position`. */
  readonly model: ReadonlySignal<LoopModel>;
  /** True while `position` moves on by itself; false after a look back in time. */
  readonly following: ReadonlySignal<boolean>;
  /** What is being done right now; live only. */
  readonly progress: ReadonlySignal<Progress | null>;
  readonly failure: ReadonlySignal<Failure | null>;
  readonly timeline: Timeline;

  /** Begins, or goes on after a pause. A recording needs no options. */
  start(options?: StartOptions): Promise<Result<null>>;
  pause(): Promise<Result<null>>;
  /** One event further, then pause. */
  step(): Promise<Result<null>>;
  /** Ends the run; a recording goes back to its first event. */
  stop(): Promise<Result<null>>;
  /** Forgets the position (and, live, detaches from the run; stored runs stay). */
  reset(): Promise<Result<null>>;
  /** Looks at the first `count` events. A recording pauses there; a live run trains on. */
  seek(count: number): void;
  /** Back to the newest event. */
  follow(): void;
  /** The run as a file: zip live, JSONL for a recording. */
  exportRun(): Promise<Result<ExportedFile>>;
  /** The PEFT adapter of the incumbent at `position`. */
  exportAdapter(): Promise<Result<ExportedFile>>;
  forgetFailure(): void;
  dispose(): void;
}

export interface ExportedFile {
  readonly name: string;
  readonly type: string;
  readonly bytes: Uint8Array | Blob;
  /** What the file holds, in plain words. */
  readonly contains?: string;
}

export const done: Result<null> = { ok: true, value: null };

/** A failure as a value. */
export function failure(code: Failure["code"], message: string, detail?: string): Failure {
  return detail === undefined ? { ok: false, code, message } : { ok: false, code, message, detail };
}

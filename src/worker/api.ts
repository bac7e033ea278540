/**
 * What the page asks of the workers. `client.ts` implements `WorkerClient` on the main thread and speaks comlink
 * to the engine, judge and store workers. Everything that crosses is plain data (structured clone), and every
 * failure is a value with a code and a sentence that says what to do; a thrown error is a bug.
 */
import type { BufferItem } from "../base/buffer.ts";
import type { Contour } from "../base/contour.ts";
import type { DeviceSummary, LoopEvent, Progress } from "../base/events.ts";
import type { Pair, Picture } from "../base/records.ts";
import type { PlanSpan } from "../base/spans.ts";
import type { PairCursor, PairFilter } from "../store/run.ts";
import type { Capabilities, PowerPreference } from "./capabilities.ts";

export type FailureCode =
  | "no-webgpu" // no API, no adapter or an insecure context: see Capabilities
  | "device-lost"
  | "busy" // the call needs an idle engine
  | "no-run" // nothing to pause, export, …
  | "locked" // another tab trains
  | "quota" // storage is full; what was committed is kept
  | "bad-input" // an archive, adapter or answer that does not parse
  | "network" // weights, judge or wasm could not be fetched
  | "diverged"
  | "internal";

export interface Failure {
  readonly ok: false;
  readonly code: FailureCode;
  /** Plain words: what happened and what to do. */
  readonly message: string;
  readonly detail?: string;
}

export type Result<T> = { readonly ok: true; readonly value: T } | Failure;

export interface StartOptions {
  readonly contour: Contour;
  readonly rounds: number;
  readonly seed: number;
  readonly powerPreference: PowerPreference;
  /** Short GPU slices with pauses between them, so that the desktop stays smooth. */
  readonly gentle: boolean;
}

export type RunStatus = "loading" | "running" | "paused" | "stopped" | "finished" | "failed";

export interface RunState {
  readonly run: string;
  readonly status: RunStatus;
  readonly round: number;
  readonly rounds: number;
  readonly seed: number;
  /** Events committed so far: the next event has this `seq`. */
  readonly seq: number;
  /** SHA-256 of the incumbent adapter, "base" for none. */
  readonly incumbent: string;
  readonly device: DeviceSummary | null;
  /** Mean of the measured rounds, null before the first one. */
  readonly secondsPerRound: number | null;
}

export interface StorageReport {
  /** Bytes, from navigator.storage.estimate(). */
  readonly usage: number;
  readonly quota: number;
  /** True when the browser promised not to evict it. */
  readonly persisted: boolean;
}

export interface RunSummary {
  readonly run: string;
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly startedAt: number;
  readonly status: RunStatus;
  readonly round: number;
  readonly rounds: number;
  readonly seed: number;
  readonly accepted: number;
  readonly rejected: number;
  /** Last held-out greedy score in the contour's world, null before the first evaluation. */
  readonly heldOut: number | null;
  readonly bytes: number;
  /** Events committed so far. */
  readonly events: number;
  /** SHA-256 of the base weights that its adapters belong to. */
  readonly base: string;
  readonly incumbent: string;
  readonly imported: boolean;
}

/** A run archive and what its own manifest says that it contains. */
export interface RunArchive {
  readonly zip: Blob;
  readonly contains: {
    readonly events: number;
    readonly pairs: number;
    /** Pairs made of a visitor's own pictures and words; they are among `pairs`. */
    readonly visitorPairs: number;
    readonly adapters: number;
  };
}

/** One tab writes (trains, corrects, imports, deletes); every other tab of this address looks on. */
export type TabRole = "writer" | "reader";

export interface ImportOptions {
  /** The archive is trusted: its pairs may train here and its gate's thresholds hold. They are marked as imported all the same. */
  readonly include?: boolean;
}

/** One page of a run's pairs, whole, newest first. */
export interface PairsPage {
  readonly pairs: readonly Pair[];
  /** Where the next page begins, null after the last. */
  readonly next: PairCursor | null;
}

/** What pairs may be filtered by, and how many pass a filter, counted up to a limit. */
export interface PairsOverview {
  readonly sources: readonly string[];
  readonly count: number;
}

export interface Answer {
  readonly text: string;
  readonly tokens: readonly number[];
  /** Sum of natural log-probabilities of the tokens. */
  readonly logprob: number;
  /** The answer redrawn, null if it does not parse or the question is not "describe". */
  readonly redrawn: Picture | null;
  /** SHA-256 of the adapter that answered, "base" for LoRA off. */
  readonly adapter: string;
}

export interface AskOptions {
  readonly picture: Picture;
  /** Words of the question, as src/world spells them. */
  readonly question: string;
}

export interface CorrectOptions {
  readonly picture: Picture;
  readonly question: string;
  /** The right answer in the world's words, without EOS. */
  readonly chosen: string;
  /** What the model said. */
  readonly rejected: string;
}

export interface ClientEvents {
  /** After an event is committed, in order, without gaps. */
  event: LoopEvent;
  /** At most 10 a second; never stored. */
  progress: Progress;
  /** After each change of status, round or incumbent. */
  state: RunState;
  /** Something failed outside a call: device lost, quota, worker crash. The run is paused, nothing committed is lost. */
  failure: Failure;
  /** This tab may write from now on, or no longer. */
  role: TabRole;
  /** In a tab that looks on: the run of the tab that writes (null for none), after each of its commits. */
  elsewhere: RunState | null;
}

export interface WorkerClient {
  /** Detects adapters; starts no worker and loads no weights. Never rejects. */
  capabilities(): Promise<Capabilities>;
  /** Bytes that a first live run fetches, and how many of them are cached already. */
  footprint(): Promise<{ readonly bytes: number; readonly cached: number }>;
  /** Workers of this tab that are alive. */
  workers(): number;

  /** Whether this tab may write; settles once the browser has answered. A call that writes fails with code locked in a tab that looks on. */
  role(): Promise<TabRole>;
  /** Makes this tab the one that writes: the other one lets go of its run at its last commit and looks on. */
  takeOver(): Promise<void>;
  /** Ends this tab's workers, so that nothing of it holds a run; the run stays stored and can be resumed. */
  letGo(): Promise<void>;

  /** A visitor is about to start such a run: gets the workers, the model and the GPU ready. Never fails, begins nothing. */
  warm(options: Pick<StartOptions, "contour" | "powerPreference">): Promise<void>;
  /** Starts a new run; resolves when weights are loaded and the first round has begun. A paused run of this tab stays stored. */
  start(options: StartOptions): Promise<Result<RunState>>;
  /** Goes on with a stored run at its last committed event. */
  resume(options: {
    readonly run: string;
    readonly powerPreference: PowerPreference;
    readonly gentle: boolean;
  }): Promise<Result<RunState>>;
  /** Stops after the slice in flight; nothing uncommitted is lost that resume would not make again. */
  pause(): Promise<Result<RunState>>;
  /** Runs until the next event is committed, then pauses. */
  step(): Promise<Result<RunState>>;
  /** Ends the run (event "finished", reason "stopped"). */
  stop(): Promise<Result<RunState>>;
  /** The run that this tab works on, null for none. */
  state(): Promise<RunState | null>;
  /** Changes the gentle mode of the run in progress. */
  setGentle(gentle: boolean): Promise<Result<null>>;

  events(query: { readonly run: string; readonly since: number }): Promise<Result<readonly LoopEvent[]>>;
  pairs(query: { readonly run: string; readonly ids: readonly string[] }): Promise<Result<readonly Pair[]>>;

  /** Pairs of a stored run that pass `filter`, a page of `limit` after the place `after`. */
  listPairs(query: {
    readonly run: string;
    readonly filter: PairFilter;
    readonly limit: number;
    readonly after: PairCursor | null;
  }): Promise<Result<PairsPage>>;
  /** The run's sources, and how many pairs pass `filter`, counted up to `atMost`. */
  overviewPairs(query: {
    readonly run: string;
    readonly filter: PairFilter;
    readonly atMost: number;
  }): Promise<Result<PairsOverview>>;
  /** Ids and verdicts of the first `limit` pairs that pass `filter`, newest first, without pictures. */
  choosePairs(query: {
    readonly run: string;
    readonly filter: PairFilter;
    readonly limit: number;
  }): Promise<Result<readonly BufferItem[]>>;
  /**
   * Deletes pairs of a stored run for good (the journal keeps tombstones), or lets imported ones that are set aside
   * train. A run of this tab that trains is refused (busy); a paused one is let go first and goes on from its last commit.
   */
  curatePairs(query: {
    readonly run: string;
    readonly pairs: readonly string[];
    readonly action: CurateAction;
  }): Promise<Result<null>>;

  storage(): Promise<StorageReport>;
  /** Asks the browser to keep the data; the answer is in `persisted`. */
  persist(): Promise<StorageReport>;
  runs(): Promise<Result<readonly RunSummary[]>>;
  /** Gives the run another name in lists; its id stays. */
  renameRun(query: { readonly run: string; readonly name: string }): Promise<Result<null>>;
  deleteRun(run: string): Promise<Result<null>>;
  /** Run archive (docs/FORMATS.md). */
  exportRun(run: string): Promise<Result<RunArchive>>;
  /** PEFT adapter as zip: adapter_config.json and adapter_model.safetensors. */
  exportAdapter(query: { readonly run: string; readonly adapter: string }): Promise<Result<Uint8Array>>;
  /** Checks the archive's journal and adapters, then stores it as a run of its own. A Blob is read by slices, never whole. */
  importRun(archive: Blob | Uint8Array, options?: ImportOptions): Promise<Result<RunSummary>>;

  /** Base and incumbent answer the same question greedily. Works during a run (between two slices) and without one. */
  ask(options: AskOptions): Promise<Result<{ readonly base: Answer; readonly improved: Answer }>>;
  /** Stores a preference pair (source "visitor", judge "visitor") and emits "corrected"; needs a run. */
  correct(options: CorrectOptions): Promise<Result<{ readonly pair: string }>>;

  /** Records from now on when plans of the run ran and how long their kernels took, or stops; slower while it is on. */
  trace(on: boolean): Promise<Result<null>>;
  /** What has been recorded since it was turned on, oldest first. */
  spans(): Promise<readonly PlanSpan[]>;

  /** Returns the function that ends the subscription. */
  on<K extends keyof ClientEvents>(type: K, callback: (payload: ClientEvents[K]) => void): () => void;
  /** Ends the workers. */
  dispose(): Promise<void>;
}

export type CurateAction = "forget" | "include";

export type { BufferItem, Capabilities, PairCursor, PairFilter, PowerPreference };

/** Name of the Web Lock that an engine holds while it has a run open: no second engine trains, and no update lands. */
export const runLock = "autodidact-run";

/** Name of the Web Lock that the tab which may write holds as long as it lives. */
export const penLock = "autodidact-pen";

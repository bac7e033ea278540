/**
 * What the loop needs from the world outside it. The loop is pure: it sees these ports and src/base only,
 * so the same code runs in the page's workers, headless in Node, and in tests with fakes.
 */
import type { BufferItem } from "../base/buffer.ts";
import type { Contour } from "../base/contour.ts";
import type { DeviceSummary, LoopEvent, Progress } from "../base/events.ts";
import type {
  Candidate,
  HeldOut,
  JudgedTask,
  Pair,
  PairStatus,
  Picture,
  Scores,
  StepMetrics,
  Task,
  WorldName,
} from "../base/records.ts";

/** The policy and its trainer on the GPU. Adapters are named by the SHA-256 of their PEFT bytes; "base" means LoRA off. */
export interface EnginePort {
  readonly device: DeviceSummary;
  /** SHA-256 of the base weights. */
  readonly base: string;
  /**
   * K sampled answers a task under adapter `adapter`; the result depends on (seed, task index, sample index) only.
   * `onAnswers` may be told, now and then, those of each task that have ended so far.
   */
  sample(
    tasks: readonly Task[],
    options: {
      adapter: string;
      k: number;
      temperature: number;
      topK: number;
      topP: number;
      maxNewTokens: number;
      seed: number;
      onAnswers?: (answers: readonly (readonly Candidate[])[]) => void;
    },
  ): Promise<readonly (readonly Candidate[])[]>;
  /** One greedy answer a task. */
  greedy(tasks: readonly Task[], options: { adapter: string; maxNewTokens: number }): Promise<readonly Candidate[]>;
  /** Sum of log-probabilities of each answer given its task. */
  logprobs(
    items: readonly { task: Task; tokens: readonly number[] }[],
    options: { adapter: string },
  ): Promise<readonly number[]>;
  /** Starts a candidate from `adapter` ("base": fresh LoRA, B = 0, seeded A) with its optimizer moments. */
  begin(options: { adapter: string; seed: number; loraR: number; loraAlpha: number }): Promise<void>;
  /** Optimizer steps on the candidate, one per batch. Stops at the first non-finite loss and says where. */
  train(options: {
    batches: readonly TrainBatch[];
    contour: Contour["train"];
    learningRate: number;
    onStep?: (metrics: StepMetrics) => void;
  }): Promise<{ steps: readonly StepMetrics[]; diverged: { step: number; detail: string } | null }>;
  /** The candidate's adapter and optimizer state as bytes, content-addressed. Makes `hash` usable as an adapter name. */
  snapshot(): Promise<AdapterSnapshot>;
  /** Loads bytes of an earlier snapshot, so that `hash` is usable as an adapter name. Throws if the hash does not match. */
  load(snapshot: AdapterSnapshot): Promise<void>;
}

export interface TrainBatch {
  readonly pairs: readonly Pair[];
  /** Replayed examples of world A. */
  readonly replay: readonly { readonly task: Task; readonly answer: readonly number[] }[];
}

/** `adapter`: PEFT adapter_model.safetensors; `config`: adapter_config.json; `optimizer`: moments and step count (safetensors). */
export interface AdapterSnapshot {
  readonly hash: string;
  readonly adapter: Uint8Array;
  readonly config: string;
  readonly optimizer: Uint8Array;
}

/** Source of fresh tasks: pixels and prompts, no truth. The same (seed, round) gives the same tasks. */
export interface SourcePort {
  propose(options: { world: WorldName; round: number; count: number; seed: number }): Promise<readonly Task[]>;
  /** Labelled pre-training examples of world A (part of the base's own training data). */
  replayA(options: {
    count: number;
    seed: number;
    round: number;
  }): Promise<readonly { task: Task; answer: readonly number[] }[]>;
}

/** Scores candidates and marks which of them parse; one implementation composes all judges of the contour. */
export interface JudgePort {
  score(
    tasks: readonly { task: Task; candidates: readonly Candidate[] }[],
    options: { contour: Contour; seed: number; round: number },
  ): Promise<readonly JudgedTask[]>;
}

/** The gate's sealed generator: the only holder of truth besides the evaluator. */
export interface SealedPort {
  /** Items `from`…`from + count − 1` of the stream that `key` opens. */
  items(options: { key: string; world: WorldName; from: number; count: number }): Promise<readonly Task[]>;
  /** Was the greedy answer to item `index` right? */
  grade(options: { key: string; world: WorldName; index: number; answer: Candidate }): boolean;
  /** A new key: from (seed, gate index) headless, from system entropy in the page. Hex, 32 bytes. */
  newKey(options: { seed: number; gate: number }): string;
}

/** The fixed held-out evaluation that reports use; never read by a decision. */
export interface EvaluatorPort {
  evaluate(options: {
    engine: EnginePort;
    adapter: string;
    world: WorldName;
    items: number;
    seed: number;
  }): Promise<HeldOut>;
}

export type Phase = "collect" | "train" | "gate" | "evaluate" | "finished";

/** The adapter under training and what it has gone through since it left the incumbent. */
export interface CandidateState {
  readonly adapter: string;
  /** Rounds that trained it. */
  readonly rounds: readonly number[];
  /** Times that the gate could not decide. */
  readonly deferrals: number;
  /** Share of samples that ended by themselves when it started, the monitor's baseline. */
  readonly finishedShare?: number;
  /** What the drift monitor saw; an alarmed candidate stands at the gate at once and may not be deferred. */
  readonly alarm?: string;
}

/** Everything needed to go on after a reload; committed with each transaction. */
export interface LoopState {
  readonly run: string;
  readonly seed: number;
  readonly contour: Contour;
  readonly round: number;
  readonly phase: Phase;
  readonly seq: number;
  readonly incumbent: string;
  /** Best accepted adapter so far by held-out gate evidence ("base" at the start). */
  readonly best: string;
  /** Adapter under training, null when the next round starts a candidate from the incumbent. */
  readonly candidate: CandidateState | null;
  readonly gate: {
    readonly index: number;
    readonly key: string;
    readonly keyHash: string;
    readonly used: number;
    readonly sinceGain: number;
  };
  readonly finished: string | null;
}

/** One atomic change of the store: all of it or nothing, journal line included. */
export interface Commit {
  readonly state: LoopState;
  readonly events: readonly LoopEvent[];
  readonly putPairs: readonly Pair[];
  readonly setStatus: readonly { readonly id: string; readonly status: PairStatus }[];
  readonly putAdapters: readonly AdapterSnapshot[];
  /** Ids of pairs to delete: exactly those that the commit's events "deleted" name, in their order. */
  readonly removePairs?: readonly string[];
}

/** Memory of one run. `commit` appends the journal lines of its events in the same transaction. */
export interface StorePort {
  state(): Promise<LoopState | null>;
  commit(change: Commit): Promise<void>;
  pairs(query: { status?: PairStatus; round?: number; limit?: number }): Promise<readonly Pair[]>;
  /** Is there already a pair with this id (hash of picture, prompt, chosen)? */
  hasPair(id: string): Promise<boolean>;
  /** The pairs of these ids, in their order. Throws if one is not there. */
  pairsById(ids: readonly string[]): Promise<readonly Pair[]>;
  /** Every pair without its pictures, in the order in which they came; none unless the pairs take more than `over` bytes. */
  bufferItems(query: { over: number }): Promise<readonly BufferItem[]>;
  adapter(hash: string): Promise<AdapterSnapshot | null>;
  /** Committed events with seq ≥ since, in order. */
  events(query: { since: number }): Promise<readonly LoopEvent[]>;
}

export interface Ports {
  readonly engine: EnginePort;
  readonly source: SourcePort;
  readonly judge: JudgePort;
  readonly sealed: SealedPort;
  readonly evaluator: EvaluatorPort;
  readonly store: StorePort;
  readonly now: () => number;
  readonly progress: (progress: Progress) => void;
  /** Called after an event is committed, in order. */
  readonly emit: (event: LoopEvent) => void;
}

export type { Picture, Scores };

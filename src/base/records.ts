/**
 * The data that flows through one round, in the order in which it is made:
 * Task → Candidate → JudgedTask → Pair → TrainReport → GateReport.
 * Nothing here knows the truth about a picture: pixels, tokens and scores only.
 */

/** An RGB picture, row-major, channel last, one byte a channel: rgb.length = size × size × 3. */
export interface Picture {
  readonly size: number;
  readonly rgb: Uint8Array;
}

/** A: the world of pre-training. B: the shifted world to adapt to. C: what a visitor draws. */
export type WorldName = "A" | "B" | "C";

/** What is asked: see src/world/questions.ts for the words of each kind. */
export type TaskKind = "describe" | "count" | "exists" | "left-of" | "sum" | "difference";

/** A question that the policy proposed to itself. `id` is the hash of picture and prompt: no seed, no scene. */
export interface Task {
  readonly id: string;
  readonly kind: TaskKind;
  /** Token ids of the prompt, without the image tokens. */
  readonly prompt: readonly number[];
  readonly picture: Picture | null;
  /** Where it came from: "camera:B", "visitor", "replay:A", … */
  readonly source: string;
  readonly round: number;
}

/** One sampled answer. `tokens` ends with EOS if the model stopped by itself. */
export interface Candidate {
  readonly tokens: readonly number[];
  readonly text: string;
  /** Sum of natural log-probabilities of `tokens` under the sampling policy at temperature 1. */
  readonly logprob: number;
  readonly finished: boolean;
}

/** Names of judges; every score is stored under its judge. Higher is better; an unparsable answer scores −1, except by majority and random. */
export type JudgeName = "pixels" | "onnx-image" | "onnx-text" | "self" | "majority" | "random" | "gold" | "visitor";

export type Scores = Readonly<Partial<Record<JudgeName, number>>>;

export interface JudgedCandidate extends Candidate {
  readonly scores: Scores;
  /** The answer redrawn by the renderer, null if it does not parse. */
  readonly redrawn: Picture | null;
  /** Can the answer be understood, whoever judges? Every judge port says so, and only an answer of which it says true may be chosen. */
  readonly parses?: boolean;
}

export interface JudgedTask {
  readonly task: Task;
  readonly candidates: readonly JudgedCandidate[];
}

/** Why a task yielded no pair. Refusals are recorded too. */
export type FilterReason =
  | "syntax" // no candidate parses
  | "no-contrast" // all candidates are the same or score the same
  | "margin" // best and worst are too close
  | "judges-disagree" // the judges that must agree order the two differently
  | "near-duplicate" // the same picture and chosen answer already stand in the buffer
  | "entropy-low"
  | "entropy-high";

export type FilterVerdict =
  | { readonly kind: "kept"; readonly chosen: number; readonly rejected: number; readonly margin: number }
  | { readonly kind: "dropped"; readonly reason: FilterReason; readonly detail: string };

/** Life of a pair: fresh → trained (in a candidate) → accepted | quarantined (its candidate was rejected). */
export type PairStatus = "fresh" | "trained" | "accepted" | "quarantined";

/** A preference pair of the replay buffer; field names follow TRL where TRL has one. */
export interface Pair {
  readonly id: string;
  readonly task: Task;
  readonly chosen: JudgedCandidate;
  readonly rejected: JudgedCandidate;
  /** Score difference of the deciding judge, ≥ the filter's minimum. */
  readonly margin: number;
  /** log π₀ of chosen and rejected, summed over tokens, and the hash of the adapter that is π₀ ("base" for none). */
  readonly reference: { readonly adapter: string; readonly chosen: number; readonly rejected: number };
  readonly status: PairStatus;
  readonly round: number;
  readonly seed: number;
}

/** One optimizer step, under TRL's names. */
export interface StepMetrics {
  readonly step: number;
  readonly loss: number;
  readonly "rewards/chosen": number;
  readonly "rewards/rejected": number;
  readonly "rewards/accuracies": number;
  readonly "rewards/margins": number;
  readonly "logps/chosen": number;
  readonly "logps/rejected": number;
  readonly grad_norm: number;
  readonly learning_rate: number;
}

export type TrainOutcome =
  | { readonly kind: "trained"; readonly steps: readonly StepMetrics[]; readonly adapter: string }
  | { readonly kind: "skipped"; readonly reason: "too-few-pairs"; readonly detail: string }
  | { readonly kind: "diverged"; readonly step: number; readonly detail: string };

/** Share of right answers with a 95% Wilson interval. */
export interface Score {
  readonly n: number;
  readonly correct: number;
  readonly value: number;
  readonly ci: readonly [number, number];
}

/** Held-out result of one adapter in one world. `value` of greedy/sampled is the macro mean over `perKind`. */
export interface HeldOut {
  readonly greedy: Score;
  readonly sampled: Score;
  readonly n: number;
  readonly ci: readonly [number, number];
  readonly perKind: Readonly<Record<string, Score>>;
}

export type GateTestName = "incumbent-B" | "best-B" | "base-A";

/** One non-inferiority test: is E[D] ≤ −epsilon refuted? (ALGORITHM: docs/GATE.md) */
export interface GateTest {
  readonly name: GateTestName;
  readonly against: string;
  readonly n: number;
  readonly wins: number;
  readonly losses: number;
  /** Mean paired difference (wins − losses) / n. */
  readonly difference: number;
  readonly epsilon: number;
  /** e-value for "not worse than −epsilon" and for "worse than −epsilon"; ≥ 1/alpha decides. */
  readonly eSafe: number;
  readonly eHarm: number;
  readonly verdict: "passed" | "failed" | "open";
}

/** Outcomes are unions with a reason, never booleans. */
export type Decision =
  | { readonly kind: "accepted"; readonly adapter: string; readonly superior: boolean; readonly detail: string }
  | {
      readonly kind: "rejected";
      readonly reason:
        | "worse-than-incumbent"
        | "worse-than-best"
        | "forgot-base-world"
        | "drift"
        | "diverged"
        | "undecided-too-often";
      readonly detail: string;
    }
  | { readonly kind: "deferred"; readonly items: number; readonly detail: string };

export interface GateReport {
  readonly decision: Decision;
  readonly tests: readonly GateTest[];
  /** Labelled items used by this gate (they decide acceptance only). */
  readonly items: number;
  readonly candidate: string;
  readonly incumbent: string;
  /** SHA-256 of the gate's key, journalled before training; the key itself after the decision. */
  readonly keyHash: string;
  readonly key: string;
  readonly alpha: number;
}

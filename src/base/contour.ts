import type { JudgeName, WorldName } from "./records.ts";

/** Which judges decide. Every judge's score is stored, whoever decides. */
export type JudgeRule = "default" | "pixels" | "onnx" | "self" | "majority" | "random" | "gold";

/** Under each rule the first judge picks the two answers and gives the margin; the others must order them alike. */
export const DECIDING_JUDGES: Readonly<Record<JudgeRule, readonly [JudgeName, ...JudgeName[]]>> = {
  default: ["pixels", "onnx-image"],
  pixels: ["pixels"],
  onnx: ["onnx-image"],
  self: ["self"],
  majority: ["majority"],
  random: ["random"],
  gold: ["gold"],
};

/** The judges whose scores a contour needs: those that decide and those that it records. */
export function judgesOf({ judge }: Pick<Contour, "judge">): ReadonlySet<JudgeName> {
  return new Set([...DECIDING_JUDGES[judge.rule], ...judge.record]);
}

/** What the replay buffer keeps (src/loop/buffer.ts). */
export interface BufferSettings {
  /** Bytes that pairs may take; beyond them pairs are deleted, each with its tombstone in the journal. 0: no bound. */
  readonly capacity: number;
  /** Share of the capacity that is kept for a uniform sample of all accepted pairs and visitors' corrections. */
  readonly reservoir: number;
  /** Weights of what makes a pair worth keeping, and the rounds after which its age counts half. */
  readonly priority: {
    readonly margin: number;
    readonly age: number;
    readonly novelty: number;
    readonly halfLife: number;
  };
}

/** One document that describes a whole loop; the page's controls and the CLI's flags edit this and nothing else. */
export interface Contour {
  readonly name: string;
  /** World of fresh pictures. */
  readonly world: WorldName;
  readonly rounds: number;
  readonly propose: { readonly tasks: number };
  readonly sample: {
    readonly k: number;
    readonly temperature: number;
    readonly topK: number; // 0 = off
    readonly topP: number; // 1 = off
    readonly maxNewTokens: number;
  };
  readonly judge: { readonly rule: JudgeRule; readonly record: readonly JudgeName[] };
  readonly filter: {
    readonly minMargin: number;
    /** Keep tasks whose answer-cluster entropy (nats) lies within [min, max]. */
    readonly entropy: readonly [number, number];
    readonly duplicates: boolean;
  };
  readonly train: {
    readonly method: "dpo" | "sft"; // "sft" with pairs ignored: plain supervised steps on replayed A
    readonly lossType: "sigmoid" | "ipo" | "hinge" | "robust" | "sigmoid_norm";
    readonly beta: number;
    /** RPO: weight of −log π(chosen)/|chosen|. */
    readonly sftWeight: number;
    readonly learningRate: number;
    /** Factor on the learning rate per round (1 = constant). */
    readonly learningRateDecay: number;
    readonly weightDecay: number;
    readonly maxGradNorm: number;
    readonly batchSize: number;
    readonly minPairs: number;
    readonly loraR: number;
    readonly loraAlpha: number;
    /** Pre-training examples of world A replayed at each step, and the weight of their mean log-likelihood. */
    readonly replayA: { readonly perStep: number; readonly weight: number };
    /** Accepted pairs of earlier rounds mixed in, as a share of the fresh ones, drawn by their priority in the buffer. */
    readonly replayPairs: number;
  };
  /** Absent in runs that were stored before the buffer had settings: those keep every pair. */
  readonly buffer?: BufferSettings;
  readonly gate: {
    readonly on: boolean;
    readonly period: number;
    readonly alpha: number;
    readonly epsilonA: number;
    readonly epsilonB: number;
    readonly batch: number;
    readonly maxItems: number;
    readonly maxDeferrals: number;
  };
  readonly evaluate: { readonly every: number; readonly items: number; readonly worlds: readonly WorldName[] };
  /** "No more gain": stop after this many gates in a row without a better best (0 = never). */
  readonly stop: { readonly patience: number };
}

/** Defaults measured in docs/WORLD.md. */
export const defaultContour: Contour = {
  name: "describe-redraw-compare",
  world: "B",
  rounds: 40,
  propose: { tasks: 64 },
  sample: { k: 12, temperature: 1.2, topK: 0, topP: 1, maxNewTokens: 26 },
  judge: { rule: "default", record: ["pixels", "onnx-image", "onnx-text", "self"] },
  filter: { minMargin: 0.02, entropy: [0, 10], duplicates: true },
  train: {
    method: "dpo",
    lossType: "sigmoid",
    beta: 0.1,
    sftWeight: 0.2,
    learningRate: 1e-3,
    learningRateDecay: 0.97,
    weightDecay: 0,
    maxGradNorm: 1,
    batchSize: 16,
    minPairs: 16,
    loraR: 8,
    loraAlpha: 16,
    replayA: { perStep: 32, weight: 4 },
    replayPairs: 0,
  },
  buffer: { capacity: 2 ** 28, reservoir: 0.5, priority: { margin: 1, age: 1, novelty: 1, halfLife: 8 } },
  gate: {
    on: true,
    period: 4,
    alpha: 0.05,
    epsilonA: 0.03,
    epsilonB: 0.03,
    batch: 50,
    maxItems: 2000,
    maxDeferrals: 2,
  },
  evaluate: { every: 4, items: 500, worlds: ["A", "B"] },
  stop: { patience: 4 },
};

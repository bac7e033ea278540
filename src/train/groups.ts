/**
 * What one step learns from: groups of packed rows, each kind with its own loss. A kind knows how to trace its loss into
 * a graph, how to write a group's numbers into the plan, and what the numbers that come back mean.
 */
import type { Tensor } from "../gpu/graph.ts";
import type { Plan } from "../gpu/plan.ts";
import type { PackedRow, PackShape } from "../model/packing.ts";
import type { SequencePart } from "../model/sequences.ts";
import type { OpContext } from "../ops/context.ts";
import { grpoLoss } from "../ops/grpo.ts";
import { ktoDivergence, ktoLoss } from "../ops/kto.ts";
import { LOSS_TYPES, type LossType, type PreferenceInputs, preferenceLoss } from "../ops/preference.ts";

/**
 * Rows whose first `pairs` have two answers, chosen and rejected, with `reference` log-probs for each answer in order;
 * `sft[s]` is the weight of −log π(answer s) summed over its tokens, `weight` that of each pair's loss.
 */
export interface PreferenceGroup {
  readonly kind?: "preference";
  readonly rows: readonly PackedRow[];
  readonly pairs: number;
  readonly reference: readonly number[];
  readonly sft: readonly number[];
  /** By default 1/pairs; another one where the pairs of a batch lie in several groups. */
  readonly weight?: number;
}

/** KTO: every answer is desirable (1) or not (−1). `weight`: that of the label over the answers of the batch. */
export interface KtoGroup {
  readonly kind: "kto";
  readonly rows: readonly PackedRow[];
  readonly label: readonly (1 | -1)[];
  readonly reference: readonly number[];
  readonly weight: readonly number[];
  readonly beta: number;
}

/**
 * KTO's estimate of KL(π‖π₀), for the KTO groups behind it: prompts with answers to other prompts, forward only.
 * `weight`: 1 over the number of such answers in the batch.
 */
export interface KtoDivergenceGroup {
  readonly kind: "kto-divergence";
  readonly rows: readonly PackedRow[];
  readonly reference: readonly number[];
  readonly weight: number;
}

/** GRPO: answers with advantages, and the weight of a token of each (see `tokenWeights`). */
export interface GrpoGroup {
  readonly kind: "grpo";
  readonly rows: readonly PackedRow[];
  readonly advantage: readonly number[];
  readonly weight: readonly number[];
  /** Per answer, log-probs of its tokens under the policy that sampled them; null: this policy, as it stands. */
  readonly old: readonly (readonly number[])[] | null;
  /** The same under the reference; null only if `beta` is 0. */
  readonly reference: readonly (readonly number[])[] | null;
  /** Weight of the divergence from the reference. */
  readonly beta: number;
  /** The ratio is clipped to [1 − low, 1 + high]. */
  readonly low: number;
  readonly high: number;
}

export type Group = PreferenceGroup | KtoGroup | KtoDivergenceGroup | GrpoGroup;

/** The loss of pairs. */
export interface LossSettings {
  readonly type: LossType;
  readonly beta: number;
  /** ε of the robust loss: the known share of flipped preferences. */
  readonly labelSmoothing: number;
}

/** What a plan must be built for; groups of equal parts share one. */
export interface PartShape {
  readonly kind: "preference" | "kto" | "kto-divergence" | "grpo";
  readonly shape: PackShape;
  readonly pairs: number;
}

/** What one group gave. */
export interface GroupResult {
  readonly loss: number;
  /** log π of every answer. */
  readonly sums: readonly number[];
  /** Per pair: loss, β-scaled reward of chosen and rejected. */
  readonly pairs: readonly { loss: number; chosen: number; rejected: number }[];
  /** KTO, per answer: loss, β-scaled reward. */
  readonly answers: readonly { loss: number; reward: number }[];
  /** KTO: the batch's estimate of KL(π‖π₀), not yet clamped at 0. */
  readonly divergence: number | null;
  /** GRPO, sums over tokens: k3 estimate of the divergence, clipped ones, all. */
  readonly tokens: { readonly kl: number; readonly clipped: number; readonly count: number };
}

/** One group's place in a plan. */
export interface Part {
  readonly shape: PackShape;
  readonly outputs: readonly Tensor[];
  write(plan: Plan, group: Group, settings: LossSettings): void;
  result(group: Group, read: readonly Float32Array[]): GroupResult;
}

export const partShape = (group: Group, shape: PackShape): PartShape => ({
  kind: group.kind ?? "preference",
  shape,
  pairs: group.kind === undefined || group.kind === "preference" ? group.pairs : 0,
});

/** Where KTO's divergence is gathered by the groups that estimate it, for those that use it. */
export interface Divergence {
  z: Tensor | null;
}

/** Traces the loss of one group over its logp: (M), and its gradient into dlogp: (M). */
export function tracePart(
  ctx: OpContext,
  { kind, pairs }: PartShape,
  inputs: SequencePart,
  { logp, dlogp }: Logprobs,
  divergence: Divergence,
): Part {
  if (kind === "kto-divergence") return traceDivergence(ctx, inputs, logp, divergence);
  if (kind === "kto") return traceKto(ctx, inputs, { logp, dlogp }, divergence);
  if (kind === "grpo") return traceGrpo(ctx, inputs, { logp, dlogp });
  return tracePreference(ctx, inputs, { logp, dlogp }, pairs);
}

/** Log-probabilities of a group's tokens, and where their gradient goes: (M) each. */
interface Logprobs {
  readonly logp: Tensor;
  readonly dlogp: Tensor;
}

/** Whether the loss of such a group has a gradient. */
export const learns = ({ kind }: PartShape): boolean => kind !== "kto-divergence";

const NOTHING = { pairs: [], answers: [], divergence: null, tokens: { kl: 0, clipped: 0, count: 0 } };

const answersOf = (group: Group): number => group.rows.reduce((n, row) => n + row.answers.length, 0);

const firstOf = (values: Float32Array | undefined, n: number): number[] =>
  Array.from((values as Float32Array).subarray(0, n));

function padded(values: readonly number[], size: number): Float32Array {
  const out = new Float32Array(size);
  out.set(values);
  return out;
}

const pairWeight = ({ pairs, weight }: PreferenceGroup): number => weight ?? 1 / Math.max(1, pairs);

function tracePreference(ctx: OpContext, inputs: SequencePart, { logp, dlogp }: Logprobs, pairs: number): Part {
  const { g } = ctx;
  const { S } = inputs.shape;
  const places = Math.max(1, pairs);
  const t: PreferenceInputs = {
    span: inputs.span,
    owner: inputs.owner,
    reference: g.input("reference", [S]),
    weight: g.input("weight", [places]),
    sft: g.input("sft", [S]),
    hyper: g.input("loss", [4]),
  };
  const { sums, pair } = preferenceLoss(ctx, logp, dlogp, pairs, t);
  return {
    shape: inputs.shape,
    outputs: [sums, pair],
    write(plan, group, { type, beta, labelSmoothing }) {
      const of = group as PreferenceGroup;
      plan.write(t.reference, padded(of.reference, S));
      plan.write(t.weight, padded(Array(pairs).fill(pairWeight(of)), places));
      plan.write(t.sft, padded(of.sft, S));
      plan.write(t.hyper, new Float32Array([beta, labelSmoothing, LOSS_TYPES.indexOf(type), 0]));
    },
    result(group, read) {
      const of = group as PreferenceGroup;
      const own = firstOf(read[0], answersOf(of));
      let loss = 0;
      const found = Array.from({ length: pairs }, (_, p) => {
        const [value, chosen, rejected] = firstOf(read[1]?.subarray(4 * p), 3) as [number, number, number];
        loss += value * pairWeight(of);
        return { loss: value, chosen, rejected };
      });
      for (const [s, weight] of of.sft.entries()) loss -= weight * (own[s] as number);
      return { ...NOTHING, loss, sums: own, pairs: found };
    },
  };
}

function traceDivergence(ctx: OpContext, inputs: SequencePart, logp: Tensor, divergence: Divergence): Part {
  const { g } = ctx;
  const { S } = inputs.shape;
  const t = { span: inputs.span, reference: g.input("reference", [S]), weight: g.input("weight", [S]) };
  const first = divergence.z === null;
  const z = divergence.z ?? g.output("z", [1]);
  divergence.z = z;
  const sums = ktoDivergence(ctx, logp, t, z, first);
  return {
    shape: inputs.shape,
    outputs: [sums],
    write(plan, group) {
      const of = group as KtoDivergenceGroup;
      plan.write(t.reference, padded(of.reference, S));
      plan.write(t.weight, padded(Array(answersOf(of)).fill(of.weight), S));
    },
    result: (group, read) => ({ ...NOTHING, loss: 0, sums: firstOf(read[0], answersOf(group)) }),
  };
}

function traceKto(ctx: OpContext, inputs: SequencePart, { logp, dlogp }: Logprobs, divergence: Divergence): Part {
  const { g } = ctx;
  const { S } = inputs.shape;
  const t = {
    span: inputs.span,
    owner: inputs.owner,
    reference: g.input("reference", [S]),
    label: g.input("label", [S]),
    weight: g.input("weight", [S]),
    hyper: g.input("loss", [1]),
  };
  divergence.z ??= g.input("z", [1]); // nobody estimates it: 0
  const { z } = divergence;
  const { sums, each } = ktoLoss(ctx, logp, dlogp, t, z);
  return {
    shape: inputs.shape,
    outputs: [sums, each, z],
    write(plan, group) {
      const of = group as KtoGroup;
      plan.write(t.reference, padded(of.reference, S));
      plan.write(t.label, padded(of.label, S));
      plan.write(t.weight, padded(of.weight, S));
      plan.write(t.hyper, new Float32Array([of.beta]));
    },
    result(group, read) {
      const of = group as KtoGroup;
      const answers = of.label.map((_, s) => {
        const [loss, reward] = firstOf(read[1]?.subarray(2 * s), 2) as [number, number];
        return { loss, reward };
      });
      return {
        ...NOTHING,
        loss: answers.reduce((sum, { loss }, s) => sum + (of.weight[s] as number) * loss, 0),
        sums: firstOf(read[0], of.label.length),
        answers,
        divergence: (read[2] as Float32Array)[0] as number,
      };
    },
  };
}

function traceGrpo(ctx: OpContext, inputs: SequencePart, { logp, dlogp }: Logprobs): Part {
  const { g } = ctx;
  const { M } = inputs.shape;
  const t = {
    old: g.input("old", [M]),
    reference: g.input("reference", [M]),
    term: g.input("term", [M, 2]),
    hyper: g.input("loss", [4]),
  };
  const each = grpoLoss(ctx, logp, dlogp, t);
  return {
    shape: inputs.shape,
    outputs: [each],
    write(plan, group) {
      const of = group as GrpoGroup;
      if (of.beta !== 0 && of.reference === null) throw new Error("GRPO with beta > 0 needs the reference's log-probs");
      const term = new Float32Array(2 * M);
      let [s, at] = [0, 0];
      for (const row of of.rows)
        for (const { length } of row.answers) {
          for (let n = 0; n < length; n++, at += 2) {
            term[at] = of.advantage[s] as number;
            term[at + 1] = of.weight[s] as number;
          }
          s++;
        }
      plan.write(t.old, padded(of.old?.flat() ?? [], M));
      plan.write(t.reference, padded(of.reference?.flat() ?? [], M));
      plan.write(t.term, term);
      plan.write(t.hyper, new Float32Array([of.beta, of.low, of.high, of.old === null ? 1 : 0]));
    },
    result(group, read) {
      const values = read[0] as Float32Array;
      let count = 0;
      const total = (column: number, from = 0) => {
        let sum = 0;
        for (let m = from; m < count; m++) sum += values[4 * m + column] as number;
        return sum;
      };
      const sums = group.rows.flatMap(({ answers }) =>
        answers.map(({ length }) => {
          count += length;
          return total(3, count - length);
        }),
      );
      return {
        ...NOTHING,
        loss: total(0),
        sums,
        tokens: { kl: total(1), clipped: total(2), count },
      };
    },
  };
}

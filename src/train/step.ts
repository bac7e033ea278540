/**
 * One optimizer step as one static plan: packed rows → log-probs → preference and likelihood losses → gradients → AdamW.
 * Trains LoRA factors of a frozen model, or (pre-training) the model itself.
 */
import { Graph, type Tensor } from "../gpu/graph.ts";
import { compile, type Pace, type Plan } from "../gpu/plan.ts";
import type { ModelConfig } from "../model/config.ts";
import { type PackedRow, type PackShape, pack, shapeFor } from "../model/packing.ts";
import { type SequenceInputs, sequenceInputs, sequenceLogprobs, writeSequences } from "../model/sequences.ts";
import type { FlatTensors, LoraWeights, ModelWeights, Runtime } from "../model/weights.ts";
import { ADAMW_HYPER, adamw } from "../ops/adamw.ts";
import { LOSS_TYPES, type LossType, type PreferenceInputs, preferenceLoss } from "../ops/preference.ts";
import { ropeTable } from "../ops/rope.ts";

/** Parameters, their gradients and AdamW's moments, all of one layout. */
export interface Trainable {
  readonly lora: LoraWeights | null; // null: the model itself
  readonly values: FlatTensors;
  readonly grads: FlatTensors;
  readonly m: FlatTensors;
  readonly v: FlatTensors;
}

export interface Hyper {
  readonly learningRate: number;
  readonly beta1: number;
  readonly beta2: number;
  readonly eps: number;
  readonly weightDecay: number;
  /** 0: the gradient is never clipped. */
  readonly maxGradNorm: number;
  /** 1 for the first step. */
  readonly step: number;
}

/**
 * Rows of one group. The first `pairs` rows have two answers, chosen and rejected, with `reference` log-probs for each
 * answer in order; `sft[s]` is the weight of −log π(answer s) summed over its tokens, `weight` that of each pair's loss.
 */
export interface Group {
  readonly rows: readonly PackedRow[];
  readonly pairs: number;
  readonly reference: readonly number[];
  readonly sft: readonly number[];
  /** By default 1/pairs; another one where the pairs of a batch lie in several groups. */
  readonly weight?: number;
}

const pairWeight = ({ pairs, weight }: Group): number => weight ?? 1 / Math.max(1, pairs);

export interface LossSettings {
  readonly type: LossType;
  readonly beta: number;
  /** ε of the robust loss: the known share of flipped preferences. */
  readonly labelSmoothing: number;
}

export interface StepResult {
  /** Total loss of the step, recomputed from the parts in f64. */
  readonly loss: number;
  readonly gradNorm: number;
  /** Per pair: loss, β-scaled reward of chosen and rejected. */
  readonly pairs: readonly { loss: number; chosen: number; rejected: number }[];
  /** log π of every answer, group by group. */
  readonly sums: readonly (readonly number[])[];
  readonly finite: boolean;
}

interface GroupPlan {
  readonly inputs: SequenceInputs;
  readonly preference: PreferenceInputs;
  readonly pairs: number;
  readonly sums: Tensor;
  readonly pair: Tensor;
}

const PLANS_KEPT = 24;

/** Keeps one plan per combination of shapes; the least recently used goes when there are too many. */
export class Trainer {
  private readonly plans = new Map<
    string,
    Promise<{ plan: Plan; groups: GroupPlan[]; hyper: Tensor; square: Tensor }>
  >();
  private readonly runtime: Runtime;
  private readonly weights: ModelWeights;
  private readonly trainable: Trainable;
  private readonly pace: Pace | undefined;

  constructor(runtime: Runtime, weights: ModelWeights, trainable: Trainable, pace?: Pace) {
    this.runtime = runtime;
    this.weights = weights;
    this.trainable = trainable;
    this.pace = pace;
  }

  private build(shapes: readonly { shape: PackShape; pairs: number }[]) {
    const { runtime, weights, trainable } = this;
    const { config } = weights;
    const g = new Graph();
    const ctx = { g, variants: runtime.variants };
    if (!trainable.lora) weights.appendRefresh(ctx);
    const tensors = weights.bind(g, trainable.lora ? { lora: trainable.lora } : { grads: trainable.grads });
    const positions = Math.min(config.max_position_embeddings, Math.max(...shapes.map(({ shape }) => shape.T)));
    const rope = ropeTable(positions, config.head_dim, config.rope_theta);
    const table = g.input("rope", [positions, 2, config.head_dim / 2]);
    const groups = shapes.map(({ shape, pairs }): GroupPlan => {
      const inputs = sequenceInputs(g, config, shape);
      const preference: PreferenceInputs = {
        span: inputs.span,
        owner: inputs.owner,
        reference: g.input("reference", [shape.S]),
        weight: g.input("weight", [Math.max(1, pairs)]),
        sft: g.input("sft", [shape.S]),
        hyper: g.input("loss", [4]),
      };
      const logp = sequenceLogprobs(ctx, config, tensors, inputs, table);
      const { sums, pair } = preferenceLoss(ctx, logp, pairs, preference);
      return { inputs, preference, pairs, sums, pair };
    });
    const hyper = g.input("hyper", [ADAMW_HYPER]);
    const square = adamw(
      ctx,
      trainable.values.bindAll(g, "values"),
      trainable.grads.bindAll(g, "grads"),
      trainable.m.bindAll(g, "m"),
      trainable.v.bindAll(g, "v"),
      hyper,
    );
    return compile("train step", g, runtime.device, runtime.pipelines).then((plan) => {
      plan.write(table, rope);
      return { plan, groups, hyper, square };
    });
  }

  /** Runs one step. A result that is not finite has changed nothing: neither weights nor moments. */
  async step(
    groups: readonly Group[],
    settings: LossSettings,
    hyper: Hyper,
    minimum: { B?: number } = {},
  ): Promise<StepResult> {
    const { config } = this.weights;
    const shapes = groups.map((group) => ({ shape: shapeFor(config, group.rows, minimum), pairs: group.pairs }));
    const key = JSON.stringify(shapes);
    let built = this.plans.get(key);
    if (built) this.plans.delete(key);
    built ??= this.build(shapes);
    this.plans.set(key, built);
    if (this.plans.size > PLANS_KEPT) {
      const [oldest] = this.plans.keys();
      const old = this.plans.get(oldest as string);
      this.plans.delete(oldest as string);
      (await old)?.plan.destroy();
    }
    const { plan, groups: parts, hyper: hyperTensor, square } = await built;
    for (const [i, group] of groups.entries()) {
      const part = parts[i] as GroupPlan;
      const { shape } = part.inputs;
      writeSequences(plan, part.inputs, pack(config, group.rows, shape));
      plan.write(part.preference.reference, padded(group.reference, shape.S));
      plan.write(part.preference.weight, padded(Array(group.pairs).fill(pairWeight(group)), Math.max(1, group.pairs)));
      plan.write(part.preference.sft, padded(group.sft, shape.S));
      plan.write(
        part.preference.hyper,
        new Float32Array([settings.beta, settings.labelSmoothing, LOSS_TYPES.indexOf(settings.type), 0]),
      );
    }
    plan.write(hyperTensor, hyperWords(hyper));
    this.clearGradients();
    await plan.run(this.pace);
    const read = (await plan.read(square, ...parts.flatMap((part) => [part.sums, part.pair]))) as Float32Array[];
    return summarize(groups, read);
  }

  /** A tensor that this plan does not touch (the picture embedding in a step of text) must not keep an old gradient. */
  private clearGradients(): void {
    const encoder = this.runtime.device.createCommandEncoder({ label: "clear gradients" });
    encoder.clearBuffer(this.trainable.grads.buffer);
    this.runtime.device.queue.submit([encoder.finish()]);
  }

  async destroy(): Promise<void> {
    for (const built of this.plans.values()) (await built).plan.destroy();
    this.plans.clear();
  }
}

function summarize(groups: readonly Group[], read: readonly Float32Array[]): StepResult {
  const square = (read[0] as Float32Array)[0] as number;
  let loss = 0;
  const pairs: { loss: number; chosen: number; rejected: number }[] = [];
  const sums: number[][] = [];
  for (const [i, group] of groups.entries()) {
    const sum = read[1 + 2 * i] as Float32Array;
    const pair = read[2 + 2 * i] as Float32Array;
    for (let p = 0; p < group.pairs; p++) {
      const [own, chosen, rejected] = pair.subarray(4 * p, 4 * p + 3) as unknown as [number, number, number];
      pairs.push({ loss: own, chosen, rejected });
      loss += own * pairWeight(group);
    }
    for (const [s, weight] of group.sft.entries()) loss -= weight * (sum[s] as number);
    sums.push(
      Array.from(
        sum.subarray(
          0,
          group.rows.reduce((n, row) => n + row.answers.length, 0),
        ),
      ),
    );
  }
  return { loss, gradNorm: Math.sqrt(square), pairs, sums, finite: Number.isFinite(loss) && Number.isFinite(square) };
}

/** A norm that no finite gradient reaches; divided by 1e-6 it still is a finite f32. */
const UNCLIPPED = 1e30;

export function hyperWords({ learningRate, beta1, beta2, eps, weightDecay, maxGradNorm, step }: Hyper): Float32Array {
  return new Float32Array([
    learningRate,
    beta1,
    beta2,
    eps,
    weightDecay,
    1 - beta1 ** step,
    1 - beta2 ** step,
    maxGradNorm > 0 ? maxGradNorm : UNCLIPPED,
    1 - beta1,
    1 - beta2,
  ]);
}

function padded(values: readonly number[], size: number): Float32Array {
  const out = new Float32Array(size);
  out.set(values);
  return out;
}

/** Log-probability of every answer of every row, forward only, in batches of at most `batch` rows. */
export class Scorer {
  private readonly plans = new Map<string, Promise<{ plan: Plan; inputs: SequenceInputs; logp: Tensor }>>();
  private readonly runtime: Runtime;
  private readonly weights: ModelWeights;
  private readonly options: { readonly merged?: FlatTensors; readonly lora?: LoraWeights };
  private readonly pace: Pace | undefined;

  constructor(
    runtime: Runtime,
    weights: ModelWeights,
    options: { merged?: FlatTensors; lora?: LoraWeights },
    pace?: Pace,
  ) {
    this.runtime = runtime;
    this.weights = weights;
    this.options = options;
    this.pace = pace;
  }

  private build(config: ModelConfig, shape: PackShape) {
    const g = new Graph();
    const ctx = { g, variants: this.runtime.variants };
    const tensors = this.weights.bind(g, this.options);
    const rope = ropeTable(shape.T, config.head_dim, config.rope_theta);
    const table = g.input("rope", [shape.T, 2, config.head_dim / 2]);
    const inputs = sequenceInputs(g, config, shape);
    const logp = sequenceLogprobs(ctx, config, tensors, inputs, table);
    return compile("log-probs", g, this.runtime.device, this.runtime.pipelines).then((plan) => {
      plan.write(table, rope);
      return { plan, inputs, logp };
    });
  }

  /** Per row, per answer: log-probabilities of its tokens. */
  async tokens(rows: readonly PackedRow[], batch = 64): Promise<number[][][]> {
    const { config } = this.weights;
    const result: number[][][] = [];
    for (let from = 0; from < rows.length; from += batch) {
      const slice = rows.slice(from, from + batch);
      const shape = shapeFor(config, slice, { B: from === 0 ? slice.length : batch });
      const key = JSON.stringify(shape);
      let built = this.plans.get(key);
      if (!built) {
        if (this.plans.size >= PLANS_KEPT) await this.destroy();
        built = this.build(config, shape);
        this.plans.set(key, built);
      }
      const { plan, inputs, logp } = await built;
      const packed = pack(config, slice, shape);
      writeSequences(plan, inputs, packed);
      await plan.run(this.pace);
      const [values] = (await plan.read(logp)) as [Float32Array];
      let s = 0;
      for (const row of slice)
        result.push(
          row.answers.map(() => {
            const tokens = Array.from(values.subarray(packed.span[2 * s], packed.span[2 * s + 1]));
            s++;
            return tokens;
          }),
        );
    }
    return result;
  }

  async destroy(): Promise<void> {
    for (const built of this.plans.values()) (await built).plan.destroy();
    this.plans.clear();
  }
}

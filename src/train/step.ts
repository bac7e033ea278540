/**
 * One optimizer step as one static plan: packed rows → log-probs → preference and likelihood losses → gradients → AdamW.
 * Trains LoRA factors of a frozen model, or (pre-training) the model itself.
 */
import { checkpoint } from "../gpu/checkpoint.ts";
import { Graph, type Tensor } from "../gpu/graph.ts";
import { layoutOf } from "../gpu/layout.ts";
import { compile, type Pace, type Plan, readbackBytes } from "../gpu/plan.ts";
import { PlanCache } from "../gpu/plan-cache.ts";
import type { ModelConfig } from "../model/config.ts";
import { type PackedAnswers, type PackedRow, type PackShape, pack, shapeFor } from "../model/packing.ts";
import {
  type SequenceInputs,
  type SequencePart,
  sequenceInputs,
  sequenceLogprobs,
  writeSequences,
} from "../model/sequences.ts";
import type { FlatTensors, LoraWeights, ModelWeights, Runtime } from "../model/weights.ts";
import { ADAMW_HYPER, adamw } from "../ops/adamw.ts";
import { ropeTable } from "../ops/rope.ts";
import {
  type Group,
  type GroupResult,
  type LossSettings,
  learns,
  type Part,
  type PartShape,
  partShape,
  tracePart,
} from "./groups.ts";

const STORAGE = 0x80 | 0x8 | 0x4; // STORAGE | COPY_DST | COPY_SRC

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

export interface StepResult {
  /** Total loss of the step, recomputed from the parts in f64. */
  readonly loss: number;
  readonly gradNorm: number;
  /** log π of every answer, group by group. */
  readonly sums: readonly (readonly number[])[];
  /** Of all groups, in order: see `GroupResult`. */
  readonly pairs: GroupResult["pairs"];
  readonly answers: GroupResult["answers"];
  readonly divergence: number | null;
  readonly tokens: GroupResult["tokens"];
  readonly finite: boolean;
}

/** A plan of gradients, or of a whole step: then with AdamW's numbers and |gradient|². */
interface Built {
  readonly plan: Plan;
  readonly joints: readonly Joint[];
  readonly parts: readonly Part[];
  readonly update: Update | null;
}

/** Groups that go through the model together. */
interface Joint {
  readonly inputs: SequenceInputs;
  readonly parts: readonly Part[];
}

interface Update {
  readonly hyper: Tensor;
  readonly square: Tensor;
}

/** What a plan does: both, or gradients that are added to those of earlier micro-batches. */
type Purpose = "step" | "gradients";

/** Bytes of the plans that are kept for shapes that may come again. */
const TRAINING_PLANS = 80e6;
const SCORING_PLANS = 32e6;

/**
 * Groups of together so many tokens go through the model at once: so few tokens fill no GPU, and half as many dispatches
 * cost half the time there. Larger ones follow each other in the same memory.
 */
const JOINT_TOKENS = 4096;

/** Groups that go through the model together, in their order; those without a gradient alone. */
function joined(shapes: readonly PartShape[]): PartShape[][] {
  const joints: { readonly shapes: PartShape[]; tokens: number; readonly learns: boolean }[] = [];
  for (const part of shapes) {
    const tokens = part.shape.B * part.shape.T;
    const last = joints.at(-1);
    if (last?.learns && learns(part) && last.tokens + tokens <= JOINT_TOKENS) {
      last.shapes.push(part);
      last.tokens += tokens;
    } else joints.push({ shapes: [part], tokens, learns: learns(part) });
  }
  return joints.map(({ shapes }) => shapes);
}

export interface TrainerOptions {
  /** Layers' activations are computed again in the backward pass: less memory for about a third more time. */
  readonly checkpointing?: boolean;
  /** Rows share sequences instead of being padded to the longest: see `shapeFor`. */
  readonly paddingFree?: boolean;
}

/**
 * Keeps one plan per combination of shapes, within a limit of memory. Steps may be called
 * without waiting for the results of earlier ones: they are submitted in order, and results come when the GPU is done.
 */
export class Trainer {
  private readonly plans = new PlanCache<Built>(TRAINING_PLANS);
  private readonly runtime: Runtime;
  private readonly weights: ModelWeights;
  private readonly trainable: Trainable;
  private readonly pace: Pace | undefined;
  private readonly checkpointing: boolean;
  private readonly paddingFree: boolean;
  /** Set by the first step that is not finite: see `adamw`. */
  private readonly halt: GPUBuffer;
  private updating: Promise<{ plan: Plan; update: Update }> | null = null;
  private submitted: Promise<unknown> = Promise.resolve();
  private inFlight = 0;

  constructor(
    runtime: Runtime,
    weights: ModelWeights,
    trainable: Trainable,
    pace?: Pace,
    { checkpointing = false, paddingFree = false }: TrainerOptions = {},
  ) {
    this.runtime = runtime;
    this.weights = weights;
    this.trainable = trainable;
    this.pace = pace;
    this.checkpointing = checkpointing;
    this.paddingFree = paddingFree;
    this.halt = runtime.device.createBuffer({ label: "halt", size: 256, usage: STORAGE });
  }

  /** Traces a plan: no GPU object is made. */
  private trace(shapes: readonly PartShape[], purpose: Purpose) {
    const { weights, trainable } = this;
    const { config } = weights;
    const g = new Graph({ accumulate: purpose === "gradients" });
    const ctx = { g, variants: this.runtime.variants };
    if (!trainable.lora) weights.appendRefresh(ctx);
    const tensors = weights.bind(g, trainable.lora ? { lora: trainable.lora } : { grads: trainable.grads });
    const positions = Math.min(config.max_position_embeddings, Math.max(...shapes.map(({ shape }) => shape.T)));
    const rope = ropeTable(positions, config.head_dim, config.rope_theta);
    const table = g.input("rope", [positions, 2, config.head_dim / 2]);
    const divergence = { z: null };
    const joints = joined(shapes).map((together): Joint => {
      const inputs = sequenceInputs(
        g,
        config,
        together.map(({ shape }) => shape),
        trainable.lora === null,
      );
      const logp = sequenceLogprobs(ctx, config, tensors, inputs, table);
      const dlogp = g.temp("dlogp", logp.shape);
      let first = 0;
      const parts = together.map((part, i): Part => {
        const { M } = part.shape;
        const own = (of: Tensor) => (together.length === 1 ? of : g.rows(of, first, M));
        const traced = tracePart(
          ctx,
          part,
          inputs.parts[i] as SequencePart,
          { logp: own(logp), dlogp: own(dlogp) },
          divergence,
        );
        first += M;
        return traced;
      });
      if (together.every(learns)) g.backward([{ of: logp, grad: dlogp }]);
      return { inputs, parts };
    });
    const parts = joints.flatMap((joint) => joint.parts);
    const update = purpose === "step" ? this.traceUpdate(g) : null;
    const traced = this.checkpointing ? checkpoint(g) : g;
    return { traced, joints, parts, update, table, rope };
  }

  private traceUpdate(g: Graph): Update {
    const { values, grads, m, v } = this.trainable;
    const hyper = g.input("hyper", [ADAMW_HYPER]);
    const square = adamw(
      { g, variants: this.runtime.variants },
      values.bindAll(g, "values"),
      grads.bindAll(g, "grads"),
      m.bindAll(g, "m"),
      v.bindAll(g, "v"),
      hyper,
      g.bound("halt", [1], this.halt, 0, { dtype: "u32" }),
    );
    return { hyper, square };
  }

  private async build(shapes: readonly PartShape[], purpose: Purpose): Promise<Built> {
    const { traced, joints, parts, update, table, rope } = this.trace(shapes, purpose);
    const plan = await compile("train step", traced, this.runtime.device, this.runtime.pipelines);
    plan.write(table, rope);
    return { plan, joints, parts, update };
  }

  private shapesOf(groups: readonly Group[], minimum: { B?: number }): PartShape[] {
    const { paddingFree } = this;
    return groups.map((group) =>
      partShape(group, shapeFor(this.weights.config, group.rows, { ...minimum, paddingFree })),
    );
  }

  private planFor(groups: readonly Group[], purpose: Purpose, minimum: { B?: number }): Promise<Built> {
    const shapes = this.shapesOf(groups, minimum);
    return this.plans.get(JSON.stringify([purpose, shapes]), () => this.build(shapes, purpose));
  }

  /** Bytes that the plan of such a step will allocate, read-back included; nothing is built. */
  planBytes(groups: readonly Group[], minimum: { B?: number } = {}): number {
    const { traced, parts, update } = this.trace(this.shapesOf(groups, minimum), "step");
    const read = [(update as Update).square, ...parts.flatMap(({ outputs }) => outputs)];
    return layoutOf("train step", traced).bytes + readbackBytes(read);
  }

  /** Runs one step. A result that is not finite has changed nothing: neither weights nor moments. */
  async step(
    groups: readonly Group[],
    settings: LossSettings,
    hyper: Hyper,
    minimum: { B?: number } = {},
  ): Promise<StepResult> {
    return this.inOrder(async (alone) => {
      const built = await this.planFor(groups, "step", minimum);
      const { plan, parts } = built;
      const { hyper: words, square } = built.update as Update;
      this.writeGroups(built, groups, settings);
      plan.write(words, hyperWords(hyper));
      const { results } = await plan.start({
        pace: this.pace,
        clear: this.freshBuffers(alone),
        read: [square, ...parts.flatMap(({ outputs }) => outputs)],
      });
      const result = results.then(([norm, ...read]) =>
        summarize(norm as Float32Array, [resultsOf(built, groups, read)]),
      );
      return { result };
    });
  }

  /**
   * One step over several micro-batches, one after the other in the same memory: the gradient of all of them together,
   * so their weights must be those of the whole batch.
   */
  async accumulate(
    batches: readonly (readonly Group[])[],
    settings: LossSettings,
    hyper: Hyper,
    minimum: { B?: number } = {},
  ): Promise<StepResult> {
    return this.inOrder(async (alone) => {
      const found: Promise<GroupResult[]>[] = [];
      for (const [i, groups] of batches.entries()) {
        const built = await this.planFor(groups, "gradients", minimum);
        this.writeGroups(built, groups, settings);
        const { results } = await built.plan.start({
          pace: this.pace,
          clear: i === 0 ? this.freshBuffers(alone) : [],
          read: built.parts.flatMap(({ outputs }) => outputs),
        });
        const read = results.then((arrays) => resultsOf(built, groups, arrays));
        read.catch(() => {}); // awaited below
        found.push(read);
      }
      this.updating ??= this.buildUpdate();
      const { plan, update } = await this.updating;
      plan.write(update.hyper, hyperWords(hyper));
      const { results } = await plan.start({ pace: this.pace, read: [update.square] });
      const result = Promise.all(found).then(async (all) => summarize((await results)[0] as Float32Array, all));
      return { result };
    });
  }

  private async buildUpdate(): Promise<{ plan: Plan; update: Update }> {
    const g = new Graph();
    const update = this.traceUpdate(g);
    return { plan: await compile("update", g, this.runtime.device, this.runtime.pipelines), update };
  }

  private writeGroups({ plan, joints }: Built, groups: readonly Group[], settings: LossSettings): void {
    const { config } = this.weights;
    let at = 0;
    for (const { inputs, parts } of joints) {
      const packed = parts.map((part) => {
        const group = groups[at++] as Group;
        part.write(plan, group, settings);
        return { rows: group.rows, shape: part.shape };
      });
      writeSequences(plan, config, inputs, pack(config, packed));
    }
  }

  /**
   * Cleared before a step: gradients, since one that this plan does not touch (the picture embedding in a step of text)
   * must not stay, and the mark of a step that was not finite, once the host has seen it.
   */
  private freshBuffers(alone: boolean): GPUBuffer[] {
    return alone ? [this.trainable.grads.buffer, this.halt] : [this.trainable.grads.buffer];
  }

  /** Submits one step behind the other and waits for its own results only. `alone`: no step is on its way. */
  private async inOrder(
    submit: (alone: boolean) => Promise<{ readonly result: Promise<StepResult> }>,
  ): Promise<StepResult> {
    const alone = this.inFlight === 0;
    this.inFlight++;
    const turn = this.submitted.then(() => submit(alone));
    this.submitted = turn.catch(() => {}); // the caller hears of it from `turn`
    try {
      return await (await turn).result;
    } finally {
      this.inFlight--;
    }
  }

  async destroy(): Promise<void> {
    await this.submitted;
    await this.plans.destroy();
    (await this.updating)?.plan.destroy();
    this.updating = null;
    this.halt.destroy();
  }
}

/** What the arrays of one run mean, group by group. */
function resultsOf(
  { parts }: Built,
  groups: readonly Group[],
  read: readonly (Float32Array | Uint32Array)[],
): GroupResult[] {
  let at = 0;
  return parts.map((part, i) => {
    const own = read.slice(at, at + part.outputs.length) as Float32Array[];
    at += part.outputs.length;
    return part.result(groups[i] as Group, own);
  });
}

function summarize(square: Float32Array, batches: readonly (readonly GroupResult[])[]): StepResult {
  const norm = square[0] as number;
  const all = batches.flat();
  const loss = all.reduce((sum, group) => sum + group.loss, 0);
  const total = (key: keyof GroupResult["tokens"]) => all.reduce((sum, group) => sum + group.tokens[key], 0);
  return {
    loss,
    gradNorm: Math.sqrt(norm),
    pairs: all.flatMap(({ pairs }) => pairs),
    sums: all.map(({ sums }) => sums),
    answers: all.flatMap(({ answers }) => answers),
    divergence: all.find(({ divergence }) => divergence !== null)?.divergence ?? null,
    tokens: { kl: total("kl"), clipped: total("clipped"), count: total("count") },
    finite: Number.isFinite(loss) && Number.isFinite(norm),
  };
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

/** Log-probability of every answer of every row, forward only, in batches of at most `batch` rows. */
export class Scorer {
  private readonly plans = new PlanCache<{ plan: Plan; inputs: SequenceInputs; logp: Tensor }>(SCORING_PLANS);
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
    const inputs = sequenceInputs(g, config, [shape], false);
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
      const { plan, inputs, logp } = await this.plans.get(JSON.stringify(shape), () => this.build(config, shape));
      const packed = pack(config, [{ rows: slice, shape }]);
      const [{ span }] = packed.answers as [PackedAnswers];
      writeSequences(plan, config, inputs, packed);
      await plan.run(this.pace);
      const [values] = (await plan.read(logp)) as [Float32Array];
      let s = 0;
      for (const row of slice)
        result.push(
          row.answers.map(() => {
            const tokens = Array.from(values.subarray(span[2 * s], span[2 * s + 1]));
            s++;
            return tokens;
          }),
        );
    }
    return result;
  }

  async destroy(): Promise<void> {
    await this.plans.destroy();
  }
}

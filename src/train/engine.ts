/** The policy on the GPU as the loop sees it: sampling, log-probs, LoRA training, snapshots by content hash. */
import type { Contour } from "../base/contour.ts";
import type { DeviceSummary } from "../base/events.ts";
import { sha256Hex } from "../base/hash.ts";
import type { Candidate, Pair, StepMetrics, Task } from "../base/records.ts";
import { rngFor } from "../base/rng.ts";
import type { Gpu } from "../gpu/device.ts";
import { Graph } from "../gpu/graph.ts";
import { compile, type Pace, type Plan } from "../gpu/plan.ts";
import {
  type ModelConfig,
  type ModelDtype,
  PROJECTIONS,
  type Projection,
  projectionPath,
  projectionShape,
} from "../model/config.ts";
import { type Generated, Generator } from "../model/generate.ts";
import type { LoadedModel } from "../model/hf.ts";
import type { PackedRow } from "../model/packing.ts";
import { type LoraAdapter, type LoraPair, loraScaling, parseAdapter, writeAdapter } from "../model/peft.ts";
import { readSafetensors, toFloat32, writeSafetensors } from "../model/safetensors.ts";
import { type FlatTensors, LoraWeights, ModelWeights, mergedTensors, type Runtime } from "../model/weights.ts";
import { variantRecord } from "../ops/variants.ts";
import { stepsAhead } from "./ahead.ts";
import type { Group } from "./groups.ts";
import { Scorer, type Trainable, Trainer } from "./step.ts";

/** Name of the model without an adapter. */
export const BASE = "base";

/** An adapter and the optimizer's state, as bytes. `hash` covers both files that PEFT and AdamW need to go on. */
export interface Snapshot {
  readonly hash: string;
  readonly adapter: Uint8Array;
  readonly config: string;
  readonly optimizer: Uint8Array;
}

export interface EngineOptions {
  readonly runtime: Runtime;
  /** The device of `runtime`: how it describes itself, and whether it has refused work. */
  readonly gpu: Pick<Gpu, "summary" | "check">;
  readonly model: Pick<LoadedModel, "config" | "tensors" | "hash">;
  /** How the frozen model is held, "float32" unless said otherwise; its projections with the adapter added stay f32. */
  readonly dtype?: ModelDtype;
  readonly decode: (tokens: readonly number[]) => string;
  /** Splits long submits; leave out to submit a plan at once. */
  readonly pace?: Pace;
  /** What will be sampled first: its plans are built beside the rest. A hint, which changes no result. */
  readonly soon?: { readonly tasks: readonly Task[]; readonly k: number; readonly maxNewTokens: number };
}

export interface Batch {
  readonly pairs: readonly Pair[];
  readonly replay: readonly { readonly task: Task; readonly answer: readonly number[] }[];
}

/** Name of a snapshot in the journal: SHA-256 of adapter_model.safetensors. */
export const snapshotHash = (adapter: Uint8Array): string => sha256Hex(adapter);

interface CandidateModel {
  readonly lora: LoraWeights;
  readonly trainable: Trainable;
  readonly trainer: Trainer;
  readonly shape: { readonly r: number; readonly alpha: number };
  step: number;
}

const SAMPLE_BATCH = 64;
const GREEDY_BATCH = 128;

export class Engine {
  readonly device: DeviceSummary;
  readonly base: string;
  readonly config: ModelConfig;
  private readonly runtime: Runtime;
  private readonly decode: (tokens: readonly number[]) => string;
  private readonly pace: Pace | undefined;
  private readonly check: () => void;
  private readonly weights: ModelWeights;
  private readonly merged: FlatTensors;
  private readonly generator: Generator;
  private readonly scorer: Scorer;
  private readonly snapshots = new Map<string, Snapshot>();
  /** LoRA buffers and merge plan by adapter shape. */
  private readonly mergers = new Map<string, { lora: LoraWeights; plan: Promise<Plan> }>();
  private active: string | null = null;
  private candidate: CandidateModel | null = null;

  private constructor(options: EngineOptions, weights: ModelWeights) {
    this.runtime = options.runtime;
    this.device = { ...options.gpu.summary, variants: variantRecord(options.runtime.variants) };
    this.base = options.model.hash;
    this.config = options.model.config;
    this.decode = options.decode;
    this.pace = options.pace;
    this.check = options.gpu.check;
    this.weights = weights;
    this.merged = mergedTensors(options.runtime, this.config);
    this.generator = new Generator(options.runtime, weights, this.merged, options.pace);
    this.scorer = new Scorer(options.runtime, weights, { merged: this.merged }, options.pace);
  }

  static async create(options: EngineOptions): Promise<Engine> {
    const weights = new ModelWeights(options.runtime, options.model.config, options.model.tensors, options.dtype);
    const refreshed = weights.refresh(); // before the rest: adapters compile one kernel after the other
    refreshed.catch(() => undefined); // it is met below, unless the engine fails before
    const engine = new Engine(options, weights);
    const { soon } = options;
    if (soon) engine.generator.prepare(soon.tasks, soon).catch(() => undefined); // sampling meets it again and says so
    await refreshed;
    return engine;
  }

  /** K answers a task; the draw of (task i, sample k) depends on (seed, i, k) only. */
  async sample(
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
  ): Promise<readonly (readonly Candidate[])[]> {
    await this.use(options.adapter);
    const { onAnswers } = options;
    const answers = await this.generator.generate(tasks, {
      ...options,
      batch: SAMPLE_BATCH,
      onAnswers: onAnswers && ((some) => onAnswers(some.map((all) => all.map((one) => this.toCandidate(one))))),
    });
    this.check();
    return answers.map((all) => all.map((one) => this.toCandidate(one)));
  }

  /** The likeliest token at every step, one answer a task. */
  async greedy(
    tasks: readonly Task[],
    { adapter, maxNewTokens }: { adapter: string; maxNewTokens: number },
  ): Promise<readonly Candidate[]> {
    await this.use(adapter);
    const answers = await this.generator.generate(tasks, {
      k: 1,
      temperature: 0,
      topK: 0,
      topP: 1,
      seed: 0,
      maxNewTokens,
      batch: GREEDY_BATCH,
    });
    this.check();
    return answers.map((all) => this.toCandidate(all[0] as Generated));
  }

  /** Sum of natural log-probabilities of each answer's tokens. */
  async logprobs(
    items: readonly { task: Task; tokens: readonly number[] }[],
    { adapter }: { adapter: string },
  ): Promise<readonly number[]> {
    await this.use(adapter);
    const rows = await this.scorer.tokens(
      items.map(({ task, tokens }): PackedRow => ({ picture: task.picture, prompt: task.prompt, answers: [tokens] })),
    );
    this.check();
    return rows.map(([answer]) => (answer as number[]).reduce((a, b) => a + b, 0));
  }

  /** A candidate starts: fresh LoRA on the base (B = 0, A Kaiming-uniform as in PEFT), or a snapshot with its moments. */
  async begin({
    adapter,
    seed,
    loraR,
    loraAlpha,
  }: {
    adapter: string;
    seed: number;
    loraR: number;
    loraAlpha: number;
  }): Promise<void> {
    await this.end();
    const { runtime, config } = this;
    const snapshot = adapter === BASE ? null : this.snapshot_(adapter);
    const start = snapshot ? parseAdapter(snapshot.config, snapshot.adapter, config, adapter) : null;
    const r = start?.r ?? loraR;
    const alpha = start?.alpha ?? loraAlpha;
    const shape = { r, scaling: start?.scaling ?? loraScaling(r, alpha), targets: start?.targets ?? PROJECTIONS };
    const lora = new LoraWeights(runtime, config, shape, "candidate");
    const { flat } = lora;
    lora.grads = flat.like("gradients");
    const trainable: Trainable = { lora, values: flat, grads: lora.grads, m: flat.like("m"), v: flat.like("v") };
    lora.flat.writeAll(lora.pack(start ?? freshAdapter(config, seed, r, alpha)));
    const state = snapshot ? readOptimizer(snapshot.optimizer, lora.fileBytes / 4) : null;
    if (state) {
      trainable.m.writeAll(lora.fromFile(state.m));
      trainable.v.writeAll(lora.fromFile(state.v));
    }
    this.candidate = {
      lora,
      trainable,
      trainer: new Trainer(runtime, this.weights, trainable, this.pace),
      shape: { r, alpha },
      step: state?.step ?? 0,
    };
  }

  /** One optimizer step a batch. A step that is not finite changes nothing and ends the training. */
  async train(options: {
    batches: readonly Batch[];
    contour: Contour["train"];
    learningRate: number;
    onStep?: (metrics: StepMetrics) => void;
  }): Promise<{ steps: readonly StepMetrics[]; diverged: { step: number; detail: string } | null }> {
    const candidate = this.candidate;
    if (!candidate) throw new Error("there is no candidate to train: begin() comes first");
    const { contour, learningRate } = options;
    const steps: StepMetrics[] = [];
    const { batches } = options;
    const first = candidate.step + 1;
    const end: { diverged: { step: number; detail: string } | null } = { diverged: null };
    await stepsAhead({
      count: batches.length,
      prepare: (index) => batches[index] as Batch,
      submit: (batch, index) =>
        candidate.trainer.step(
          groupsOf(batch, contour),
          { type: contour.lossType, beta: contour.beta, labelSmoothing: 0.1 },
          {
            learningRate,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weightDecay: contour.weightDecay,
            maxGradNorm: contour.maxGradNorm,
            step: first + index,
          },
        ),
      seen: (result, { pairs }, index) => {
        const step = first + index;
        if (!result.finite) {
          end.diverged = { step, detail: `loss ${result.loss}, gradient norm ${result.gradNorm}` };
          return false;
        }
        candidate.step = step;
        const metrics = metricsOf(step, learningRate, result, pairs.length);
        steps.push(metrics);
        options.onStep?.(metrics);
        return true;
      },
    });
    return { steps, diverged: end.diverged };
  }

  /** The candidate's adapter and moments; from then on `hash` names it. */
  async snapshot(): Promise<Snapshot> {
    const candidate = this.candidate;
    if (!candidate) throw new Error("there is no candidate to save: begin() comes first");
    const { lora, trainable, shape } = candidate;
    const adapter: LoraAdapter = {
      r: shape.r,
      alpha: shape.alpha,
      scaling: lora.scaling,
      rslora: false,
      targets: lora.targets,
      baseModel: null,
      tensors: lora.unpack(await lora.flat.read()),
    };
    this.check();
    const files = writeAdapter(adapter);
    const m = lora.toFile(await trainable.m.read());
    const v = lora.toFile(await trainable.v.read());
    const optimizer = writeSafetensors(
      [
        ["m", { shape: [m.length], data: m }],
        ["v", { shape: [v.length], data: v }],
      ],
      { step: String(candidate.step) },
    );
    const snapshot = { hash: files.hash, adapter: files.adapter, config: files.config, optimizer };
    this.snapshots.set(snapshot.hash, snapshot);
    return snapshot;
  }

  /** Makes a stored adapter usable by name. Throws if the bytes are not what the hash says, or do not fit the model. */
  async load(snapshot: Snapshot): Promise<void> {
    const actual = snapshotHash(snapshot.adapter);
    if (actual !== snapshot.hash)
      throw new Error(`adapter ${snapshot.hash.slice(0, 12)} is damaged: its bytes hash to ${actual.slice(0, 12)}`);
    parseAdapter(snapshot.config, snapshot.adapter, this.config, snapshot.hash.slice(0, 12));
    this.snapshots.set(snapshot.hash, snapshot);
  }

  /** Forgets snapshots that nothing needs any more. */
  keep(hashes: ReadonlySet<string>): void {
    for (const hash of this.snapshots.keys()) if (!hashes.has(hash)) this.snapshots.delete(hash);
  }

  private snapshot_(hash: string): Snapshot {
    const snapshot = this.snapshots.get(hash);
    if (!snapshot) throw new Error(`there is no adapter ${hash.slice(0, 12)} in the engine: load() it first`);
    return snapshot;
  }

  /** Merges an adapter into the inference weights, unless it is there already. */
  private async use(hash: string): Promise<void> {
    if (this.active === hash) return;
    const snapshot = hash === BASE ? null : this.snapshot_(hash);
    const adapter = snapshot ? parseAdapter(snapshot.config, snapshot.adapter, this.config, hash) : null;
    const shape = adapter ?? { r: 4, alpha: 4, scaling: 1, targets: [] };
    const key = JSON.stringify([shape.r, shape.scaling, shape.targets]);
    let merger = this.mergers.get(key);
    if (!merger) {
      const lora = new LoraWeights(this.runtime, this.config, shape, "inference adapter");
      const g = new Graph();
      lora.appendMerge({ g, variants: this.runtime.variants }, this.weights, this.merged);
      merger = { lora, plan: compile("merge adapter", g, this.runtime.device, this.runtime.pipelines) };
      this.mergers.set(key, merger);
    }
    this.active = null;
    if (adapter) merger.lora.flat.writeAll(merger.lora.pack(adapter));
    await (await merger.plan).run();
    this.active = hash;
  }

  private toCandidate({ tokens, logprob, finished }: Generated): Candidate {
    return { tokens, text: this.decode(tokens), logprob, finished };
  }

  private async end(): Promise<void> {
    const candidate = this.candidate;
    this.candidate = null;
    if (!candidate) return;
    await candidate.trainer.destroy();
    candidate.trainable.m.destroy();
    candidate.trainable.v.destroy();
    candidate.lora.destroy();
  }

  async destroy(): Promise<void> {
    await this.end();
    await this.generator.destroy();
    await this.scorer.destroy();
    for (const { lora, plan } of this.mergers.values()) {
      (await plan).destroy();
      lora.destroy();
    }
    this.merged.destroy();
    this.weights.destroy();
  }
}

/** PEFT's initial adapter: A uniform in ±1/√in (Kaiming with a = √5), B zero; seeded per projection. */
export function freshAdapter(
  config: ModelConfig,
  seed: number,
  r: number,
  alpha: number,
  targets: readonly Projection[] = PROJECTIONS,
): LoraAdapter {
  const tensors = new Map<string, LoraPair>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const name of targets) {
      const path = projectionPath(layer, name);
      const [out, inn] = projectionShape(config, name);
      const rng = rngFor(seed, "lora", path);
      const bound = 1 / Math.sqrt(inn);
      tensors.set(path, {
        A: { shape: [r, inn], data: Float32Array.from({ length: r * inn }, () => (rng.next() * 2 - 1) * bound) },
        B: { shape: [out, r], data: new Float32Array(out * r) },
      });
    }
  return { r, alpha, scaling: loraScaling(r, alpha), rslora: false, targets, baseModel: null, tensors };
}

/** Pairs as rows with a shared prompt; replayed examples as a second group that carries a likelihood term only. */
function groupsOf({ pairs, replay }: Batch, { sftWeight, replayA, method }: Contour["train"]): Group[] {
  const groups: Group[] = [];
  if (pairs.length > 0 && method === "dpo")
    groups.push({
      rows: pairs.map(({ task, chosen, rejected }) => ({
        picture: task.picture,
        prompt: task.prompt,
        answers: [chosen.tokens, rejected.tokens],
      })),
      pairs: pairs.length,
      reference: pairs.flatMap(({ reference }) => [reference.chosen, reference.rejected]),
      sft: pairs.flatMap(({ chosen }) => [sftWeight / (pairs.length * chosen.tokens.length), 0]),
    });
  if (replay.length > 0)
    groups.push({
      rows: replay.map(({ task, answer }) => ({ picture: task.picture, prompt: task.prompt, answers: [answer] })),
      pairs: 0,
      reference: [],
      sft: replay.map(({ answer }) => replayA.weight / (replay.length * answer.length)),
    });
  return groups;
}

const mean = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;

/** TRL's names for what a step gave; the first `pairs` rows of the first group are the pairs. */
export function metricsOf(
  step: number,
  learningRate: number,
  result: Awaited<ReturnType<Trainer["step"]>>,
  pairs: number,
): StepMetrics {
  const chosen = mean(result.pairs.map((pair) => pair.chosen));
  const rejected = mean(result.pairs.map((pair) => pair.rejected));
  const sums = pairs > 0 ? (result.sums[0] ?? []) : [];
  return {
    step,
    loss: result.loss,
    "rewards/chosen": chosen,
    "rewards/rejected": rejected,
    "rewards/accuracies": mean(result.pairs.map((pair) => (pair.chosen > pair.rejected ? 1 : 0))),
    "rewards/margins": chosen - rejected,
    "logps/chosen": mean(sums.filter((_, s) => s % 2 === 0)),
    "logps/rejected": mean(sums.filter((_, s) => s % 2 === 1)),
    grad_norm: result.gradNorm,
    learning_rate: learningRate,
  };
}

function readOptimizer(bytes: Uint8Array, size: number): { m: Float32Array; v: Float32Array; step: number } {
  const file = readSafetensors(bytes, "optimizer.safetensors");
  const take = (name: string): Float32Array => {
    const view = file.tensors.get(name);
    if (!view) throw new Error(`optimizer.safetensors has no tensor ${name}`);
    const data = toFloat32(view);
    if (data.length !== size)
      throw new Error(`optimizer.safetensors: ${name} has ${data.length} elements, the adapter needs ${size}`);
    return data;
  };
  const step = Number(file.metadata.get("step"));
  if (!Number.isInteger(step) || step < 0) throw new Error("optimizer.safetensors names no step");
  return { m: take("m"), v: take("v"), step };
}

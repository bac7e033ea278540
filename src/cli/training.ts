/** What dpo, sft, kto and grpo share: the order of rows, what --dry-run says, the steps with their metrics, and the adapter that is written. */
import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { rngFor } from "../base/rng.ts";
import type { ModelDtype } from "../model/config.ts";
import type { LoadedModel } from "../model/hf.ts";
import { shapeFor } from "../model/packing.ts";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, type LoraAdapter, parseTargets, writeAdapter } from "../model/peft.ts";
import { AdapterTraining } from "../train/adapter.ts";
import { stepsAhead } from "../train/ahead.ts";
import { budgetOf } from "../train/batches.ts";
import { freshAdapter } from "../train/engine.ts";
import { type Group, type LossSettings, partShape } from "../train/groups.ts";
import { type TrainingMemory, trainingMemory } from "../train/memory.ts";
import type { StepResult } from "../train/step.ts";
import { columns, type Output, UsageError, type Values } from "./args.ts";
import { writeFolder } from "./files.ts";
import { checkRows, type NamedRow, type OnGpu, type Room } from "./model.ts";
import type { trainingOptions } from "./options.ts";
import { openNodeRuntime } from "./runtime.ts";

export type TrainingValues = Values<typeof trainingOptions> & { readonly model: string };

/** The projections that --target-modules names. */
export function readTargets(names: string) {
  try {
    return parseTargets(names, "--target-modules");
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
}

/** The adapter to train: the given one, or a fresh one as PEFT makes it. */
export function startingAdapter(values: TrainingValues, model: LoadedModel, given: LoraAdapter | null): LoraAdapter {
  if (given !== null) return given;
  const targets = readTargets(values["target-modules"]);
  return {
    ...freshAdapter(model.config, values.seed, values["lora-r"], values["lora-alpha"], targets),
    baseModel: values.model,
  };
}

/** Row of place k: in file order, cycling; with `shuffle` in another order each time through the file. */
export function rowOrder(
  rows: number,
  { shuffle, seed }: { readonly shuffle: boolean; readonly seed: number },
): (k: number) => number {
  if (!shuffle) return (k) => k % rows;
  const orders: number[][] = [];
  return (k) => {
    const epoch = Math.floor(k / rows);
    orders[epoch] ??= rngFor(seed, "row order", epoch).shuffle(Array.from({ length: rows }, (_, i) => i));
    return orders[epoch]?.[k % rows] as number;
  };
}

/** The steps of a training: their number, the rows of each, and these in micro-batches. */
function schedule<R>(rows: readonly R[], values: TrainingValues) {
  const { "batch-size": micro, "gradient-accumulation-steps": times } = values;
  const size = micro * times;
  const order = rowOrder(rows.length, values);
  return {
    steps: values.steps ?? Math.ceil(rows.length / size),
    at(step: number): { readonly batch: readonly R[]; readonly parts: readonly (readonly R[])[] } {
      const batch = Array.from({ length: size }, (_, i) => rows[order(step * size + i)] as R);
      return { batch, parts: Array.from({ length: times }, (_, i) => batch.slice(i * micro, (i + 1) * micro)) };
    },
  };
}

const trainerOptions = (values: TrainingValues) => ({
  checkpointing: values["gradient-checkpointing"],
  paddingFree: values["padding-free"],
});

/** Groups of one micro-batch; their weights are those of the whole batch. */
type GroupsOf<R> = (micro: readonly R[], whole: readonly R[]) => readonly Group[] | Promise<readonly Group[]>;

/** One kind of training: what a batch of rows is to the optimizer, and what is said of a step. */
export interface Recipe<R> {
  readonly rows: readonly R[];
  readonly settings: LossSettings;
  readonly groups: GroupsOf<R>;
  metrics(
    step: number,
    result: StepResult,
    batch: readonly R[],
  ): { readonly step: number; readonly loss: number; readonly grad_norm: number };
}

/** A training as far as its memory depends on it. What rows carry beside their tokens does not matter. */
export interface Planned<R> {
  readonly model: Pick<LoadedModel, "config">;
  readonly start: LoraAdapter;
  readonly values: TrainingValues;
  readonly rows: readonly R[];
  readonly groups: (room: Room, micro: readonly R[], whole: readonly R[]) => ReturnType<GroupsOf<R>>;
}

/**
 * --dry-run: how much memory the training takes on this GPU, by its largest step. Rows are checked as before a training;
 * nothing is put on the GPU and nothing written.
 */
export async function dryRun<R extends NamedRow>(
  { model, start, values, rows, groups }: Planned<R>,
  out: Output,
): Promise<void> {
  const { gpu, runtime } = await openNodeRuntime();
  try {
    const { config } = model;
    const room = { config, budget: budgetOf(runtime.device) };
    checkRows(room, rows);
    const options = trainerOptions(values);
    const request = { config, variants: runtime.variants, limits: runtime.device.limits, lora: start, ...options };
    const { steps, at } = schedule(rows, values);
    const found = new Map<string, TrainingMemory>();
    for (let step = 0; step < steps; step++) {
      const { batch, parts } = at(step);
      for (const part of parts) {
        const made = await groups(room, part, batch);
        const shapes = JSON.stringify(made.map((group) => partShape(group, shapeFor(config, group.rows, options))));
        if (!found.has(shapes))
          found.set(shapes, trainingMemory({ ...request, dtype: values.dtype as ModelDtype, groups: made }));
      }
    }
    const bytes = [...found.values()].reduce((a, b) => (b.total > a.total ? b : a));
    out.result({ steps, shapes: found.size, bytes }, memoryTable(steps, found.size, bytes, values.dtype));
  } finally {
    gpu.destroy();
  }
}

function memoryTable(steps: number, shapes: number, bytes: TrainingMemory, dtype: string): string {
  const said = (value: number) => `${value.toLocaleString("en")} bytes`;
  const other = "; while the plan of one is made, that of the one before still takes its memory";
  return columns([
    ["steps", `${steps}, of ${shapes} ${shapes === 1 ? "shape" : `shapes${other}`}`],
    ["model", `${said(bytes.weights)} as ${dtype}`],
    ["adapter", `${said(bytes.training)} with gradients and moments`],
    ["plan", `${said(bytes.plan)} for the largest step: activations, inputs, read-back`],
    ["total", said(bytes.total)],
  ]);
}

const REMARKS = 40;

/**
 * Runs the steps: a line a step goes to --metrics and, with --json, to stdout. Writes the adapter to --out.
 * A step whose loss is not finite ends the training: the adapter of the step before is written, then an error thrown.
 */
export async function train<R>(
  on: OnGpu,
  start: LoraAdapter,
  values: TrainingValues,
  recipe: Recipe<R>,
  out: Output,
  json: boolean,
): Promise<void> {
  const { "learning-rate": learningRate, metrics: file } = values;
  const { steps, at } = schedule(recipe.rows, values);
  await mkdir(values.out, { recursive: true }); // a folder that cannot be written is found before the work, not after
  if (file !== null) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, "");
  }
  const training = new AdapterTraining(on.runtime, on.weights, start, on.pace, trainerOptions(values));
  const hyper = {
    learningRate,
    beta1: 0.9,
    beta2: 0.999,
    eps: 1e-8,
    weightDecay: values["weight-decay"],
    maxGradNorm: values["max-grad-norm"],
  };
  const end: { loss: number | null; diverged: string | null } = { loss: null, diverged: null };
  await stepsAhead({
    count: steps,
    prepare: async (s) => {
      const { batch, parts } = at(s);
      const batches: (readonly Group[])[] = [];
      for (const part of parts) batches.push(await recipe.groups(part, batch));
      return { batch, batches };
    },
    submit: ({ batches }) => training.step(batches, recipe.settings, hyper),
    seen: async (result, { batch }, s) => {
      if (!result.finite) {
        end.diverged = `step ${s + 1} is not finite (loss ${result.loss}, gradient norm ${result.gradNorm})`;
        return false;
      }
      const line = recipe.metrics(s + 1, result, batch);
      end.loss = line.loss;
      if (file !== null) await appendFile(file, `${JSON.stringify(line)}\n`);
      if (json) out.result(line);
      if ((s + 1) % Math.ceil(steps / REMARKS) === 0)
        out.note(`step ${line.step}/${steps}  loss ${line.loss.toFixed(4)}  gradient ${line.grad_norm.toFixed(3)}`);
      return true;
    },
  });
  const { loss, diverged } = end;
  const { config, adapter, hash } = writeAdapter(await training.adapter());
  await training.destroy();
  await writeFolder(values.out, [
    [ADAPTER_CONFIG, config],
    [ADAPTER_WEIGHTS, adapter],
  ]);
  if (diverged !== null) {
    throw new Error(
      `${diverged}; ${values.out} holds the adapter as it stood before it, after ${training.steps} steps. Lower the learning rate.`,
    );
  }
  out.result(
    { out: values.out, hash, steps: training.steps, loss },
    `wrote ${values.out} after ${training.steps} steps, loss ${loss?.toFixed(4)} (SHA-256 ${hash.slice(0, 12)}…)`,
  );
}

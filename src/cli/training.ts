/** What dpo, sft, kto and grpo share: the order of rows, the steps with their metrics, and the adapter that is written. */
import { appendFile, mkdir, writeFile } from "node:fs/promises";
import { dirname } from "node:path";
import { rngFor } from "../base/rng.ts";
import type { LoadedModel } from "../model/hf.ts";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, type LoraAdapter, parseTargets, writeAdapter } from "../model/peft.ts";
import { AdapterTraining } from "../train/adapter.ts";
import { stepsAhead } from "../train/ahead.ts";
import { freshAdapter } from "../train/engine.ts";
import type { Group, LossSettings } from "../train/groups.ts";
import type { StepResult } from "../train/step.ts";
import { type Output, UsageError, type Values } from "./args.ts";
import { writeFolder } from "./files.ts";
import type { OnGpu } from "./model.ts";
import type { trainingOptions } from "./options.ts";

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

/** One kind of training: what a batch of rows is to the optimizer, and what is said of a step. */
export interface Recipe<R> {
  readonly rows: readonly R[];
  readonly settings: LossSettings;
  /** Groups of one micro-batch; their weights are those of the whole batch. */
  groups(micro: readonly R[], whole: readonly R[]): readonly Group[] | Promise<readonly Group[]>;
  metrics(
    step: number,
    result: StepResult,
    batch: readonly R[],
  ): { readonly step: number; readonly loss: number; readonly grad_norm: number };
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
  const {
    "batch-size": micro,
    "gradient-accumulation-steps": times,
    "learning-rate": learningRate,
    metrics: file,
  } = values;
  const size = micro * times;
  const steps = values.steps ?? Math.ceil(recipe.rows.length / size);
  const order = rowOrder(recipe.rows.length, values);
  await mkdir(values.out, { recursive: true }); // a folder that cannot be written is found before the work, not after
  if (file !== null) {
    await mkdir(dirname(file), { recursive: true });
    await writeFile(file, "");
  }
  const training = new AdapterTraining(on.runtime, on.weights, start, on.pace, {
    checkpointing: values["gradient-checkpointing"],
    paddingFree: values["padding-free"],
  });
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
      const batch = Array.from({ length: size }, (_, i) => recipe.rows[order(s * size + i)] as R);
      const batches: (readonly Group[])[] = [];
      for (let from = 0; from < size; from += micro)
        batches.push(await recipe.groups(batch.slice(from, from + micro), batch));
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

/**
 * What the commands for any model share (logprobs, generate, sft, dpo): model folder, adapter and rows are read, and the
 * weights put on the GPU. The engine that the loop drives is opened in policy.ts.
 */
import type { Gpu } from "../gpu/device.ts";
import { Pace } from "../gpu/plan.ts";
import type { ModelConfig, ModelDtype } from "../model/config.ts";
import { type LoadedModel, loadModel } from "../model/hf.ts";
import type { PackedRow } from "../model/packing.ts";
import { type LoraAdapter, loadAdapter } from "../model/peft.ts";
import { parseRows, type Row, type RowOptions } from "../model/rows.ts";
import { ModelWeights, type Runtime } from "../model/weights.ts";
import { type Budget, budgetOf, tooLarge } from "../train/batches.ts";
import { folder, readInput } from "./files.ts";
import { openNodeRuntime } from "./runtime.ts";

export interface Inputs {
  readonly model: LoadedModel;
  readonly adapter: LoraAdapter | null;
}

/** Reads --model and --adapter. Errors name the file, the tensor and what is wrong with it. */
export async function readInputs(values: { readonly model: string; readonly adapter: string | null }): Promise<Inputs> {
  const model = await loadModel(folder(values.model));
  const adapter = values.adapter === null ? null : await loadAdapter(folder(values.adapter), model.config);
  return { model, adapter };
}

/** Reads --data with `parse`, one row after the other. Errors name FILE:LINE. */
export async function readRows<R>(
  path: string,
  model: LoadedModel,
  parse: (row: Row, options: RowOptions) => R,
): Promise<{ where: string; value: R }[]> {
  const text = new TextDecoder().decode(await readInput(path));
  const options = { tokenizer: model.tokenizer, vocabulary: model.config.vocab_size };
  return parseRows(text, path).map((row) => ({ where: row.where, value: parse(row, options) }));
}

/** A row to compute and where it came from. */
export interface NamedRow {
  readonly where: string;
  readonly row: PackedRow;
}

/** What rows have to fit: the model, and this GPU. */
export interface Room {
  readonly config: ModelConfig;
  readonly budget: Budget;
}

export interface OnGpu extends Room {
  readonly gpu: Gpu;
  readonly runtime: Runtime;
  readonly weights: ModelWeights;
  readonly pace: Pace;
}

/** Opens the GPU, puts the model's weights on it in `dtype`, does `work` and closes it again, whatever happened. */
export async function withModel<T>(
  model: Pick<LoadedModel, "config" | "tensors">,
  dtype: string,
  work: (on: OnGpu) => Promise<T>,
): Promise<T> {
  const { gpu, runtime } = await openNodeRuntime();
  try {
    const { config, tensors } = model;
    const weights = new ModelWeights(runtime, config, tensors, dtype as ModelDtype);
    await weights.refresh();
    const result = await work({ gpu, runtime, weights, config, pace: new Pace(), budget: budgetOf(runtime.device) });
    weights.destroy();
    return result;
  } finally {
    gpu.destroy();
  }
}

/** Throws at the first row that the model or this GPU cannot take. */
export function checkRows({ config, budget }: Room, rows: readonly NamedRow[]): void {
  for (const { where, row } of rows) {
    const reason = tooLarge(config, row, budget);
    if (reason !== null) throw new Error(`${where}: ${reason}`);
  }
}

/** Splits rows so that no tensor of their plan exceeds what the GPU binds, and activations stay within memory. */
import type { ModelConfig } from "../model/config.ts";
import { type PackedRow, type PackShape, shapeFor } from "../model/packing.ts";
import { heldLogits } from "../ops/logprob.ts";

/** What the plan of one group of rows may take. */
export interface Budget {
  /** Bytes of its largest tensor. */
  readonly tensor: number;
  /** Bytes of everything that a step keeps until its backward pass, roughly. */
  readonly activations: number;
  readonly rows: number;
}

/** The device's own limits, at most 64 rows and about a gibibyte of activations. */
export function budgetOf({ limits }: Pick<GPUDevice, "limits">): Budget {
  return { tensor: Math.min(limits.maxBufferSize, limits.maxStorageBufferBindingSize), activations: 2 ** 30, rows: 64 };
}

/** Bytes of the largest tensor of a plan of this shape: the logits held at once, or the widest activation (B·T, …). */
export function largestTensor(config: ModelConfig, { B, T, M }: PackShape): number {
  const { vocab_size, hidden_size, intermediate_size, num_attention_heads: heads, head_dim } = config;
  return (
    4 *
    Math.max(heldLogits(vocab_size, M), B * T * Math.max(hidden_size, intermediate_size, heads * head_dim, 2 * heads))
  );
}

/** Bytes that a training step keeps for its backward pass: about a dozen tensors a layer, the logits held at once and their gradient. */
export function activationBytes(config: ModelConfig, { B, T, M }: PackShape): number {
  const { hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim } =
    config;
  const attention = 2 * (num_attention_heads + num_key_value_heads) * head_dim;
  const layer = 4 * hidden_size + 2 * attention + 3 * intermediate_size;
  return 4 * (B * T * num_hidden_layers * layer + 2 * heldLogits(config.vocab_size, M));
}

/** Says why a row cannot be computed by itself, null if it can. */
export function tooLarge(config: ModelConfig, row: PackedRow, { tensor }: Budget): string | null {
  const positions = config.max_position_embeddings;
  const longest = row.prompt.length + Math.max(...row.answers.map((answer) => answer.length));
  if (longest > positions) return `${longest} tokens exceed the model's ${positions} positions`;
  const bytes = largestTensor(config, shapeFor(config, [row]));
  if (bytes <= tensor) return null;
  const mebibytes = (n: number) => Math.ceil(n / 2 ** 20);
  return `${longest} tokens need a tensor of ${mebibytes(bytes)} MiB, but this GPU binds at most ${mebibytes(tensor)} MiB at once: shorten it`;
}

/** Consecutive groups of rows, each as long as the budget allows, a single row in any case. */
export function splitRows<R extends { readonly row: PackedRow }>(
  config: ModelConfig,
  rows: readonly R[],
  budget: Budget,
): R[][] {
  const groups: R[][] = [];
  let group: R[] = [];
  for (const row of rows) {
    const shape = shapeFor(
      config,
      [...group, row].map((one) => one.row),
    );
    const fits =
      group.length < budget.rows &&
      largestTensor(config, shape) <= budget.tensor &&
      activationBytes(config, shape) <= budget.activations;
    if (group.length > 0 && !fits) {
      groups.push(group);
      group = [];
    }
    group.push(row);
  }
  if (group.length > 0) groups.push(group);
  return groups;
}

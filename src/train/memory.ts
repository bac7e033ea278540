/** How much GPU memory a training will take, said before anything of it is made. */
import type { ModelConfig, ModelDtype } from "../model/config.ts";
import { LoraWeights, ModelWeights, type Runtime } from "../model/weights.ts";
import type { Variants } from "../ops/context.ts";
import type { Group } from "./groups.ts";
import { Trainer, type TrainerOptions } from "./step.ts";

export interface MemoryRequest extends TrainerOptions {
  readonly config: ModelConfig;
  readonly variants: Variants;
  readonly limits: Pick<GPUSupportedLimits, "maxBufferSize" | "maxStorageBufferBindingSize">;
  /** The adapter that is trained; null: the model itself. */
  readonly lora: Pick<LoraWeights, "r" | "scaling" | "targets"> | null;
  /** How the model is held: "float32" unless said otherwise. */
  readonly dtype?: ModelDtype;
  /** One step; its rows decide the shapes, their tokens do not matter. */
  readonly groups: readonly Group[];
}

/** Bytes, as they will be asked of the device. */
export interface TrainingMemory {
  /** The model in both orders. */
  readonly weights: number;
  /** What is trained, its gradients and AdamW's two moments; for the model itself without the weights, which are above. */
  readonly training: number;
  /** The plan of the step: inputs, activations, uniforms, read-back. */
  readonly plan: number;
  readonly total: number;
}

/** A runtime whose device only counts the bytes that are asked of it. */
function countingRuntime(limits: MemoryRequest["limits"], variants: Variants) {
  const counted = { bytes: 0 };
  const device = {
    limits,
    createBuffer: ({ size }: GPUBufferDescriptor) => {
      counted.bytes += size;
      return { size };
    },
  };
  return { runtime: { device, variants } as unknown as Runtime, counted };
}

/** Bytes of a model's weights on a GPU, in both orders: exact, and the same on every GPU that can hold them. */
export function weightMemory(config: ModelConfig, dtype: ModelDtype): number {
  const limits = { maxBufferSize: Number.POSITIVE_INFINITY, maxStorageBufferBindingSize: Number.POSITIVE_INFINITY };
  const { runtime, counted } = countingRuntime(limits, { matmul: "plain" });
  new ModelWeights(runtime, config, null, dtype);
  return counted.bytes;
}

/**
 * Exact: every buffer is asked of a device that only counts. Throws, as the device would, if a tensor fits no binding, or
 * if the model itself should be trained in float16.
 */
export function trainingMemory(request: MemoryRequest): TrainingMemory {
  const { config, variants, limits, lora, dtype, groups, ...options } = request;
  const { runtime, counted } = countingRuntime(limits, variants);
  const weights = new ModelWeights(runtime, config, null, dtype);
  const modelBytes = counted.bytes;
  const adapter = lora ? new LoraWeights(runtime, config, lora, "adapter") : null;
  const values = adapter?.flat ?? weights.values;
  const trainable = {
    lora: adapter,
    values,
    grads: values.like("gradients"),
    m: values.like("m"),
    v: values.like("v"),
  };
  if (adapter) adapter.grads = trainable.grads;
  const trainer = new Trainer(runtime, weights, trainable, undefined, options);
  const plan = trainer.planBytes(groups);
  return { weights: modelBytes, training: counted.bytes - modelBytes, plan, total: counted.bytes + plan };
}

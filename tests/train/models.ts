/** Small random models, adapters and rows, for comparing the engine with the f64 reference. */

import type { Picture } from "../../src/base/records.ts";
import { type Rng, rngFor } from "../../src/base/rng.ts";
import {
  type ModelConfig,
  PROJECTIONS,
  type Projection,
  parseConfig,
  projectionPath,
  projectionShape,
  tensorShapes,
} from "../../src/model/config.ts";
import type { LoraAdapter } from "../../src/model/peft.ts";
import type { Tensor } from "../../src/model/safetensors.ts";

export function tinyConfig(
  options: {
    vision?: boolean;
    tied?: boolean;
    vocab?: number;
    layers?: number;
    heads?: number;
    kv?: number;
    eos?: number | null;
  } = {},
): ModelConfig {
  const vision = options.vision ?? false;
  return parseConfig({
    architectures: [vision ? "AutodidactForCausalLM" : "LlamaForCausalLM"],
    vocab_size: options.vocab ?? 24,
    hidden_size: 16,
    intermediate_size: 36,
    num_hidden_layers: options.layers ?? 2,
    num_attention_heads: options.heads ?? 4,
    num_key_value_heads: options.kv ?? 2,
    head_dim: 8,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: options.tied ?? true,
    max_position_embeddings: 64,
    eos_token_id: options.eos === undefined ? 2 : options.eos,
    ...(vision ? { vision: { image_size: 8, patch_size: 4, num_channels: 3 } } : {}),
  });
}

const tensor = (rng: Rng, shape: readonly number[], mean: number, deviation: number): Tensor => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => mean + deviation * rng.normal()),
});

/** Weights large enough that every part of the model matters. */
export function randomTensors(config: ModelConfig, seed: number): Map<string, Tensor> {
  const rng = rngFor(seed, "weights");
  return new Map(
    [...tensorShapes(config)].map(([name, shape]) => [
      name,
      name.includes("norm")
        ? tensor(rng, shape, 1, 0.2)
        : name.includes("embed_tokens")
          ? tensor(rng, shape, 0, 0.7)
          : tensor(rng, shape, 0, 0.3),
    ]),
  );
}

/** A random adapter; `b`: deviation of the B factors (0: as at the start of training). */
export function randomAdapter(
  config: ModelConfig,
  seed: number,
  options: { r?: number; b?: number; targets?: readonly Projection[] } = {},
): LoraAdapter {
  const rng = rngFor(seed, "adapter");
  const { r = 4, b = 0.2, targets = PROJECTIONS } = options;
  const tensors = new Map<string, { A: Tensor; B: Tensor }>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const name of targets) {
      const [out, inn] = projectionShape(config, name);
      tensors.set(projectionPath(layer, name), { A: tensor(rng, [r, inn], 0, 0.3), B: tensor(rng, [out, r], 0, b) });
    }
  return { r, alpha: 2 * r, scaling: 2, rslora: false, targets, baseModel: null, tensors };
}

export function randomTokens(rng: Rng, vocab: number, length: number): number[] {
  return Array.from({ length }, () => 3 + rng.int(vocab - 3));
}

export function randomPicture(config: ModelConfig, rng: Rng): Picture {
  const size = config.vision?.image_size ?? 0;
  return { size, rgb: Uint8Array.from({ length: size * size * 3 }, () => rng.int(256)) };
}

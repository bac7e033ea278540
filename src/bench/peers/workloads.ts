/**
 * What the contestants compute: the same shapes, the same seeded weights and data for all. Products, losses and
 * tokens that a contestant returns are compared by the caller; here is also what is known about them beforehand.
 */
import { rngFor } from "../../base/rng.ts";
import { type ModelConfig, tensorShapes } from "../../model/config.ts";
import type { Tensor } from "../../model/safetensors.ts";
import { initialWeights } from "../../train/pretrain.ts";

export interface MatmulWork {
  readonly kind: "matmul";
  readonly name: string;
  /** Both factors and the product are (n, n). */
  readonly n: number;
  /** Products computed one after the other in a run, so that the wait at its end weighs little. */
  readonly times: number;
}

export interface TrainWork {
  readonly kind: "train";
  readonly name: string;
  readonly config: ModelConfig;
  /** Sequences, and predicted tokens of each. */
  readonly batch: number;
  readonly length: number;
}

export interface DecodeWork {
  readonly kind: "decode";
  readonly name: string;
  readonly config: ModelConfig;
  readonly batch: number;
  readonly prompt: number;
  readonly newTokens: number;
}

export type Work = MatmulWork | TrainWork | DecodeWork;

/** AdamW of every train step: all weights, no clipping, no schedule. */
export const ADAMW = { learningRate: 1e-3, beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0.01 } as const;

const SEED = 1;

/** A Llama-style text model without end token, so that decoding never stops early. */
export function llama(
  shape: Pick<
    ModelConfig,
    "vocab_size" | "hidden_size" | "intermediate_size" | "num_hidden_layers" | "num_attention_heads"
  > & { readonly num_key_value_heads: number },
): ModelConfig {
  return {
    architectures: ["LlamaForCausalLM"],
    model_type: "llama",
    head_dim: shape.hidden_size / shape.num_attention_heads,
    rms_norm_eps: 1e-6,
    rope_theta: 10000,
    tie_word_embeddings: false,
    max_position_embeddings: 256,
    bos_token_id: null,
    eos_token_id: [],
    pad_token_id: null,
    vision: null,
    ...shape,
  };
}

const small = llama({
  vocab_size: 64,
  hidden_size: 64,
  intermediate_size: 176,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 4,
});
const large = llama({
  vocab_size: 2048,
  hidden_size: 256,
  intermediate_size: 688,
  num_hidden_layers: 6,
  num_attention_heads: 8,
  num_key_value_heads: 4,
});
const tiny = llama({
  vocab_size: 64,
  hidden_size: 32,
  intermediate_size: 64,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  num_key_value_heads: 1,
});

const matmul = (n: number, times: number): MatmulWork => ({ kind: "matmul", name: `matmul ${n}³`, n, times });

/** The benchmark proper. */
const full: readonly Work[] = [
  matmul(256, 8),
  matmul(512, 2),
  matmul(1024, 1),
  { kind: "train", name: "train step, d 64, 3 layers, 64 × 32 tokens", config: small, batch: 64, length: 32 },
  { kind: "train", name: "train step, d 256, 6 layers, 2 × 128 tokens", config: large, batch: 2, length: 128 },
  { kind: "decode", name: "decode, d 256, batch 1", config: large, batch: 1, prompt: 16, newTokens: 32 },
  { kind: "decode", name: "decode, d 256, batch 16", config: large, batch: 16, prompt: 16, newTokens: 32 },
];

/** The same code paths in seconds: for tests and for a look on a busy machine. */
const quick: readonly Work[] = [
  matmul(64, 2),
  { kind: "train", name: "train step, d 32, 2 layers, 4 × 16 tokens", config: tiny, batch: 4, length: 16 },
  { kind: "decode", name: "decode, d 32, batch 2", config: tiny, batch: 2, prompt: 16, newTokens: 8 },
];

export const WORKS = { full, quick } as const;
export type Size = keyof typeof WORKS;

/** Initial weights by their names in Transformers, linear ones (out, in). */
export function weightsOf(config: ModelConfig): ReadonlyMap<string, Tensor> {
  return initialWeights(config, SEED);
}

/** cos and sin of position × theta^(−2i/size), (positions, size/2) each, for the contestants that take tables. */
export function rotations(
  { head_dim: size, rope_theta: theta }: ModelConfig,
  positions: number,
): { readonly cos: Float32Array<ArrayBuffer>; readonly sin: Float32Array<ArrayBuffer> } {
  const half = size / 2;
  const angles = Array.from(
    { length: positions * half },
    (_, i) => Math.floor(i / half) * theta ** (-(i % half) / half),
  );
  return { cos: Float32Array.from(angles, Math.cos), sin: Float32Array.from(angles, Math.sin) };
}

/** The two factors, (n, n) each, normal. */
export function factorsOf({ n }: MatmulWork): readonly [Float32Array<ArrayBuffer>, Float32Array<ArrayBuffer>] {
  const factor = (name: string) => {
    const rng = rngFor(SEED, "matmul", name, n);
    return Float32Array.from({ length: n * n }, () => rng.normal());
  };
  return [factor("a"), factor("b")];
}

/** Places of the product that are compared with float64: spread over all rows and columns. */
export function sampledPlaces({ n }: MatmulWork): readonly number[] {
  const rng = rngFor(SEED, "places", n);
  return Array.from({ length: 64 }, () => rng.int(n * n));
}

/** The product at those places, in float64. */
export function expectedProduct(work: MatmulWork): readonly number[] {
  const [a, b] = factorsOf(work);
  const { n } = work;
  return sampledPlaces(work).map((place) => {
    const [row, column] = [Math.floor(place / n), place % n];
    let sum = 0;
    for (let k = 0; k < n; k++) sum += (a[row * n + k] as number) * (b[k * n + column] as number);
    return sum;
  });
}

/** Sequences of `batch` × (length + 1) tokens: the first `length` are read, the last `length` predicted. */
export function sequencesOf({ config, batch, length }: TrainWork): readonly (readonly number[])[] {
  const rng = rngFor(SEED, "sequences", batch, length);
  return Array.from({ length: batch }, () => Array.from({ length: length + 1 }, () => rng.int(config.vocab_size)));
}

export function promptsOf({ config, batch, prompt }: DecodeWork): readonly (readonly number[])[] {
  const rng = rngFor(SEED, "prompts", batch, prompt);
  return Array.from({ length: batch }, () => Array.from({ length: prompt }, () => rng.int(config.vocab_size)));
}

/** Floating-point operations of one run: matrix products and attention, the backward pass counted as twice the forward one. */
export function flopsOf(work: Work): number {
  if (work.kind === "matmul") return 2 * work.n ** 3 * work.times;
  const { config, batch } = work;
  let weights = 0;
  for (const [name, shape] of tensorShapes(config))
    if (shape.length === 2 && !name.includes("embed_tokens")) weights += shape.reduce((a, b) => a * b, 1);
  const attention = (pairs: number) =>
    4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * pairs;
  if (work.kind === "train") {
    const { length } = work;
    return 3 * batch * (2 * weights * length + attention((length * (length + 1)) / 2));
  }
  const tokens = work.prompt + work.newTokens - 1;
  return batch * (2 * weights * tokens + attention((tokens * (tokens + 1)) / 2));
}

/**
 * The forward pass of decoder.ts for inference: no gradients, no LoRA (it is merged into the weights), residuals added
 * in place, keys and values straight into caches, and in the prompt's last layer only the rows whose logits are wanted.
 */
import type { Tensor } from "../gpu/graph.ts";
import { promptAttention } from "../ops/attention.ts";
import type { OpContext } from "../ops/context.ts";
import { attentionDecode, type DecodeCache, type DecodeRows, type DecodeShape, ropeAppend } from "../ops/decode.ts";
import { splitColumns, swigluHalves } from "../ops/elementwise.ts";
import { gatherRows } from "../ops/embedding.ts";
import { linear } from "../ops/linear.ts";
import { matmulNN } from "../ops/matmul.ts";
import { rmsnorm } from "../ops/rmsnorm.ts";
import type { ModelConfig } from "./config.ts";
import type { DecoderTensors, LayerTensors } from "./weights.ts";

/** Everything a layer reads besides the hidden states. */
interface Surroundings {
  readonly config: ModelConfig;
  readonly table: Tensor;
  readonly caches: readonly DecodeCache[];
  readonly shape: DecodeShape;
}

function afterAttention(ctx: OpContext, config: ModelConfig, layer: LayerTensors, x: Tensor, attended: Tensor): void {
  const { projections: w } = layer;
  matmulNN(ctx, attended, w.o_proj.wT, x, { accumulate: true });
  const m = rmsnorm(ctx, x, layer.postNorm, config.rms_norm_eps);
  const gated = swigluHalves(ctx, linear(ctx, m, w.gate_up_proj));
  matmulNN(ctx, gated, w.down_proj.wT, x, { accumulate: true });
}

/** Queries, keys and values, not rotated, of h: (R, hidden). */
const project = (ctx: OpContext, { projections }: LayerTensors, h: Tensor, { H, KV, D }: DecodeShape) =>
  splitColumns(ctx, linear(ctx, h, projections.qkv_proj), H * D, KV * D);

/** One more token a row: embedded (N, hidden) becomes hidden states before the final norm, in place. */
export function decodeToken(
  ctx: OpContext,
  tensors: DecoderTensors,
  embedded: Tensor,
  rows: DecodeRows,
  { config, table, caches, shape }: Surroundings,
): Tensor {
  for (const [index, layer] of tensors.layers.entries()) {
    const cache = caches[index] as DecodeCache;
    const h = rmsnorm(ctx, embedded, layer.inputNorm, config.rms_norm_eps);
    const projected = project(ctx, layer, h, shape);
    ropeAppend(ctx, projected, rows, table, cache, shape, { prompt: false });
    afterAttention(ctx, config, layer, embedded, attentionDecode(ctx, projected.q, cache, rows, shape));
  }
  return embedded;
}

/**
 * G prompts of TP places: fills the prompt caches and returns the hidden states before the final norm (G, hidden) of
 * the rows `last`. `info`, `pos`: (G·TP) u32; `ends`: the rows of the last tokens, without tokens of their own behind.
 */
export function decodePrompts(
  ctx: OpContext,
  tensors: DecoderTensors,
  embedded: Tensor,
  { info, pos, last, ends }: { info: Tensor; pos: Tensor; last: Tensor; ends: DecodeRows },
  { config, table, caches, shape }: Surroundings,
): Tensor {
  const { G: B, H, KV, D, TP: T } = shape;
  const append = (index: number, layer: LayerTensors) => {
    const h = rmsnorm(ctx, embedded, layer.inputNorm, config.rms_norm_eps);
    const projected = project(ctx, layer, h, shape);
    const cache = caches[index] as DecodeCache;
    ropeAppend(ctx, projected, { slots: ends.slots, pos }, table, cache, shape, { prompt: true });
    return { q: projected.q, cache };
  };
  const top = tensors.layers.length - 1;
  for (const [index, layer] of tensors.layers.slice(0, top).entries()) {
    const { q, cache } = append(index, layer);
    const prompts = (cached: Tensor) => ctx.g.rows(cached, 0, B * T);
    const attended = promptAttention(ctx, q, prompts(cache.k), prompts(cache.v), info, { B, T, H, KV, D });
    afterAttention(ctx, config, layer, embedded, attended);
  }
  const layer = tensors.layers[top] as LayerTensors;
  const { q: all, cache } = append(top, layer);
  const x = gatherRows(ctx, embedded, last);
  const q = gatherRows(ctx, all, last);
  afterAttention(ctx, config, layer, x, attentionDecode(ctx, q, cache, ends, shape));
  return x;
}

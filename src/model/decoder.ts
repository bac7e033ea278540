/**
 * A Llama-style decoder, driven by its configuration: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
 * The same layer serves training, prompt and decoding; only how it attends differs. Pictures enter as one token a patch.
 */
import type { Tensor } from "../gpu/graph.ts";
import { type AttentionShape, attention, type Batch } from "../ops/attention.ts";
import type { OpContext } from "../ops/context.ts";
import { swigluHalves } from "../ops/elementwise.ts";
import { type EmbedInputs, embed } from "../ops/embedding.ts";
import { addRows, linear } from "../ops/linear.ts";
import { loraGradient } from "../ops/lora.ts";
import { rmsnorm } from "../ops/rmsnorm.ts";
import { rope } from "../ops/rope.ts";
import type { ModelConfig } from "./config.ts";
import type { DecoderTensors, LayerTensors } from "./weights.ts";

/** How a layer attends, given queries, keys and values side by side, queries and keys rotated: (R, (H + 2 KV)·D). */
export type Attend = (qkv: Tensor, layer: number) => Tensor;

/** Patches (P, channels·patch²) → (P, hidden); P a multiple of the patches of one picture. */
export function embedPatches(ctx: OpContext, tensors: DecoderTensors, patches: Tensor): Tensor {
  if (!tensors.vision) throw new Error("this model takes no pictures");
  return addRows(ctx, linear(ctx, patches, tensors.vision.patch), tensors.vision.position);
}

/** Token and patch ids → hidden states before the final norm. `pos`: (R) u32, `table`: see ropeTable. */
export function decoderLayers(
  ctx: OpContext,
  config: ModelConfig,
  tensors: DecoderTensors,
  embedded: Tensor,
  pos: Tensor,
  table: Tensor,
  attend: Attend,
): Tensor {
  let x = embedded;
  for (const [index, layer] of tensors.layers.entries()) {
    const input = x;
    x = ctx.g.segment(() => decoderLayer(ctx, config, layer, input, pos, table, (qkv) => attend(qkv, index)));
  }
  return x;
}

function decoderLayer(
  ctx: OpContext,
  config: ModelConfig,
  { inputNorm, postNorm, projections: w, lora }: LayerTensors,
  input: Tensor,
  pos: Tensor,
  table: Tensor,
  attend: (qkv: Tensor) => Tensor,
): Tensor {
  const { num_attention_heads: H, num_key_value_heads: KV } = config;
  const adapter = lora?.groups;
  if (lora) loraGradient(ctx, lora.factors);
  const h = rmsnorm(ctx, input, inputNorm, config.rms_norm_eps);
  const qkv = rope(ctx, linear(ctx, h, w.qkv_proj, adapter?.qkv_proj), pos, table, H + KV);
  const x = linear(ctx, attend(qkv), w.o_proj, adapter?.o_proj, input);
  const m = rmsnorm(ctx, x, postNorm, config.rms_norm_eps);
  const gated = swigluHalves(ctx, linear(ctx, m, w.gate_up_proj, adapter?.gate_up_proj));
  return linear(ctx, gated, w.down_proj, adapter?.down_proj, x);
}

/** Full sequences, batch behind batch: R = Σ B·T tokens → hidden states (R, hidden) before the final norm. */
export function decodeSequences(
  ctx: OpContext,
  config: ModelConfig,
  tensors: DecoderTensors,
  inputs: EmbedInputs & { readonly pos: Tensor; readonly patches: Tensor | null; readonly table: Tensor },
  batches: readonly Batch[],
): Tensor {
  const [first, ...more] = batches as [Batch, ...Batch[]];
  const shape: AttentionShape = {
    ...first,
    H: config.num_attention_heads,
    KV: config.num_key_value_heads,
    D: config.head_dim,
  };
  const patches = inputs.patches ? embedPatches(ctx, tensors, inputs.patches) : null;
  const embedded = embed(ctx, inputs, tensors.table, patches);
  return decoderLayers(ctx, config, tensors, embedded, inputs.pos, inputs.table, (qkv) =>
    attention(ctx, qkv, inputs.info, shape, more),
  );
}

/** Final norm and head: (R, hidden) → logits (R, vocabulary). */
export function logitsOf(ctx: OpContext, config: ModelConfig, tensors: DecoderTensors, hidden: Tensor): Tensor {
  return linear(ctx, rmsnorm(ctx, hidden, tensors.norm, config.rms_norm_eps), tensors.head);
}

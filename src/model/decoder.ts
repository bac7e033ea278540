/**
 * A Llama-style decoder, driven by its configuration: RMSNorm, rotary positions, grouped-query attention, SwiGLU.
 * The same layer serves training, prompt and decoding; only how it attends differs. Pictures enter as one token a patch.
 */
import type { Tensor } from "../gpu/graph.ts";
import { type AttentionShape, attention } from "../ops/attention.ts";
import type { OpContext } from "../ops/context.ts";
import { swiglu } from "../ops/elementwise.ts";
import { type EmbedInputs, embed } from "../ops/embedding.ts";
import { addRows, linear } from "../ops/linear.ts";
import { rmsnorm } from "../ops/rmsnorm.ts";
import { rope } from "../ops/rope.ts";
import type { ModelConfig } from "./config.ts";
import type { DecoderTensors, LayerTensors } from "./weights.ts";

/** How a layer attends, given rotated q, rotated k and v: (R, heads·D) each. */
export type Attend = (q: Tensor, k: Tensor, v: Tensor, layer: number) => Tensor;

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
    x = ctx.g.segment(() => decoderLayer(ctx, config, layer, input, pos, table, (q, k, v) => attend(q, k, v, index)));
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
  attend: (q: Tensor, k: Tensor, v: Tensor) => Tensor,
): Tensor {
  const h = rmsnorm(ctx, input, inputNorm, config.rms_norm_eps);
  const q = rope(ctx, linear(ctx, h, w.q_proj, lora.q_proj), pos, table, config.num_attention_heads);
  const k = rope(ctx, linear(ctx, h, w.k_proj, lora.k_proj), pos, table, config.num_key_value_heads);
  const v = linear(ctx, h, w.v_proj, lora.v_proj);
  const x = linear(ctx, attend(q, k, v), w.o_proj, lora.o_proj, input);
  const m = rmsnorm(ctx, x, postNorm, config.rms_norm_eps);
  const gated = swiglu(ctx, linear(ctx, m, w.gate_proj, lora.gate_proj), linear(ctx, m, w.up_proj, lora.up_proj));
  return linear(ctx, gated, w.down_proj, lora.down_proj, x);
}

/** Full sequences: (B·T) tokens → hidden states (B·T, hidden) before the final norm. */
export function decodeSequences(
  ctx: OpContext,
  config: ModelConfig,
  tensors: DecoderTensors,
  inputs: EmbedInputs & { readonly pos: Tensor; readonly patches: Tensor | null; readonly table: Tensor },
  { B, T }: { B: number; T: number },
  keep?: (k: Tensor, v: Tensor, layer: number) => void,
): Tensor {
  const shape: AttentionShape = {
    B,
    T,
    H: config.num_attention_heads,
    KV: config.num_key_value_heads,
    D: config.head_dim,
  };
  const patches = inputs.patches ? embedPatches(ctx, tensors, inputs.patches) : null;
  const embedded = embed(ctx, inputs, tensors.table, patches);
  return decoderLayers(ctx, config, tensors, embedded, inputs.pos, inputs.table, (q, k, v, layer) => {
    keep?.(k, v, layer);
    return attention(ctx, q, k, v, inputs.info, shape);
  });
}

/** Final norm and head: (R, hidden) → logits (R, vocabulary). */
export function logitsOf(ctx: OpContext, config: ModelConfig, tensors: DecoderTensors, hidden: Tensor): Tensor {
  return linear(ctx, rmsnorm(ctx, hidden, tensors.norm, config.rms_norm_eps), tensors.head);
}

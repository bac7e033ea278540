import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { attentionKernel } from "./variants.ts";

export interface AttentionShape {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly KV: number;
  readonly D: number;
  /** Positions that a token sees back, itself included; 0 or left out: all. */
  readonly window?: number;
}

/** vec4 of a head that a thread keeps in registers: the largest divisor of D/4 that is at most 8. */
function headParts(D: number): { S4: number; parts: number } {
  let S4 = Math.min(8, D / 4);
  while ((D / 4) % S4 !== 0) S4--;
  return { S4, parts: D / 4 / S4 };
}

/**
 * Scaled dot-product attention with the mask of mask.ts, grouped-query (H a multiple of KV), D a multiple of 4.
 * q: (B·T, H·D)  k, v: (B·T, KV·D)  info: (B·T) u32  → o: (B·T, H·D). Flash forward, recomputing backward (Dao 2022):
 * memory is linear in T. `window` > 0: a token sees back that many positions, itself included (prefix tokens see all of
 * their prefix); info is then (B·T, 2) u32, (word, position).
 */
export function attention(
  { g, variants }: OpContext,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  info: Tensor,
  { B, T, H, KV, D, window = 0 }: AttentionShape,
): Tensor {
  wantShape("attention", q, [B * T, H * D]);
  wantShape("attention", k, [B * T, KV * D]);
  wantShape("attention", v, [B * T, KV * D]);
  wantShape("attention", info, window > 0 ? [B * T, 2] : [B * T]);
  if (D % 4 !== 0) throw new Error(`[shape] attention: head size must be a multiple of 4, got ${D}`);
  if (H % KV !== 0) throw new Error(`[shape] attention: ${H} heads cannot share ${KV} key-value heads`);
  const { LANES, WG } = attentionKernel(variants);
  const { S4, parts } = headParts(D);
  const kernel = (name: string, rows: number) => ({
    shader: `attention_${name}?LANES=${LANES}&BROADCAST=${LANES > 1 ? 1 : 0}&S4=${S4}&PARTS=${parts > 1 ? 1 : 0}&WINDOW=${window > 0 ? 1 : 0}`,
    constants: { WG },
    uniforms: [T, H, KV, D / 4, window, f32(1 / Math.sqrt(D))],
    workgroups: [Math.ceil(rows / WG), KV * parts, B] as const,
  });
  const flops = 2 * B * H * T * T * D;
  const o = g.temp("attention", [B * T, H * D], q.requiresGrad || k.requiresGrad || v.requiresGrad);
  const lse = g.temp("lse", [B, H, T]);
  g.dispatch({
    ...kernel("fwd", (T * H) / KV),
    bindings: [read(q), read(k), read(v), read(info), write(o), write(lse)],
    flops,
  });
  g.onBackward(() => {
    const dout = g.gradOf(o);
    if (!dout) return;
    const dq = g.gradFor(q);
    const dk = g.gradFor(k);
    const dv = g.gradFor(v);
    if (dq.accumulate || dk.accumulate || dv.accumulate) throw new Error("attention: q, k and v may feed nothing else");
    const stats = g.temp("stats", [B, H, T, 2]);
    g.dispatch({
      shader: "attention_delta",
      constants: {},
      uniforms: [B, T, H, D / 4],
      bindings: [read(o), read(dout), read(lse), write(stats)],
      workgroups: grid(B * H * T, 64),
      flops: 2 * B * H * T * D,
    });
    g.dispatch({
      ...kernel("dq", (T * H) / KV),
      bindings: [read(q), read(k), read(v), read(info), read(stats), read(dout), write(dq.tensor)],
      flops: 1.5 * flops,
    });
    g.dispatch({
      ...kernel("dkv", T),
      bindings: [read(q), read(k), read(v), read(info), read(stats), read(dout), write(dk.tensor), write(dv.tensor)],
      flops: 2 * flops,
    });
  });
  return o;
}

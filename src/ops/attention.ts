import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";

export interface AttentionShape {
  readonly B: number;
  readonly T: number;
  readonly H: number;
  readonly KV: number;
  readonly D: number;
}

/**
 * Scaled dot-product attention with the mask of mask.ts, grouped-query (H a multiple of KV), D a multiple of 4.
 * q: (B·T, H·D)  k, v: (B·T, KV·D)  info: (B·T) u32  → o: (B·T, H·D). Flash forward, recomputing backward (Dao 2022).
 */
export function attention(
  { g }: OpContext,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  info: Tensor,
  { B, T, H, KV, D }: AttentionShape,
): Tensor {
  wantShape("attention", q, [B * T, H * D]);
  wantShape("attention", k, [B * T, KV * D]);
  wantShape("attention", v, [B * T, KV * D]);
  wantShape("attention", info, [B * T]);
  if (D % 4 !== 0) throw new Error(`[shape] attention: head size must be a multiple of 4, got ${D}`);
  if (H % KV !== 0) throw new Error(`[shape] attention: ${H} heads cannot share ${KV} key-value heads`);
  const uniforms = [B, T, H, KV, f32(1 / Math.sqrt(D))];
  const d4 = `?D4=${D / 4}`;
  const flops = 2 * B * H * T * T * D;
  const o = g.temp("attention", [B * T, H * D], q.requiresGrad || k.requiresGrad || v.requiresGrad);
  const lse = g.temp("lse", [B, H, T]);
  g.dispatch({
    shader: `attention_fwd${d4}`,
    constants: {},
    uniforms,
    bindings: [read(q), read(k), read(v), read(info), write(o), write(lse)],
    workgroups: [Math.ceil(T / 32), H, B],
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
      shader: `attention_delta${d4}`,
      constants: {},
      uniforms: [B, T, H],
      bindings: [read(o), read(dout), read(lse), write(stats)],
      workgroups: grid(B * H * T, 64),
      flops: 2 * B * H * T * D,
    });
    g.dispatch({
      shader: `attention_dq${d4}`,
      constants: {},
      uniforms,
      bindings: [read(q), read(k), read(v), read(info), read(stats), read(dout), write(dq.tensor)],
      workgroups: grid(B * H * T, 32),
      flops: 1.5 * flops,
    });
    g.dispatch({
      shader: `attention_dkv${d4}`,
      constants: {},
      uniforms,
      bindings: [read(q), read(k), read(v), read(info), read(stats), read(dout), write(dk.tensor), write(dv.tensor)],
      workgroups: grid(B * KV * T, 32),
      flops: 2 * flops,
    });
  });
  return o;
}

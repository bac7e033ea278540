import { f32, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { largestDivisor } from "./lanes.ts";
import { attentionKernel } from "./variants.ts";

/** B sequences of T tokens. */
export interface Batch {
  readonly B: number;
  readonly T: number;
}

export interface AttentionShape extends Batch {
  readonly H: number;
  readonly KV: number;
  readonly D: number;
  /** Positions that a token sees back, itself included; 0 or left out: all. */
  readonly window?: number;
}

/** vec4 of a head that a thread keeps in registers: the largest divisor of D/4 that is at most 8. */
function headParts(D: number): { S4: number; parts: number } {
  const S4 = largestDivisor(D / 4, 8);
  return { S4, parts: D / 4 / S4 };
}

function check(info: Tensor, { H, KV, D, window = 0 }: AttentionShape, rows: number): void {
  wantShape("attention", info, window > 0 ? [rows, 2] : [rows]);
  if (D % 4 !== 0) throw new Error(`[shape] attention: head size must be a multiple of 4, got ${D}`);
  if (H % KV !== 0) throw new Error(`[shape] attention: ${H} heads cannot share ${KV} key-value heads`);
}

/** Where q, k and v lie, in elements: tokens so far apart, the first key and value so far from the tensor's beginning. */
interface Strides {
  readonly q: number;
  readonly kv: number;
  readonly k: number;
  readonly v: number;
}

/** What the three kernels have in common. A key-value head's threads are those of its queries, or those of its keys. */
function kernel(
  { variants }: OpContext,
  name: "fwd" | "dq" | "dkv",
  { H, KV, D, window = 0 }: AttentionShape,
  batches: readonly Batch[],
  strides: Strides,
  trained = true,
) {
  const { LANES, EXCHANGE, SKIP, ROWS: most, WG } = attentionKernel(variants);
  const ROWS = trained ? most : 1; // more compile longer, and the first answer waits for what prompts need
  const { S4, parts } = headParts(D);
  const longest = Math.max(...batches.map(({ T }) => T));
  const threads = name === "dkv" ? longest : (longest * H) / KV;
  let [sequence, row] = [0, 0];
  const places = batches.flatMap(({ B, T }) => {
    const place = [sequence, row, T, 0];
    sequence += B;
    row += B * T;
    return place;
  });
  const { q, kv, k, v } = strides;
  return {
    shader: `attention_${name}?LANES=${LANES}&EXCHANGE=${EXCHANGE}&ROWS=${ROWS}&SKIP=${SKIP}&S4=${S4}&PARTS=${parts > 1 ? 1 : 0}&WINDOW=${window > 0 ? 1 : 0}&BATCHES=${batches.length}`,
    constants: { WG },
    uniforms: [H, KV, D / 4, window, q / 4, kv / 4, k / 4, v / 4, f32(1 / Math.sqrt(D)), 0, 0, 0, ...places],
    workgroups: [Math.ceil(threads / (WG * ROWS)), KV * parts, sequence] as const,
  };
}

const flopsOf = ({ H, D }: AttentionShape, batches: readonly Batch[]): number =>
  batches.reduce((sum, { B, T }) => sum + 2 * B * H * T * T * D, 0);

/** Appends the forward kernel. Returns o and its log-sum-exp. */
function forward(
  ctx: OpContext,
  [q, k, v]: readonly [Tensor, Tensor, Tensor],
  info: Tensor,
  shape: AttentionShape,
  batches: readonly Batch[],
  strides: Strides,
  trained: boolean,
): { o: Tensor; lse: Tensor } {
  const { g } = ctx;
  const { H, D } = shape;
  const [rows] = q.shape as [number];
  const o = g.temp(
    "attention",
    [rows, H * D],
    [q, k, v].some((tensor) => tensor.requiresGrad),
  );
  const lse = g.temp("lse", [rows, H]);
  g.dispatch({
    ...kernel(ctx, "fwd", shape, batches, strides, trained),
    bindings: [read(q), read(k), read(v), read(info), write(o), write(lse)],
    flops: flopsOf(shape, batches),
  });
  return { o, lse };
}

/**
 * Scaled dot-product attention with the mask of mask.ts, grouped-query (H a multiple of KV), D a multiple of 4.
 * qkv: (R, (H + 2 KV)·D), queries, keys and values of a token side by side; info: (R) u32 → o: (R, H·D). The R rows are
 * B sequences of T tokens, and behind them those of `more`, which may be of other lengths. Flash forward, recomputing
 * backward (Dao 2022): memory is linear in T. `window` > 0: a token sees back that many positions, itself included
 * (prefix tokens see all of their prefix); info is then (R, 2) u32, (word, position).
 */
export function attention(
  ctx: OpContext,
  qkv: Tensor,
  info: Tensor,
  shape: AttentionShape,
  more: readonly Batch[] = [],
): Tensor {
  const { g } = ctx;
  const { H, KV, D } = shape;
  const batches = [{ B: shape.B, T: shape.T }, ...more];
  const rows = batches.reduce((sum, { B, T }) => sum + B * T, 0);
  check(info, shape, rows);
  const width = (H + 2 * KV) * D;
  wantShape("attention", qkv, [rows, width]);
  const strides = { q: width, kv: width, k: H * D, v: (H + KV) * D };
  const { o, lse } = forward(ctx, [qkv, qkv, qkv], info, shape, batches, strides, true);
  g.onBackward(() => {
    const dout = g.gradOf(o);
    if (!dout) return;
    const dqkv = g.gradFor(qkv);
    if (dqkv.accumulate) throw new Error("attention: its input may feed nothing else");
    const stats = g.temp("stats", [rows, H, 2]);
    g.dispatch({
      ...kernel(ctx, "dq", shape, batches, strides),
      bindings: [read(qkv), read(info), read(lse), read(o), read(dout), write(dqkv.tensor), write(stats)],
      flops: 1.5 * flopsOf(shape, batches),
    });
    g.dispatch({
      ...kernel(ctx, "dkv", shape, batches, strides),
      bindings: [read(qkv), read(info), read(stats), read(dout), write(dqkv.tensor)],
      flops: 2 * flopsOf(shape, batches),
    });
  });
  return o;
}

/** The same, forward only, with q: (B·T, H·D) and k, v: (B·T, KV·D) in tensors of their own: a prompt against its caches. */
export function promptAttention(
  ctx: OpContext,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  info: Tensor,
  shape: AttentionShape,
): Tensor {
  const { B, T, H, KV, D } = shape;
  check(info, shape, B * T);
  wantShape("attention", q, [B * T, H * D]);
  wantShape("attention", k, [B * T, KV * D]);
  wantShape("attention", v, [B * T, KV * D]);
  return forward(ctx, [q, k, v], info, shape, [shape], { q: H * D, kv: KV * D, k: 0, v: 0 }, false).o;
}

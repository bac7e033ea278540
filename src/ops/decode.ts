/** Attention of inference: keys and values go into caches, one new token a row looks back at them. No gradients. */
import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";
import { onGpu } from "./variants.ts";

/** Which row is what while decoding: slots (N,4) as in SampleState, and the positions (N) of the rows' tokens. */
export interface DecodeRows {
  readonly slots: Tensor;
  readonly pos: Tensor;
}

/** Caches of one layer (G·TP + G·K·TS, KV·D): TP places for each prompt, which its K samples share, TS for each sample. */
export interface DecodeCache {
  readonly k: Tensor;
  readonly v: Tensor;
}

export interface DecodeShape {
  /** Prompts, and samples of each. */
  readonly G: number;
  readonly K: number;
  readonly H: number;
  readonly KV: number;
  readonly D: number;
  readonly TP: number;
  readonly TS: number;
}

interface Projected {
  readonly q: Tensor | null; // (R, H·D), null: there are only keys and values
  readonly k: Tensor; // (R, KV·D)
  readonly v: Tensor; // (R, KV·D)
}

function wantCache(op: string, cache: DecodeCache, { G, K, KV, D, TP, TS }: DecodeShape): void {
  wantShape(op, cache.k, [G * (TP + K * TS), KV * D]);
  wantShape(op, cache.v, [G * (TP + K * TS), KV * D]);
}

/**
 * Rotates q in place and puts rotated k, and v, into a cache. `prompt`: the rows are the G·TP places of all prompts;
 * otherwise each is a token of its sample and goes to the place of its position. table: see ropeTable.
 */
export function ropeAppend(
  { g }: OpContext,
  { q, k, v }: Projected,
  { slots, pos }: DecodeRows,
  table: Tensor,
  cache: DecodeCache,
  shape: DecodeShape,
  { prompt }: { prompt: boolean },
): void {
  const { G, H, KV, D, TP, TS } = shape;
  const [R] = k.shape as [number, number];
  if (q) wantShape("rope_append", q, [R, H * D]);
  wantShape("rope_append", k, [R, KV * D]);
  wantShape("rope_append", v, [R, KV * D]);
  wantShape("rope_append", pos, [R]);
  wantCache("rope_append", cache, shape);
  if (table.shape[2] !== D / 2)
    throw new Error(`[shape] rope_append.${k.name}: table is for heads of ${(table.shape[2] ?? 0) * 2}, got ${D}`);
  const { shader, width } = lanes("rope_append", D / 2);
  g.dispatch({
    shader,
    constants: { OWN: prompt ? 0 : 1, H: q ? H : 0, KV, HALF: D / 2 / width },
    uniforms: [R, G, TP, TS],
    bindings: [
      write(q ?? g.temp("no queries", [4])),
      read(k),
      read(v),
      read(pos),
      read(table),
      read(slots),
      write(cache.k),
      write(cache.v),
    ],
    workgroups: grid((R * Math.max(H, KV) * D) / 2 / width, ELEMENTWISE),
    flops: 3 * R * (H + KV) * D,
  });
}

/**
 * Positions that one thread, or one team, reads; a longer context is split into parts of this many. It depends on nothing else of the
 * batch, so that an answer does not: a row's sum is cut at the same positions whatever rows and lengths stand beside it.
 */
const PART = 128;

/** Threads that share a part on a GPU, where one alone would wait for memory position by position. */
const TEAM = 32;

/** q: (N, H·D) against its prompt and its sample's tokens up to its own position: (N, H·D). */
export function attentionDecode(
  { g, variants }: OpContext,
  q: Tensor,
  cache: DecodeCache,
  { slots, pos }: DecodeRows,
  shape: DecodeShape,
): Tensor {
  const { G, K, H, KV, D, TP, TS } = shape;
  const [N] = q.shape as [number, number];
  wantShape("attention_decode", q, [N, H * D]);
  wantShape("attention_decode", slots, [N, 4]);
  wantCache("attention_decode", cache, shape);
  const Z = Math.ceil((TP + TS) / PART);
  const o = g.temp("attention", [N, H * D]);
  const parts = Z === 1 ? o : g.temp("parts of attention", [Z, N, H, D + 4]);
  const team = onGpu(variants.matmul) ? TEAM : 0;
  g.dispatch({
    shader: `attention_decode?D4=${D / 4}&SPLIT=${Z === 1 ? 0 : 1}&TEAM=${team}&COLUMNS=${Math.ceil(D / 4 / TEAM)}`,
    constants: {},
    uniforms: [N, K, H, KV, G, TP, TS, f32(1 / Math.sqrt(D)), Z, PART],
    bindings: [read(q), read(cache.k), read(cache.v), read(slots), read(pos), write(parts)],
    workgroups: grid(N * H * Z * Math.max(team, 1), 32),
    flops: 4 * N * H * (TP + TS / 2) * D,
  });
  if (Z === 1) return o;
  g.dispatch({
    shader: "attention_merge",
    constants: {},
    uniforms: [N, H, D / 4, TS, PART],
    bindings: [read(parts), read(slots), read(pos), write(o)],
    workgroups: grid((N * H * D) / 4, 64),
    flops: 2 * N * H * Z * D,
  });
  return o;
}

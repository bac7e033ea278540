/**
 * Low-rank updates of the projections that read one input (Hu 2021, arXiv 2106.09685): y += s (x A_m) B_m in the columns
 * of projection m, for all of them in one dispatch a pass; likewise their gradients. dW is never made.
 */
import { type Dispatch, f32, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { reduceSum } from "./matmul.ts";
import { lanesOf } from "./variants.ts";

/** One projection of a group: its columns in y, and the places of its factors in the flat tensor, in elements. */
export interface LoraMember {
  readonly first: number;
  readonly width: number;
  /** A: (in, rank), PEFT's lora_A.weight transposed. */
  readonly a: number;
  /** B: (rank, width), PEFT's lora_B.weight transposed. */
  readonly b: number;
}

/** The factors of one layer, in one flat tensor. */
export interface LoraFactors {
  readonly factors: Tensor; // (n)
  /** A multiple of 4: factors of another rank are filled up with zeros, which stay zero. */
  readonly rank: number;
  readonly scale: number; // alpha / r, or alpha / √r for rsLoRA
  /** Where all layers of a graph leave the parts of their gradient, one layer after the other. */
  readonly shared: LoraParts;
}

/** Made by the first layer of a graph that needs it; what no kernel writes is zero and stays zero. */
export interface LoraParts {
  parts: Tensor | null; // (Z, n)
  /** They hold a gradient that has not been added up. */
  pending: boolean;
}

/** The adapters of the one to three projections that `linear` computes together. */
export interface Lora extends LoraFactors {
  readonly members: readonly LoraMember[];
}

const WG = 16;
const PARTS_BYTES = 2 ** 24;

/** vec4 of a factor's columns that a thread takes: as many as its subgroup loads at once. */
const tileOf = (lanes: number, rank: number): number => (lanes !== 4 && (rank / 4) % 2 === 0 ? 2 : 1);

type Member = readonly [first: number, width: number, place: number, other: number];

/** Sizes in vec4, eight words of them, then three members. */
const words = (head: Dispatch["uniforms"], members: readonly Member[]): Dispatch["uniforms"] => [
  ...head,
  ...Array(8 - head.length).fill(0),
  ...[0, 1, 2].flatMap((m) => (members[m] ?? [0, 0, 0, 0]).map((n) => n / 4)),
];

/** z: (R, members · rank). NN: z_m = scale · wide A_m, every member reads all of wide. NT: z_m = scale · (its columns of wide) B_mᵀ. */
function skinny(ctx: OpContext, wide: Tensor, lora: Lora, kind: "nn" | "nt", scale: number, name: string): Tensor {
  const { g } = ctx;
  const [R, W] = wide.shape as [number, number];
  const { rank, members } = lora;
  const { LANES, EXCHANGE } = lanesOf(ctx.variants.matmul);
  const J = tileOf(LANES, rank);
  const ROWS = EXCHANGE === 2 ? 4 : 2;
  const z = g.temp(name, [R, members.length * rank], true);
  g.dispatch({
    shader: `lora_skinny?EXCHANGE=${EXCHANGE}&NT=${kind === "nt" ? 1 : 0}&ROWS=${ROWS}&J=${J}&QUADS=${4 * J}`,
    constants: { WG },
    uniforms: words(
      [R, W / 4, rank / 4, members.length, f32(scale)],
      members.map(({ first, width, a, b }): Member => (kind === "nn" ? [0, W, a, 0] : [first, width, b, 0])),
    ),
    bindings: [read(wide), read(lora.factors), write(z)],
    workgroups: [Math.ceil(R / (WG * ROWS)), (members.length * rank) / 4 / J, 1],
    flops: 2 * R * rank * (kind === "nn" ? members.length * W : members.reduce((sum, { width }) => sum + width, 0)),
  });
  return z;
}

/** NN: y_m += scale · z_m B_m in the columns of each member. NT: y += scale · Σ_m z_m A_mᵀ. `places`: of z_m in a row of z. */
function wide(
  ctx: OpContext,
  z: Tensor,
  zStride: number,
  places: readonly number[],
  lora: Lora,
  y: Tensor,
  kind: "nn" | "nt",
  scale: number,
): void {
  const [R, W] = y.shape as [number, number];
  const { rank, members } = lora;
  const { LANES, EXCHANGE } = lanesOf(ctx.variants.matmul);
  const LOADS = LANES > 1 ? 2 : 8;
  const columns = kind === "nn" ? Math.max(...members.map(({ width }) => width)) : W;
  ctx.g.dispatch({
    shader: `lora_wide?LANES=${LANES}&LOADS=${LOADS}&EXCHANGE=${EXCHANGE}&NT=${kind === "nt" ? 1 : 0}`,
    constants: { WG },
    uniforms: words(
      [R, W / 4, rank / 4, members.length, zStride / 4, f32(scale)],
      members.map(({ first, width, a, b }, m): Member => {
        const place = places[m] as number;
        return kind === "nn" ? [first, width, b, place] : [0, W, a, place];
      }),
    ),
    bindings: [read(z), read(lora.factors), write(y)],
    workgroups: [Math.ceil(columns / 4 / WG), Math.ceil(R / (LANES * LOADS)), kind === "nn" ? members.length : 1],
    flops: 2 * R * rank * (kind === "nn" ? members.reduce((sum, { width }) => sum + width, 0) : members.length * W),
  });
}

const placesOf = ({ members, rank }: Lora): number[] => members.map((_, m) => m * rank);

/** Appends y += s (x A) B. Returns x A: (R, members · rank), for `loraBackward`. All widths must be multiples of 4. */
export function loraForward(ctx: OpContext, x: Tensor, lora: Lora, y: Tensor): Tensor {
  const z = skinny(ctx, x, lora, "nn", 1, `${y.name} lora_z`);
  wide(ctx, z, z.shape[1] as number, placesOf(lora), lora, y, "nn", lora.scale);
  return z;
}

/**
 * forward was: y += s (x A) B, z = x A
 * dz = s dy Bᵀ    dB = s zᵀ dy    dA = xᵀ dz    dx += dz Aᵀ    (`dx` null: not wanted; it must hold what is added to)
 */
export function loraBackward(ctx: OpContext, x: Tensor, z: Tensor, lora: Lora, dy: Tensor, dx: Tensor | null): void {
  const { g } = ctx;
  const { rank, members, scale, shared, factors } = lora;
  const [R, K] = x.shape as [number, number];
  const dz = skinny(ctx, dy, lora, "nt", scale, `d${z.name}`);
  const most = Math.max(1, Math.min(16, Math.floor(PARTS_BYTES / (4 * factors.size)), Math.ceil(R / 64)));
  shared.parts ??= g.output("lora parts", [most, factors.size]);
  shared.pending = true;
  const { parts } = shared;
  const Z = parts.shape[0] as number;
  const { LANES, EXCHANGE } = lanesOf(ctx.variants.matmul);
  const J = tileOf(LANES, rank);
  const columns = Math.max(K, ...members.map(({ width }) => width));
  wantShape("lora", parts, [Z, factors.size]);
  g.dispatch({
    shader: `lora_grad?EXCHANGE=${EXCHANGE}&J=${J}&STEP=${Math.max(1, LANES / J)}`,
    constants: { WG },
    uniforms: words(
      [R, Math.ceil(R / Z), K / 4, dy.shape[1] as number, rank / 4, members.length, factors.size / 4, f32(scale)].map(
        (n, i) => (i === 3 ? (n as number) / 4 : n),
      ),
      members.map(({ first, width, a, b }): Member => [first, width, a, b]),
    ),
    bindings: [read(x), read(dy), read(dz), read(z), write(parts)],
    workgroups: [Math.ceil(columns / 4 / WG), (2 * members.length * rank) / 4 / J, Z],
    flops: 2 * R * rank * (members.length * K + members.reduce((sum, { width }) => sum + width, 0)),
  });
  if (dx) wide(ctx, dz, dz.shape[1] as number, placesOf(lora), lora, dx, "nt", 1);
}

/** Registers the end of a layer's gradient, the sum of its parts: call it before the layer's first `linear`. */
export function loraGradient(ctx: OpContext, { factors, shared }: LoraFactors): void {
  const { g } = ctx;
  if (!factors.requiresGrad) return;
  g.onBackward(() => {
    if (!shared.parts || !shared.pending) return; // no loss depends on this layer
    shared.pending = false;
    const grad = g.gradFor(factors);
    reduceSum(ctx, shared.parts, grad.tensor, shared.parts.shape[0] as number, grad.accumulate);
  });
}

/** Appends y(in, W) += s A B: the update itself, to hold a weight with its adapter added. */
export function loraMerge(ctx: OpContext, lora: Lora, y: Tensor): void {
  wide(
    ctx,
    lora.factors,
    lora.rank,
    lora.members.map(({ a }) => a),
    lora,
    y,
    "nn",
    lora.scale,
  );
}

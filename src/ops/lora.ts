/**
 * Low-rank updates of the projections that read one input (Hu 2021, arXiv 2106.09685): y += s (x A_m) B_m in the columns
 * of projection m, for all of them at once: x A_m by a kernel of its own, the rest inside the projections' product; likewise
 * their gradients. dW is never made.
 */
import { type Dispatch, f32, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { MatmulVariant, OpContext } from "./context.ts";
import { type LoraTerm, memberWords, reduceSum } from "./matmul.ts";
import { lanesOf, onGpu } from "./variants.ts";

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

/** Threads of a workgroup. */
const workgroupOf = (family: MatmulVariant): number => (onGpu(family) ? 32 : 16);
const PARTS_BYTES = 2 ** 24;

/** Parts of the rows for the factors' gradients: enough to fill a GPU; on a software adapter each has its price. */
const partsFor = (family: MatmulVariant): number => (onGpu(family) ? 16 : 4);

/** vec4 of a factor's columns that a thread takes: as many as its subgroup loads at once. */
const tileOf = (lanes: number, rank: number): number => (lanes !== 4 && (rank / 4) % 2 === 0 ? 2 : 1);

/** Eight words, then the members. */
const words = (head: Dispatch["uniforms"], members: LoraTerm["members"]): Dispatch["uniforms"] => [
  ...head,
  ...Array(8 - head.length).fill(0),
  ...memberWords(members),
];

/** z: (R, members · rank), scale in it. A: z_m = scale · wide A_m, every member reads all of wide. B: z_m = scale · (its columns of wide) B_mᵀ. */
function skinny(ctx: OpContext, wide: Tensor, lora: Lora, factor: LoraTerm["factor"], name: string): Tensor {
  const { g } = ctx;
  const [R, W] = wide.shape as [number, number];
  const { rank, members, scale } = lora;
  const { LANES, EXCHANGE } = lanesOf(ctx.variants.matmul);
  const J = tileOf(LANES, rank);
  const WG = workgroupOf(ctx.variants.matmul);
  const ROWS = onGpu(ctx.variants.matmul) ? 1 : EXCHANGE === 2 ? 4 : 2;
  const z = g.temp(name, [R, members.length * rank], true);
  g.dispatch({
    shader: `lora_skinny?EXCHANGE=${EXCHANGE}&NT=${factor === "B" ? 1 : 0}&ROWS=${ROWS}&J=${J}&QUADS=${4 * J}`,
    constants: { WG },
    uniforms: words(
      [R, W / 4, rank / 4, members.length, f32(scale)],
      members.map(({ first, width, a, b }) => (factor === "A" ? [0, W, a, 0] : [first, width, b, 0])),
    ),
    bindings: [read(wide), read(lora.factors), write(z)],
    workgroups: [Math.ceil(R / (WG * ROWS)), (members.length * rank) / 4 / J, 1],
    flops: 2 * R * rank * (factor === "A" ? members.length * W : members.reduce((sum, { width }) => sum + width, 0)),
  });
  return z;
}

/** z = s x A: (R, members · rank), for the other functions. All widths must be multiples of 4. */
export const loraInput = (ctx: OpContext, x: Tensor, lora: Lora): Tensor =>
  skinny(ctx, x, lora, "A", `${x.name} lora_z`);

/** What `z` adds to the projections, z B, in the product that computes them. */
export const loraTerm = (z: Tensor, { factors, rank, members }: Lora): LoraTerm => ({
  z,
  factors,
  rank,
  factor: "B",
  members: members.map(({ first, width, b }, m) => [first, width, b, m * rank]),
});

/** dz = s dy Bᵀ. */
export const loraOutputGrad = (ctx: OpContext, dy: Tensor, lora: Lora): Tensor =>
  skinny(ctx, dy, lora, "B", `${dy.name} lora_dz`);

/** What `dz` adds to the gradient of x: (R, width), dz Aᵀ, in the product that computes it. */
export const loraInputTerm = (dz: Tensor, { factors, rank, members }: Lora, width: number): LoraTerm => ({
  z: dz,
  factors,
  rank,
  factor: "A",
  members: members.map(({ a }, m) => [0, width, a, m * rank]),
});

/**
 * forward was: y += z B, z = s x A
 * dB = zᵀ dy    dA = xᵀ dz, by parts of the rows
 */
export function loraFactorGrads(ctx: OpContext, x: Tensor, z: Tensor, dy: Tensor, dz: Tensor, lora: Lora): void {
  const { g } = ctx;
  const { rank, members, shared, factors } = lora;
  const [R, K] = x.shape as [number, number];
  const [, W] = dy.shape as [number, number];
  const most = Math.max(
    1,
    Math.min(partsFor(ctx.variants.matmul), Math.floor(PARTS_BYTES / (4 * factors.size)), Math.ceil(R / 64)),
  );
  shared.parts ??= g.output("lora parts", [most, factors.size]);
  shared.pending = true;
  const { parts } = shared;
  const Z = parts.shape[0] as number;
  const { LANES, EXCHANGE } = lanesOf(ctx.variants.matmul);
  const J = tileOf(LANES, rank);
  const WG = workgroupOf(ctx.variants.matmul);
  const columns = Math.max(K, ...members.map(({ width }) => width));
  wantShape("lora", parts, [Z, factors.size]);
  g.dispatch({
    shader: `lora_grad?EXCHANGE=${EXCHANGE}&J=${J}&STEP=${Math.max(1, LANES / J)}`,
    constants: { WG },
    uniforms: words(
      [R, Math.ceil(R / Z), K / 4, W / 4, rank / 4, members.length, factors.size / 4],
      members.map(({ first, width, a, b }) => [first, width, a, b]),
    ),
    bindings: [read(x), read(dy), read(dz), read(z), write(parts)],
    workgroups: [Math.ceil(columns / 4 / WG), (2 * members.length * rank) / 4 / J, Z],
    flops: 2 * R * rank * (members.length * K + members.reduce((sum, { width }) => sum + width, 0)),
  });
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
export function loraMerge(ctx: OpContext, { factors, rank, scale, members }: Lora, y: Tensor): void {
  const [R, W] = y.shape as [number, number];
  const { LANES, EXCHANGE } = lanesOf(ctx.variants.matmul);
  const LOADS = LANES > 1 ? 2 : 8;
  const WG = workgroupOf(ctx.variants.matmul);
  const widths = members.map(({ width }) => width);
  ctx.g.dispatch({
    shader: `lora_merge?LANES=${LANES}&LOADS=${LOADS}&EXCHANGE=${EXCHANGE}`,
    constants: { WG },
    uniforms: words(
      [R, W / 4, rank / 4, members.length, f32(scale)],
      members.map(({ first, width, a, b }) => [first, width, b, a]),
    ),
    bindings: [read(factors), write(y)],
    workgroups: [Math.ceil(Math.max(...widths) / 4 / WG), Math.ceil(R / (LANES * LOADS)), members.length],
    flops: 2 * R * rank * widths.reduce((sum, width) => sum + width, 0),
  });
}

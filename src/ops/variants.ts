/**
 * The matrix product's kernels, and which one an adapter and a shape get: the tuned one, or a default.
 *
 * A choice is a text, so that a run can journal what it is pinned to and a replay can take it from there: a kernel's
 * name, or `name/Z` where the sum is split into Z parts ("sg8-16", "tile-64x64/4").
 */
import { FAMILIES, type MatmulVariant, type Product, type Variants } from "./context.ts";

export interface Kernel {
  /** Shader with its constants, without those of the operands (NT, F16, HALF_A, PLUS). */
  readonly shader: string;
  /** Rows of y and vec4 columns of y that a workgroup owns. */
  readonly rows: number;
  readonly columns: number;
  /** Least lanes of a subgroup that it needs, 0 if it uses no subgroups. */
  readonly lanes: number;
  readonly threads: number;
  /** Its workgroup may be narrower where y has few columns: the overrides WX and, for nn and nt, WY. */
  readonly narrow?: "WX" | "WX and WY";
  /** Vec4 of columns that a thread owns, 1 if not given: N must be a multiple of as many. Only f32 operands. */
  readonly block?: number;
  /** What K (nn) or the rows of y (tn) must be a multiple of, 4 if not given. */
  readonly multiple?: number;
  /** It cannot add what adapters add. */
  readonly bare?: true;
  /** A kernel of tn, which takes the a of nn once that is transposed: the rows of y must be a multiple of 4. */
  readonly turned?: true;
}

const broadcast = (lanes: 4 | 8, loads: number): Kernel => ({
  shader: `matmul_nn?EXCHANGE=1&LANES=${lanes}&LOADS=${loads}`,
  rows: lanes * loads,
  columns: 16,
  lanes,
  threads: 16,
});
const plain = (rows: number): Kernel => ({
  shader: `matmul_nn?LOADS=${rows}`,
  rows,
  columns: 16,
  lanes: 0,
  threads: 16,
  narrow: "WX and WY",
});
const tile = (TX: number, TY: number, ROWS: number, COLS: number, KT: number): Kernel => ({
  shader: `matmul_tile?TX=${TX}&TY=${TY}&ROWS=${ROWS}&COLS=${COLS}&KT=${KT}`,
  rows: TY * ROWS,
  columns: TX * COLS,
  lanes: 0,
  threads: TX * TY,
});
const gemv = (ROWS: number): Kernel => ({
  shader: `matmul_gemv?ROWS=${ROWS}`,
  rows: ROWS,
  columns: 16,
  lanes: 0,
  threads: 128,
  bare: true,
});
const transposed = (QUADS: number, STEP: number, lanes: 0 | 4 | 8): Kernel => ({
  shader: `matmul_tn?QUADS=${QUADS}&STEP=${STEP}&EXCHANGE=${lanes > 0 ? 1 : 0}`,
  rows: 4 * QUADS,
  columns: 16,
  lanes,
  threads: 16,
  ...(lanes === 0 ? { narrow: "WX" } : {}),
});

const quad = (loads: number, cols: number): Kernel => ({
  shader: `matmul_quad?LOADS=${loads}&AV=2&COLS=${cols}&COUNT=${4 * loads * cols}`,
  rows: 4 * loads,
  columns: 4 * cols,
  lanes: 4,
  threads: 4,
  block: cols,
  multiple: 8,
});
const quadTransposed = (av: number, cols: number): Kernel => ({
  shader: `matmul_quad?TN=1&LOADS=1&AV=${av}&COLS=${cols}&COUNT=${16 * av * cols}`,
  rows: 16 * av,
  columns: 4 * cols,
  lanes: 4,
  threads: 4,
  block: cols,
  multiple: 4 * av,
});

/**
 * Blocks of 32 rows × 64 columns of eight lanes, for llvmpipe: the most that fits the registers and the processor's cache for
 * instructions. Two rows of the batch a turn, so that each sum passes through memory half as often.
 */
const BLOCK: Kernel = {
  shader: "matmul_tn?QUADS=8&STEP=1&TURNS=2&COLS=2&BLOCK=1&EXCHANGE=1",
  rows: 32,
  columns: 32,
  lanes: 8,
  threads: 16,
};

/** y = a b and y = a bᵀ. */
const NT: Readonly<Record<string, Kernel>> = {
  "plain-1": plain(1),
  "plain-4": plain(4),
  "plain-8": plain(8),
  "sg4-4": broadcast(4, 1),
  "sg4-8": broadcast(4, 2),
  "sg4-16": broadcast(4, 4),
  "sg8-8": broadcast(8, 1),
  "sg8-16": broadcast(8, 2),
  "sg8-32": broadcast(8, 4),
  "tile-32x32": tile(8, 8, 4, 1, 4),
  "tile-64x64": tile(16, 8, 8, 1, 4),
  "tile-64x128": tile(32, 8, 8, 1, 4),
  "tile-128x128": tile(16, 16, 8, 2, 2),
  "gemv-1": gemv(1),
  "gemv-2": gemv(2),
  "gemv-4": gemv(4),
};

/** Rows × columns that a quad of lanes owns. */
const NN: Readonly<Record<string, Kernel>> = {
  ...NT,
  "quad-16x32": quad(4, 2),
  "quad-32x32": quad(8, 2),
  "quad-32x64": quad(8, 4),
  "turned-32x64": { ...BLOCK, turned: true, bare: true },
};

/** y = aᵀ b. */
const TN: Readonly<Record<string, Kernel>> = {
  "plain-8": transposed(2, 1, 0),
  "plain-16": transposed(4, 1, 0),
  "sg4-8": transposed(2, 2, 4),
  "sg4-16": transposed(4, 1, 4),
  "sg8-8": transposed(2, 4, 8),
  "sg8-16": transposed(4, 2, 8),
  "sg8-32": transposed(8, 1, 8),
  "sg8-32x64": BLOCK,
  "quad-16x32": quadTransposed(1, 2),
  "quad-32x32": quadTransposed(2, 2),
};

export const kernelsOf = (product: Product): Readonly<Record<string, Kernel>> => ({ nn: NN, nt: NT, tn: TN })[product];

/** Can it do a product of these sizes? K is summed; `rows` and N are the sizes of y. */
export const fits = (
  { block = 1, multiple = 4, turned }: Kernel,
  product: Product,
  { rows, K, N }: { readonly rows: number; readonly K: number; readonly N: number },
): boolean => N % (4 * block) === 0 && (product === "tn" || turned === true ? rows : K) % multiple === 0;

export interface Choice {
  readonly name: string;
  readonly kernel: Kernel;
  /** Parts that the sum is split into. */
  readonly Z: number;
}

/** Throws for a name that no kernel has: a choice journalled by another version. */
export function parseChoice(product: Product, choice: string): Choice {
  const [name, parts] = choice.split("/") as [string, string?];
  const kernel = kernelsOf(product)[name];
  const Z = Number(parts ?? 1);
  if (!kernel || !Number.isInteger(Z) || Z < 1)
    throw new Error(`matmul: there is no kernel ${choice} for ${product} in this version`);
  return { name, kernel, Z };
}

export const choiceName = ({ name, Z }: Pick<Choice, "name" | "Z">): string => (Z === 1 ? name : `${name}/${Z}`);

/** Rows vary from batch to batch: shapes are told apart by the next power of two. */
const bucket = (rows: number): number => 2 ** Math.ceil(Math.log2(rows));

/** Name of a shape in the table of tuned choices. nn, nt: R rows of y; tn: R rows that are summed, y is (K,N). */
export const shapeKey = (product: Product, R: number, K: number, N: number): string =>
  `${product} ${bucket(R)}x${K}x${N}`;

export interface Sizes {
  /** Sizes of y; K is summed. */
  readonly rows: number;
  readonly K: number;
  readonly N: number;
  /** An operand is stored in f16, which the blocks of quads do not read. */
  readonly half?: boolean;
  /** What adapters add is part of it. */
  readonly lora?: boolean;
}

/** The kernel for a product: what was tuned for this shape, or the default of the adapter's family. */
export function chooseKernel(variants: Variants, product: Product, key: string, sizes: Sizes): Choice {
  const { rows, K, N, half = false, lora = false } = sizes;
  const tuned = variants.tuned?.[key];
  const choice = tuned === undefined ? undefined : parseChoice(product, tuned);
  const able = choice && !(half && choice.kernel.block) && !(lora && choice.kernel.bare);
  if (able && fits(choice.kernel, product, sizes)) return choice;
  // Kernels that own 64 columns waste most of their threads on few; the plain ones grow narrower.
  const family = N < 32 ? "plain" : variants.matmul;
  const quad = family === "sg4" && product !== "nt" && !half ? quadFor(product, sizes) : null;
  const block = family === "sg8" && !half && !lora ? blockOfEight(product, sizes) : null;
  if (block) return parseChoice(product, block);
  if (product !== "tn") {
    const other = onGpu(family) ? tileFor(rows, N) : rowsFor(laneFamily(family), rows, N);
    return parseChoice(product, quad ?? other);
  }
  const transposed = parseChoice(product, quad ?? `${laneFamily(family)}-${rows <= 8 ? 8 : 16}`);
  const tiles = Math.ceil(rows / transposed.kernel.rows) * Math.ceil(N / 4 / transposed.kernel.columns);
  // Enough workgroups to fill a device, parts of at least 64 rows.
  return { ...transposed, Z: Math.max(1, Math.min(Math.floor(K / 64), Math.ceil(64 / tiles))) };
}

/**
 * The quad kernel for a size, null where none fits or it would be mostly outside of y. They take half a second and the largest
 * block seconds to compile on the adapters that they are for: large weights and the many rows of training are worth
 * it, a small model's first sample is not.
 */
function quadFor(product: Product, sizes: Sizes): string | null {
  const { rows, K, N, lora = false } = sizes;
  const heavy = K * N >= 2 ** 16;
  if (product === "nn" && !heavy && rows * K * N < (lora ? 2 ** 20 : 2 ** 23)) return null;
  const large = product === "nn" && rows >= 64 && heavy;
  const names = [
    ...(large ? ["quad-32x64"] : []),
    ...(rows >= 64 ? ["quad-32x32"] : []),
    ...(rows >= 16 ? ["quad-16x32"] : []),
  ];
  return names.find((name) => fits(kernelsOf(product)[name] as Kernel, product, sizes)) ?? null;
}

/** The largest block of eight lanes, where y has enough of them; a transposed copy pays where many columns read it. */
function blockOfEight(product: Product, { rows, K, N }: Sizes): string | null {
  const blocks = Math.floor(rows / 32) * Math.floor(N / 64);
  if (product === "tn") return blocks >= 16 ? "sg8-32x64" : null;
  return product === "nn" && blocks >= 64 && N >= 512 && K >= 64 && rows % 4 === 0 ? "turned-32x64" : null;
}

/** Rows that a workgroup of the register kernels should own: no more than there are, more where many remain. */
function rowsFor(family: "plain" | "sg4" | "sg8", rows: number, N: number): string {
  if (rows === 1) return "plain-1";
  if (family === "plain") return rows <= 4 ? "plain-4" : "plain-8";
  if (rows <= 4) return "sg4-4";
  if (family === "sg4" || rows <= 8) return `${family}-8`;
  return (rows / 32) * (N / 64) >= 8 ? "sg8-32" : "sg8-16"; // software adapters have few cores to fill
}

/** Tiles of shared memory: large ones where they still fill a device. */
function tileFor(rows: number, N: number): string {
  if (rows === 1) return "plain-1";
  return (rows / 64) * (N / 64) >= 64 ? "tile-64x64" : "tile-32x32";
}

/** What a run journals of the kernels that it is pinned to: the family, and every tuned shape. */
export const variantRecord = ({ matmul, tuned }: Variants): Readonly<Record<string, string>> => ({ matmul, ...tuned });

const isFamily = (name: string | undefined): name is MatmulVariant => FAMILIES.some((family) => family === name);

/** The variants of a journalled record, to replay a run with. Throws for a kernel that this version does not have. */
export function variantsFrom(record: Readonly<Record<string, string>>): Variants {
  const { matmul, ...tuned } = record;
  if (!isFamily(matmul)) throw new Error(`matmul: there is no kernel family ${matmul} in this version`);
  for (const [shape, choice] of Object.entries(tuned)) parseChoice(shape.split(" ")[0] as Product, choice);
  return { matmul, tuned };
}

/** The register kernels of a family: what tiles are made for, nn and nt, they are not needed for. */
const laneFamily = (family: MatmulVariant): "plain" | "sg4" | "sg8" =>
  family === "tile" ? "plain" : family === "tile-sg8" ? "sg8" : family;

/** Tiles are for GPUs: they want many threads, and a barrier costs them little. */
export const onGpu = (family: MatmulVariant): boolean => family.startsWith("tile");

/** Lanes among which a family's kernels share what they load (1: none), and how: see EXCHANGE in shaders.ts. */
export function lanesOf(family: MatmulVariant): { LANES: 1 | 4 | 8; EXCHANGE: 0 | 1 | 2 } {
  return (
    {
      plain: { LANES: 1, EXCHANGE: 0 },
      sg4: { LANES: 4, EXCHANGE: 2 },
      sg8: { LANES: 8, EXCHANGE: 1 },
    } as const
  )[laneFamily(family)];
}

/**
 * Attention: keys a turn, loaded by as many lanes and shared; rows (queries, or keys) of a thread, which use what was shared
 * once each; SKIP where only loops jump (see attention_mask.wgsl); threads of a workgroup. A workgroup is one subgroup
 * where subgroups have 8 lanes, so that none of its queries waits for the keys of another. Two rows a thread are for the software
 * adapters, where a broadcast costs as much as a multiply-add; a GPU wants the threads.
 */
export function attentionKernel({ matmul, subgroup = 32 }: Variants): {
  LANES: 1 | 4 | 8;
  EXCHANGE: 0 | 1 | 2;
  ROWS: 1 | 2;
  SKIP: 0 | 1;
  WG: number;
} {
  return {
    ...lanesOf(matmul),
    ROWS: matmul === "sg4" || matmul === "sg8" ? 2 : 1,
    SKIP: matmul === "sg4" ? 1 : 0,
    WG: Math.min(64, Math.max(8, subgroup)),
  };
}

/**
 * A norm's row of so many vec4: threads that share it (0: one has it alone, which needs no barrier), and threads of a
 * workgroup. A GPU wants neighbours to read neighbouring numbers, and more threads than a decoded batch has rows.
 */
export const rowTeam = ({ matmul }: Variants, vec4: number): { TEAM: number; WG: 32 | 64 } =>
  onGpu(matmul) ? { TEAM: 2 ** Math.floor(Math.log2(Math.min(64, vec4))), WG: 64 } : { TEAM: 0, WG: 32 };

/**
 * Kernel family for an adapter: tiles of shared memory on a GPU, with broadcast for what has no tiles. On a software adapter, where a barrier costs microseconds,
 * the broadcast kernels, which read lanes 0…3 or 0…7, so that every subgroup must have that many: `subgroupMinSize` says
 * so. Their result does not depend on the subgroup size.
 */
export function chooseVariants(adapter: {
  readonly features: readonly string[];
  readonly subgroupMinSize: number;
  readonly fallback: boolean;
}): Variants {
  const subgroup = adapter.features.includes("subgroups") ? adapter.subgroupMinSize : 0;
  if (!adapter.fallback) return subgroup >= 8 ? { matmul: "tile-sg8", subgroup } : { matmul: "tile" };
  if (subgroup >= 8) return { matmul: "sg8", subgroup };
  return subgroup >= 4 ? { matmul: "sg4", subgroup } : { matmul: "plain" };
}

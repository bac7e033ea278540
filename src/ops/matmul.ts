/**
 * Matrix products: y(R,N) = scale · a(R,K) b(K,N), a bᵀ, and the weight gradient aᵀ b, with what follows them (a bias, a
 * residual) in the same kernel. vec4 kernels take sizes that are multiples of 4, in the variant that variants.ts
 * chooses; other sizes take matmul_any.
 */
import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext, Product } from "./context.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";
import { transposeAll } from "./transpose.ts";
import { type Choice, chooseKernel, shapeKey } from "./variants.ts";

/** Rows and columns of a matrix. One of dtype u32 holds f16, two neighbours of a row in a word. */
export const dims = ({ name, shape, dtype }: Tensor): [number, number] => {
  if (shape.length !== 2) throw new Error(`[shape] matmul.${name}: want (rows, columns), got (${shape.join(",")})`);
  const [rows, columns] = shape as unknown as [number, number];
  return [rows, dtype === "u32" ? 2 * columns : columns];
};

const wantDims = (tensor: Tensor, rows: number, columns: number): void =>
  wantShape("matmul", tensor, [rows, tensor.dtype === "u32" ? columns / 2 : columns]);

export interface MatmulOptions {
  readonly scale?: number;
  /** Add to what y already holds. */
  readonly accumulate?: boolean;
  /** Added to every group of rows of y, not scaled: (R,N) a residual, (N) or (1,N) a bias, (k,N) a table with k dividing R. */
  readonly plus?: Tensor;
  /** Added to the sums over K, f32: what the adapters of the projections in y add to it. nn only. */
  readonly lora?: LoraTerm;
}

/** The low-rank part of a product, see shaders/include/matmul_lora.wgsl: z times every member's factor. */
export interface LoraTerm {
  readonly z: Tensor; // (R, stride)
  readonly factors: Tensor;
  readonly rank: number;
  /** B of each member in its own columns, or Aᵀ of all of them in all columns. */
  readonly factor: "B" | "A";
  /** At most three. Multiples of 4, in elements: first column in y, columns, place of the factor, place in a row of z. */
  readonly members: readonly (readonly [first: number, width: number, place: number, row: number])[];
}

/** Members are three in the uniforms. */
export const memberWords = (members: LoraTerm["members"]): number[] =>
  [0, 1, 2].flatMap((m) => (members[m] ?? [0, 0, 0, 0]).map((n) => n / 4));

/**
 * y(R,N) = scale · (a(R,K) b(K,N) (+ lora)) (+ y) (+ plus). Each operand may be f16: a u32 matrix of half as many
 * columns, two f16 in a word. Sums are f32.
 */
export function matmulNN(ctx: OpContext, a: Tensor, b: Tensor, y: Tensor, options: MatmulOptions = {}): void {
  const [, K] = dims(a);
  const [, N] = dims(y);
  wantDims(b, K, N);
  product(ctx, "nn", { a, b, y, options });
}

/** y(R,N) = scale · a(R,K) bᵀ (+ y) (+ plus) for b(N,K). f16 as in `matmulNN`. */
export function matmulNT(
  ctx: OpContext,
  a: Tensor,
  b: Tensor,
  y: Tensor,
  options: Omit<MatmulOptions, "lora"> = {},
): void {
  const [, K] = dims(a);
  const [, N] = dims(y);
  wantDims(b, N, K);
  product(ctx, "nt", { a, b, y, options });
}

/**
 * y(M,N) = scale · aᵀ b (+ y) for a(R,M), b(R,N): the gradient of a weight. Long sums are split over parts of the rows.
 * f16 as in `matmulNN`.
 */
export function matmulTN(
  ctx: OpContext,
  a: Tensor,
  b: Tensor,
  y: Tensor,
  options: Omit<MatmulOptions, "plus" | "lora"> = {},
): void {
  const [R] = dims(a);
  const [, N] = dims(y);
  wantDims(b, R, N);
  product(ctx, "tn", { a, b, y, options });
}

interface Operands {
  readonly a: Tensor;
  readonly b: Tensor;
  readonly y: Tensor;
  readonly options: MatmulOptions;
}

/** In the sizes of the result: y is (R,N), and K is summed. */
function product(ctx: OpContext, kind: Product, { a, b, y, options }: Operands): void {
  const [rowsA, columnsA] = dims(a);
  const [R, K] = kind === "tn" ? [columnsA, rowsA] : [rowsA, columnsA];
  const [, N] = dims(y);
  wantShape("matmul", y, [R, N]);
  const { plus, lora } = options;
  const plusRows = plus ? plus.size / N : 0;
  if (plus && !(Number.isInteger(plusRows) && R % plusRows === 0))
    throw new Error(`[shape] matmul.${plus.name}: ${plus.size} elements do not divide (${R},${N})`);
  const whole = kind === "tn" ? R % 4 === 0 && N % 4 === 0 : K % 4 === 0 && N % 4 === 0;
  if (!whole) {
    if (lora) throw new Error(`[shape] matmul.${y.name}: LoRA wants multiples of 4, got (${R},${K}) by (${K},${N})`);
    anyProduct(ctx, kind, { R, K, N, plusRows }, { a, b, y, options });
    return;
  }
  ctx.variants.asked?.({ product: kind, R: rowsA, K: columnsA, N });
  const key = shapeKey(kind, rowsA, columnsA, N);
  productOf(
    ctx,
    chooseKernel(ctx.variants, kind, key, {
      rows: R,
      K,
      N,
      half: [a, b].some(({ dtype }) => dtype === "u32"),
      lora: lora !== undefined,
    }),
    kind,
    {
      a,
      b,
      y,
      options,
    },
  );
}

/** Constants of the operands that are f16. */
const halfFlags = (a: Tensor, b: Tensor): string =>
  `${a.dtype === "u32" ? "&HALF_A=1" : ""}${b.dtype === "u32" ? "&F16=1" : ""}`;

/** Appends the product in one kernel, whatever the variants say: for tuning and tests. Sizes as in `matmulNN` and others. */
export function productOf(ctx: OpContext, choice: Choice, kind: Product, { a, b, y, options }: Operands): void {
  const { g } = ctx;
  const { kernel, Z: parts } = choice;
  if (kernel.turned && kind === "nn") {
    productOf(ctx, choice, "tn", { a: transposed(ctx, a), b, y, options });
    return;
  }
  const { plus, lora, accumulate = false } = options;
  const [R, N] = dims(y);
  const K = dims(a)[kind === "tn" ? 0 : 1];
  const scale = f32(options.scale ?? 1);
  const N4 = N / 4;
  // K4 counts vec4 of k in nn and nt, single rows in tn.
  const K4 = kind === "tn" ? K : K / 4;
  const chunk = Math.ceil(K4 / parts / 2) * 2;
  const Z = Math.ceil(K4 / chunk);
  const part = Z === 1 ? y : g.temp(`part(${y.name})`, [Z, R, N]);
  const plusRows = plus ? plus.size / N : 1;
  // Few columns: more rows in a workgroup instead.
  const WX = Math.min(16, N4);
  const WY = N < 32 ? Math.max(1, Math.floor(16 / WX)) : 1;
  const rows = kernel.rows * (kernel.narrow === "WX and WY" ? WY : 1);
  const columns = kernel.narrow ? WX : kernel.columns;
  const extra = Z === 1 ? plus : undefined;
  const added = Z === 1 && accumulate ? "&ACC=1" : "";
  const low = lora ? `&LORA=1&LORA_B=${lora.factor === "B" ? 1 : 0}` : "";
  g.dispatch({
    shader: `${kernel.shader}${kind === "nt" ? "&NT=1" : ""}${halfFlags(a, b)}${extra ? "&PLUS=1" : ""}${added}${low}`,
    constants: {
      ...(kernel.narrow ? { WX } : {}),
      ...(kernel.narrow === "WX and WY" ? { WY } : {}),
    },
    uniforms: [
      ...[R, K4, N4, chunk, plusRows, scale, 0, 0],
      ...(lora
        ? [(lora.z.shape[1] as number) / 4, lora.rank / 4, lora.members.length, 0, ...memberWords(lora.members)]
        : []),
    ],
    bindings: [
      ...[read(a), read(b), write(part)],
      ...(extra ? [read(extra)] : []),
      ...(lora ? [read(lora.z), read(lora.factors)] : []),
    ],
    // Down the rows first: what a block of columns of b takes stays in a cache while a passes by.
    workgroups: [Math.ceil(R / rows), Math.ceil(N4 / columns), Z],
    flops: 2 * R * K * N + (lora ? flopsOfTerm(lora, R) : 0),
  });
  if (Z === 1) return;
  g.dispatch({
    shader: `matmul_sum?PLUS=${plus ? 1 : 0}&ACC=${accumulate ? 1 : 0}`,
    constants: {},
    uniforms: [Z, R, N4, plusRows, f32(1)],
    bindings: [read(part), write(y), ...(plus ? [read(plus)] : [])],
    workgroups: grid(R * N4, 64),
    flops: Z * y.size,
  });
}

/** A copy of a(R,K) as (K,R). */
function transposed(ctx: OpContext, a: Tensor): Tensor {
  const [R, K] = dims(a);
  const half = a.dtype === "u32";
  const turned = ctx.g.temp(`turned(${a.name})`, [K, half ? R / 2 : R], false, a.dtype);
  if (half) transpose(ctx, a, turned);
  else transposeAll(ctx, a, turned, [{ from: 0, to: 0, R, C: K }]);
  return turned;
}

const flopsOfTerm = ({ rank, members }: LoraTerm, R: number): number =>
  2 * R * rank * members.reduce((sum, [, width]) => sum + width, 0);

/** The same by the plain loop of matmul_any, for any sizes: what the other kernels are checked against. y is (R,N), K is summed. */
export function anyProduct(
  { g }: OpContext,
  kind: Product,
  { R, K, N, plusRows }: { R: number; K: number; N: number; plusRows: number },
  { a, b, y, options }: Operands,
): void {
  for (const { name, dtype } of [a, b])
    if (dtype === "u32")
      throw new Error(`[shape] matmul.${name}: f16 wants multiples of 4, got (${R},${K}) by (${K},${N})`);
  const stridesA = kind === "tn" ? [1, R] : [K, 1];
  const stridesB = kind === "nt" ? [1, K] : [N, 1];
  const { plus } = options;
  g.dispatch({
    shader: plus ? "matmul_any?PLUS=1" : "matmul_any",
    constants: { ACC: options.accumulate ? 1 : 0 },
    uniforms: [R, K, N, ...stridesA, ...stridesB, plusRows, f32(options.scale ?? 1)],
    bindings: [read(a), read(b), write(y), ...(plus ? [read(plus)] : [])],
    workgroups: grid(R * N, 64),
    flops: 2 * R * K * N,
  });
}

/** y(R,C) = x(R, C/2) u32, which holds f16: exact. */
export function unpackHalf({ g }: OpContext, x: Tensor, y: Tensor): void {
  wantShape("unpack_half", y, dims(x));
  g.dispatch({
    shader: "unpack_half",
    constants: {},
    uniforms: [x.size],
    bindings: [read(x), write(y)],
    workgroups: grid(x.size, 64),
    flops: 0,
  });
}

/** y(N…) = Σ_z part(Z, N…) (+ y), in fixed order. */
export function reduceSum({ g }: OpContext, part: Tensor, y: Tensor, Z: number, accumulate: boolean): void {
  const { shader, width } = lanes("reduce_sum", y.size);
  g.dispatch({
    shader,
    constants: { ACC: accumulate ? 1 : 0 },
    uniforms: [Z, y.size / width],
    bindings: [read(part), write(y)],
    workgroups: grid(y.size / width, ELEMENTWISE),
    flops: Z * y.size,
  });
}

/** y(C,R) = xᵀ, both f32 or both f16 (u32). */
export function transpose({ g }: OpContext, x: Tensor, y: Tensor): void {
  const [R, C] = dims(x);
  wantDims(y, C, R);
  const half = x.dtype === "u32";
  if (half !== (y.dtype === "u32") || (half && R % 2 === 1))
    throw new Error(`[shape] transpose.${x.name}: f16 wants even sizes and f16, got (${R},${C})`);
  g.dispatch({
    shader: half ? "transpose?F16=1" : "transpose",
    constants: {},
    uniforms: [R, C],
    bindings: [read(x), write(y)],
    workgroups: grid(y.size, 64),
    flops: 0,
  });
}

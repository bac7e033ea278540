/**
 * Matrix products. y(R,N) = scale · a(R,K) b(K,N), its two gradients, and the split weight gradient aᵀ b.
 * vec4 kernels take sizes that are multiples of 4, in the variant of the device; other sizes take matmul_any.
 */
import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";

const rows = { plain: 8, sg4: 8, sg8: 16 } as const;
const nnShader = { plain: "matmul_nn", sg4: "matmul_nn_sg4", sg8: "matmul_nn_sg8" } as const;
const tnShader = { plain: "matmul_tn", sg4: "matmul_tn_sg4", sg8: "matmul_tn_sg8" } as const;

const dims = (tensor: Tensor): [number, number] => {
  if (tensor.shape.length !== 2)
    throw new Error(`[shape] matmul.${tensor.name}: want (rows, columns), got (${tensor.shape.join(",")})`);
  return tensor.shape as unknown as [number, number];
};

export interface MatmulOptions {
  readonly scale?: number;
  /** Add to what y already holds. */
  readonly accumulate?: boolean;
}

/** y(R,N) = scale · a(R,K) b(K,N) (+ y). */
export function matmulNN(
  { g, variants }: OpContext,
  a: Tensor,
  b: Tensor,
  y: Tensor,
  options: MatmulOptions = {},
): void {
  const [R, K] = dims(a);
  const [, N] = dims(b);
  wantShape("matmul", b, [K, N]);
  wantShape("matmul", y, [R, N]);
  const scale = options.scale ?? 1;
  const ACC = options.accumulate ? 1 : 0;
  const flops = 2 * R * K * N;
  const bindings = [read(a), read(b), write(y)];
  if (K % 4 !== 0 || N % 4 !== 0) {
    g.dispatch({
      shader: "matmul_any",
      constants: { ACC },
      uniforms: [R, K, N, K, 1, N, 1, f32(scale)],
      bindings,
      workgroups: grid(R * N, 64),
      flops,
    });
    return;
  }
  const uniforms = [R, K / 4, N / 4, f32(scale)];
  if (variants.matmul === "plain" || N < 32) {
    // Few columns: more rows in a workgroup instead.
    const WX = Math.min(16, N / 4);
    const WY = N < 32 ? Math.max(1, Math.floor(16 / WX)) : 1;
    g.dispatch({
      shader: "matmul_nn",
      constants: { ACC, WX, WY },
      uniforms,
      bindings,
      workgroups: [Math.ceil(N / 4 / WX), Math.ceil(R / (8 * WY)), 1],
      flops,
    });
    return;
  }
  const shader = nnShader[variants.matmul];
  const WX = 16;
  g.dispatch({
    shader,
    constants: { ACC, WX },
    uniforms,
    bindings,
    workgroups: [Math.ceil(N / 4 / WX), Math.ceil(R / rows[variants.matmul]), 1],
    flops,
  });
}

/** y(M,N) = scale · aᵀ b (+ y) for a(R,M), b(R,N): the gradient of a weight. Long sums are split over row chunks. */
export function matmulTN(ctx: OpContext, a: Tensor, b: Tensor, y: Tensor, options: MatmulOptions = {}): void {
  const { g, variants } = ctx;
  const [R, M] = dims(a);
  const [, N] = dims(b);
  wantShape("matmul", b, [R, N]);
  wantShape("matmul", y, [M, N]);
  const scale = options.scale ?? 1;
  const ACC = options.accumulate ? 1 : 0;
  const flops = 2 * R * M * N;
  if (M % 4 !== 0 || N % 4 !== 0) {
    const bindings = [read(a), read(b), write(y)];
    g.dispatch({
      shader: "matmul_any",
      constants: { ACC },
      uniforms: [M, R, N, 1, M, N, 1, f32(scale)],
      bindings,
      workgroups: grid(M * N, 64),
      flops,
    });
    return;
  }
  const broadcast = variants.matmul !== "plain" && N >= 32;
  const WX = broadcast ? 16 : Math.min(16, N / 4); // 16 lanes, or the last subgroup lacks some that are broadcast from
  const shader = broadcast ? tnShader[variants.matmul] : "matmul_tn";
  const tiles = Math.ceil(M / 16) * Math.ceil(N / 4 / WX);
  // Enough workgroups to fill a device, chunks of at least 64 rows (an even number for sg8).
  const Z = Math.max(1, Math.min(Math.floor(R / 64), Math.ceil(64 / tiles)));
  const chunk = Math.ceil(R / Z / 2) * 2;
  const part = Z === 1 ? y : g.temp(`part(${y.name})`, [Z, M, N]);
  g.dispatch({
    shader,
    constants: { ACC: Z === 1 ? ACC : 0, WX },
    uniforms: [R, M / 4, N / 4, chunk, f32(scale)],
    bindings: [read(a), read(b), write(part)],
    workgroups: [Math.ceil(N / 4 / WX), Math.ceil(M / 16), Z],
    flops,
  });
  if (Z > 1) reduceSum(ctx, part, y, Z, options.accumulate ?? false);
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

/** y(C,R) = xᵀ. */
export function transpose({ g }: OpContext, x: Tensor, y: Tensor): void {
  const [R, C] = dims(x);
  wantShape("transpose", y, [C, R]);
  g.dispatch({
    shader: "transpose",
    constants: {},
    uniforms: [R, C],
    bindings: [read(x), write(y)],
    workgroups: grid(R * C, 64),
    flops: 0,
  });
}

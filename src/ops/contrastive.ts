/** What a contrastive model needs: rows of length 1, their cosines, and the log-probability of the right match. */
import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { logprob } from "./logprob.ts";
import { matmulNN, matmulTN, transpose } from "./matmul.ts";

/** Added to the square of a row's length, so that a row of zeros stays zero. */
export const L2_EPS = 1e-12;

/** y[r] = x[r] / sqrt(|x[r]|² + 1e-12).  x, y: (R,C), C a multiple of 4. */
export function l2norm({ g }: OpContext, x: Tensor): Tensor {
  const [R, C] = x.shape as [number, number];
  if (C % 4 !== 0) throw new Error(`[shape] l2norm.${x.name}: C must be a multiple of 4, got ${C}`);
  const y = g.output(`unit(${x.name})`, [R, C], "f32", x.requiresGrad);
  const inv = g.temp(`inv(${x.name})`, [R]);
  g.dispatch({
    shader: "l2norm_fwd",
    constants: {},
    uniforms: [R, C / 4, f32(L2_EPS)],
    bindings: [read(x), write(y), write(inv)],
    workgroups: grid(R, 32),
    flops: 3 * R * C,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy || !x.requiresGrad) return;
    const dx = g.gradFor(x);
    g.dispatch({
      shader: "l2norm_bwd",
      constants: { ACC: dx.accumulate ? 1 : 0 },
      uniforms: [R, C / 4],
      bindings: [read(y), read(inv), read(dy), write(dx.tensor)],
      workgroups: grid(R, 32),
      flops: 5 * R * C,
    });
  });
  return y;
}

/** s(M,N) = scale · a(M,C) b(N,C)ᵀ, with gradients to both: cosines if the rows have length 1. */
export function similarity(ctx: OpContext, a: Tensor, b: Tensor, scale = 1): Tensor {
  const { g } = ctx;
  const [M, C] = a.shape as [number, number];
  const N = b.shape[0] as number;
  wantShape("similarity", b, [N, C]);
  const bT = g.temp(`${b.name}ᵀ`, [C, N]);
  transpose(ctx, b, bT);
  const s = g.temp("similarity", [M, N], a.requiresGrad || b.requiresGrad);
  matmulNN(ctx, a, bT, s, { scale });
  // forward was: s = scale · a bᵀ
  g.onBackward(() => {
    const ds = g.gradOf(s);
    if (!ds) return;
    if (a.requiresGrad) {
      const da = g.gradFor(a);
      matmulNN(ctx, ds, b, da.tensor, { scale, accumulate: da.accumulate });
    }
    if (b.requiresGrad) {
      const db = g.gradFor(b);
      matmulTN(ctx, ds, a, db.tensor, { scale, accumulate: db.accumulate });
    }
  });
  return s;
}

/**
 * InfoNCE (van den Oord 2018): logp(M) = log softmax_n(a[m]·b[n] / temperature)[target[m]] for a: (M,C), b: (N,C),
 * target: (M) u32. Every other row of b is a negative; the loss is −mean(logp).
 */
export function infoNCE(ctx: OpContext, a: Tensor, b: Tensor, target: Tensor, temperature: number): Tensor {
  return logprob(ctx, similarity(ctx, a, b, 1 / temperature), target);
}

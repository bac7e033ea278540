import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { rowTeam } from "./variants.ts";

/** Which rows of x: (N,C) are taken, each any number of times. */
export interface TakenRows {
  readonly index: Tensor; // (R) u32: NONE for a row of zeros
  readonly inverse: Tensor; // (N) u32: where each row went first, NONE if nowhere
  readonly next: Tensor; // (R) u32: where the same row went next, NONE if nowhere
}

/**
 * y[r,c] = x[r,c] / sqrt(mean_c(x²) + eps) · weight[c].  x, y: (R,C), weight: (C), C a multiple of 4 (Zhang & Sennrich 2019).
 * With `rows`, row r of y is that of x[index[r]].
 */
export function rmsnorm({ g, variants }: OpContext, x: Tensor, weight: Tensor, eps: number, rows?: TakenRows): Tensor {
  const [N, C] = x.shape as [number, number];
  const R = rows ? rows.index.size : N;
  wantShape("rmsnorm", weight, [C]);
  if (rows) wantShape("rmsnorm", rows.inverse, [N]);
  if (rows) wantShape("rmsnorm", rows.next, [R]);
  if (C % 4 !== 0) throw new Error(`[shape] rmsnorm.${x.name}: C must be a multiple of 4, got ${C}`);
  const { TEAM, WG } = rowTeam(variants, C / 4);
  const gather = rows ? 1 : 0;
  const y = g.temp(`norm(${x.name})`, [R, C], x.requiresGrad || weight.requiresGrad);
  const rstd = g.temp(`rstd(${x.name})`, [R]);
  g.dispatch({
    shader: `rmsnorm_fwd?GATHER=${gather}&TEAM=${TEAM}`,
    constants: { WG },
    uniforms: [R, C / 4, f32(eps), N],
    bindings: [read(x), read(weight), write(y), write(rstd), ...(rows ? [read(rows.index)] : [])],
    workgroups: grid(R * Math.max(TEAM, 1), WG),
    flops: 4 * R * C,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    if (weight.requiresGrad) {
      const dw = g.gradFor(weight);
      g.dispatch({
        shader: `rmsnorm_dw?GATHER=${gather}`,
        constants: { ACC: dw.accumulate ? 1 : 0 },
        uniforms: [R, C / 4, N],
        bindings: [read(x), read(rstd), read(dy), write(dw.tensor), ...(rows ? [read(rows.index)] : [])],
        workgroups: [Math.ceil(C / 16), 1, 1],
        flops: 3 * R * C,
      });
    }
    if (x.requiresGrad) {
      const dx = g.gradFor(x);
      g.dispatch({
        shader: `rmsnorm_bwd?GATHER=${gather}&TEAM=${TEAM}`,
        constants: { WG, ACC: dx.accumulate ? 1 : 0 },
        uniforms: [N, C / 4, R],
        bindings: [
          read(x),
          read(weight),
          read(rstd),
          read(dy),
          write(dx.tensor),
          ...(rows ? [read(rows.inverse), read(rows.next)] : []),
        ],
        workgroups: grid(N * Math.max(TEAM, 1), WG),
        flops: 8 * R * C,
      });
    }
  });
  return y;
}

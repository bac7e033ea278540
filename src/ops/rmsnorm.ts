import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";

/** y[r,c] = x[r,c] / sqrt(mean_c(x²) + eps) · weight[c].  x, y: (R,C), weight: (C), C a multiple of 4 (Zhang & Sennrich 2019). */
export function rmsnorm({ g }: OpContext, x: Tensor, weight: Tensor, eps: number): Tensor {
  const [R, C] = x.shape as [number, number];
  wantShape("rmsnorm", weight, [C]);
  if (C % 4 !== 0) throw new Error(`[shape] rmsnorm.${x.name}: C must be a multiple of 4, got ${C}`);
  const y = g.temp(`norm(${x.name})`, [R, C], x.requiresGrad || weight.requiresGrad);
  const rstd = g.temp(`rstd(${x.name})`, [R]);
  g.dispatch({
    shader: "rmsnorm_fwd",
    constants: {},
    uniforms: [R, C / 4, f32(eps)],
    bindings: [read(x), read(weight), write(y), write(rstd)],
    workgroups: grid(R, 32),
    flops: 4 * R * C,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    if (weight.requiresGrad) {
      const dw = g.gradFor(weight);
      g.dispatch({
        shader: "rmsnorm_dw",
        constants: { ACC: dw.accumulate ? 1 : 0 },
        uniforms: [R, C / 4],
        bindings: [read(x), read(rstd), read(dy), write(dw.tensor)],
        workgroups: [Math.ceil(C / 16), 1, 1],
        flops: 3 * R * C,
      });
    }
    if (x.requiresGrad) {
      const dx = g.gradFor(x);
      g.dispatch({
        shader: "rmsnorm_bwd",
        constants: { ACC: dx.accumulate ? 1 : 0 },
        uniforms: [R, C / 4],
        bindings: [read(x), read(weight), read(rstd), read(dy), write(dx.tensor)],
        workgroups: grid(R, 32),
        flops: 8 * R * C,
      });
    }
  });
  return y;
}

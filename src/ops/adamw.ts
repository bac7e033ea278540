import { grid, read, type Tensor, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";

/** lr, β₁, β₂, eps, weight decay, 1 − β₁^step, 1 − β₂^step, max norm, 1 − β₁, 1 − β₂: computed in f64 by the host before each step. */
export const ADAMW_HYPER = 10;

/**
 * Clips by the global norm and applies AdamW to all of `weight`: (N), in place. Returns |grad|²: (1), kept.
 * `halt`: (1) u32 is set by the first norm that is not finite; as long as it is set no step changes anything, so that steps
 * may follow each other before the host has seen their losses. Left out, the plan has one of its own.
 */
export function adamw(
  ctx: OpContext,
  weight: Tensor,
  grad: Tensor,
  m: Tensor,
  v: Tensor,
  hyper: Tensor,
  halt: Tensor = ctx.g.input("halt", [1], "u32"),
): Tensor {
  const { g } = ctx;
  const N = weight.size;
  const Z = Math.min(256, N);
  const part = g.temp("square parts", [Z]);
  const square = g.output("square", [1]);
  g.dispatch({
    shader: "square_sum",
    constants: {},
    uniforms: [N, Math.ceil(N / Z), Z],
    bindings: [read(grad), write(part)],
    workgroups: grid(Z, 64),
    flops: 2 * N,
  });
  g.dispatch({
    shader: "square_total",
    constants: {},
    uniforms: [Z],
    bindings: [read(part), write(square), write(halt)],
    workgroups: [1, 1, 1],
    flops: Z,
  });
  const { shader, width } = lanes("adamw", N);
  g.dispatch({
    shader,
    constants: {},
    uniforms: [N / width],
    bindings: [read(grad), read(square), read(hyper), write(weight), write(m), write(v)],
    workgroups: grid(N / width, ELEMENTWISE),
    flops: 15 * N,
  });
  return square;
}

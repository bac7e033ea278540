import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";

/**
 * y = a + b, same shapes: the residual. Both inputs share the gradient of y without a copy. That is sound because b's
 * producer, traced after a's, reads its gradient before anything accumulates into a's.
 */
export function addResidual({ g }: OpContext, a: Tensor, b: Tensor): Tensor {
  wantShape("add", b, a.shape);
  const y = g.temp(`${a.name}+${b.name}`, a.shape, a.requiresGrad || b.requiresGrad);
  const { shader, width } = lanes("add", a.size);
  g.dispatch({
    shader,
    constants: { REPEAT: 0 },
    uniforms: [a.size / width, a.size / width],
    bindings: [read(a), read(b), write(y)],
    workgroups: grid(a.size / width, ELEMENTWISE),
    flops: a.size,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    if (b.requiresGrad) g.shareGrad(b, dy);
    if (a.requiresGrad) g.shareGrad(a, dy);
  });
  return y;
}

/** y = silu(gate) · up, elementwise (Shazeer 2020). */
export function swiglu(ctx: OpContext, gate: Tensor, up: Tensor): Tensor {
  wantShape("swiglu", up, gate.shape);
  return gated(ctx, [gate, up], gate.shape);
}

/** y(R,C) = silu(gate) · up for gate and up side by side in x: (R, 2 C). */
export function swigluHalves(ctx: OpContext, x: Tensor): Tensor {
  const [R, both] = x.shape as [number, number];
  if (both % 2 !== 0) throw new Error(`[shape] swiglu.${x.name}: ${both} columns have no halves`);
  return gated(ctx, [x], [R, both / 2]);
}

/** `inputs`: gate and up, or one tensor whose halves they are. */
function gated({ g }: OpContext, inputs: readonly Tensor[], shape: readonly number[]): Tensor {
  const [gate, up = gate] = inputs as [Tensor, Tensor?];
  const halves = inputs.length === 1;
  const C = shape.at(-1) as number;
  const y = g.temp(
    "swiglu",
    shape,
    inputs.some((input) => input.requiresGrad),
  );
  const forward = lanes("swiglu_fwd", y.size, C);
  const { width } = forward;
  const skip = halves ? C / width : 0;
  const common = {
    constants: { C: C / width },
    uniforms: [y.size / width, skip, skip],
    workgroups: grid(y.size / width, ELEMENTWISE),
  };
  g.dispatch({
    ...common,
    shader: forward.shader,
    bindings: [read(gate), read(up), write(y)],
    flops: 5 * y.size,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    const grads = inputs.map((input) => g.gradFor(input));
    if (grads.some(({ accumulate }) => accumulate)) throw new Error("swiglu: its inputs may feed nothing else");
    const { shader } = lanes("swiglu_bwd", y.size, C);
    g.dispatch({
      ...common,
      shader: halves ? `${shader}${shader.includes("?") ? "&" : "?"}HALVES=1` : shader,
      bindings: [read(gate), read(up), read(dy), ...grads.map(({ tensor }) => write(tensor))],
      flops: 10 * y.size,
    });
  });
  return y;
}

/** The columns of x: (R, Q + 2 K) as three tensors, (R,Q), (R,K) and (R,K). Forward only. */
export function splitColumns({ g }: OpContext, x: Tensor, Q: number, K: number): { q: Tensor; k: Tensor; v: Tensor } {
  const [R] = x.shape as [number, number];
  wantShape("split", x, [R, Q + 2 * K]);
  const parts = { q: g.temp("q", [R, Q]), k: g.temp("k", [R, K]), v: g.temp("v", [R, K]) };
  const { shader, width } = lanes("split_columns", Q, K);
  g.dispatch({
    shader,
    constants: { Q: Q / width, K: K / width },
    uniforms: [R],
    bindings: [read(x), write(parts.q), write(parts.k), write(parts.v)],
    workgroups: grid(x.size / width, ELEMENTWISE),
    flops: 0,
  });
  return parts;
}

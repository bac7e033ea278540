import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";

/**
 * y = a + b, same shapes: the residual. Both inputs share the gradient of y without a copy. That is sound because b's
 * producer, traced after a's, reads its gradient before anything accumulates into a's.
 */
export function addResidual({ g }: OpContext, a: Tensor, b: Tensor): Tensor {
  wantShape("add", b, a.shape);
  const y = g.temp(`${a.name}+${b.name}`, a.shape, a.requiresGrad || b.requiresGrad);
  g.dispatch({
    shader: "add",
    constants: {},
    uniforms: [a.size, a.size],
    bindings: [read(a), read(b), write(y)],
    workgroups: grid(a.size, 64),
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
export function swiglu({ g }: OpContext, gate: Tensor, up: Tensor): Tensor {
  wantShape("swiglu", up, gate.shape);
  const N = gate.size;
  const y = g.temp("swiglu", gate.shape, gate.requiresGrad || up.requiresGrad);
  g.dispatch({
    shader: "swiglu_fwd",
    constants: {},
    uniforms: [N],
    bindings: [read(gate), read(up), write(y)],
    workgroups: grid(N, 64),
    flops: 5 * N,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    const dgate = g.gradFor(gate);
    const dup = g.gradFor(up);
    if (dgate.accumulate || dup.accumulate) throw new Error("swiglu: its inputs may feed nothing else");
    g.dispatch({
      shader: "swiglu_bwd",
      constants: {},
      uniforms: [N],
      bindings: [read(gate), read(up), read(dy), write(dgate.tensor), write(dup.tensor)],
      workgroups: grid(N, 64),
      flops: 10 * N,
    });
  });
  return y;
}

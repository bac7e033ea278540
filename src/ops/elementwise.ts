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
export function swiglu({ g }: OpContext, gate: Tensor, up: Tensor): Tensor {
  wantShape("swiglu", up, gate.shape);
  const N = gate.size;
  const y = g.temp("swiglu", gate.shape, gate.requiresGrad || up.requiresGrad);
  const forward = lanes("swiglu_fwd", N);
  const { width } = forward;
  g.dispatch({
    shader: forward.shader,
    constants: {},
    uniforms: [N / width],
    bindings: [read(gate), read(up), write(y)],
    workgroups: grid(N / width, ELEMENTWISE),
    flops: 5 * N,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    const dgate = g.gradFor(gate);
    const dup = g.gradFor(up);
    if (dgate.accumulate || dup.accumulate) throw new Error("swiglu: its inputs may feed nothing else");
    g.dispatch({
      shader: lanes("swiglu_bwd", N).shader,
      constants: {},
      uniforms: [N / width],
      bindings: [read(gate), read(up), read(dy), write(dgate.tensor), write(dup.tensor)],
      workgroups: grid(N / width, ELEMENTWISE),
      flops: 10 * N,
    });
  });
  return y;
}

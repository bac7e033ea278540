import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";

/** logp(M) = log softmax(logits(M,V))[target(M)]. Natural logarithms. */
export function logprob({ g }: OpContext, logits: Tensor, target: Tensor): Tensor {
  const [M, V] = logits.shape as [number, number];
  wantShape("logprob", target, [M]);
  const logp = g.output("logp", [M], "f32", logits.requiresGrad);
  const norm = g.temp("logits.norm", [M, 2]);
  g.dispatch({
    shader: "logprob_fwd",
    constants: {},
    uniforms: [M, V],
    bindings: [read(logits), read(target), write(logp), write(norm)],
    workgroups: grid(M, 32),
    flops: 4 * M * V,
  });
  g.onBackward(() => {
    const dlogp = g.gradOf(logp);
    if (!dlogp) return;
    const dlogits = g.gradFor(logits);
    if (dlogits.accumulate) throw new Error("logprob: its logits may feed nothing else");
    g.dispatch({
      shader: "logprob_bwd",
      constants: {},
      uniforms: [M, V],
      bindings: [read(logits), read(target), read(norm), read(dlogp), write(dlogits.tensor)],
      workgroups: grid(M * V, 64),
      flops: 4 * M * V,
    });
  });
  return logp;
}

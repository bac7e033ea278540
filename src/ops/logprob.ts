import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { largestDivisor } from "./lanes.ts";
import { linear, type Weight } from "./linear.ts";
import { dims, matmulNN, matmulTN, transpose } from "./matmul.ts";

/** logp(M) = log softmax(logits(M,V))[target(M)]. Natural logarithms. */
export function logprob({ g }: OpContext, logits: Tensor, target: Tensor): Tensor {
  const [M, V] = logits.shape as [number, number];
  wantShape("logprob", target, [M]);
  const logp = g.output("logp", [M], "f32", logits.requiresGrad);
  const norm = g.temp("logits.norm", [M, 2]);
  const vec = V % 4 === 0 ? 1 : 0;
  const width = vec ? V / 4 : V;
  /** Elements of a row that a thread takes at once. */
  const columns = (most: number): number => (vec ? largestDivisor(width, most) : 1);
  g.dispatch({
    shader: `logprob_fwd?VEC=${vec}&COLS=${columns(2)}`,
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
    const own = columns(4);
    g.dispatch({
      shader: `logprob_bwd?VEC=${vec}&COLS=${own}&THREADS=${width / own}`,
      constants: {},
      uniforms: [M],
      bindings: [read(logits), read(target), read(norm), read(dlogp), write(dlogits.tensor)],
      workgroups: grid((M * width) / own, 64),
      flops: 4 * M * V,
    });
  });
  return logp;
}

/**
 * Up to this vocabulary the logits (M,V) are stored: they are no wider than an activation, and nothing is computed twice.
 * Chunks took 1.1 to 1.5 times as long at 64 to 1,024 tokens, and .5 to 1.2 times at 2,048 (llvmpipe, forward and backward).
 */
export const STORED_VOCABULARY = 1024;

/** Logits that are held at once for M rows of a vocabulary of V. */
export const heldLogits = (V: number, M: number): number => M * (V <= STORED_VOCABULARY ? V : chunkOf(V, M));

/** Threads that share a row while a chunk is summed. */
const PARTS = 8;

/** Tokens of one chunk: (tokens, M) logits take at most 16 MiB and at most a quarter of (V,M). */
export function chunkOf(V: number, M: number): number {
  const tokens = Math.min(2 ** 22 / M, 8192, V / 4);
  return Math.max(64, Math.ceil(tokens / 64) * 64);
}

/**
 * logp(M) = log softmax(x Wᵀ)[target(M)] for x: (M,C) and the head W: (V,C), natural logarithms. A large vocabulary goes
 * by in chunks and its logits are computed again for the gradient, so that no (M,V) tensor exists; of each row only
 * its maximum and log-sum are kept.
 */
export function headLogprob(
  ctx: OpContext,
  x: Tensor,
  head: Weight,
  target: Tensor,
  stored: number = STORED_VOCABULARY,
): Tensor {
  const { g } = ctx;
  const [M, C] = x.shape as [number, number];
  const [, V] = dims(head.wT);
  if (V <= stored) return logprob(ctx, linear(ctx, x, head), target);
  wantShape("logprob", target, [M]);
  const { w } = head;
  if (!w) throw new Error(`${head.name}: log-probs of a large vocabulary need the head in (vocabulary, hidden) order`);
  const size = chunkOf(V, M);
  const chunks = Array.from({ length: Math.ceil(V / size) }, (_, i) => ({
    first: i * size,
    n: Math.min(size, V - i * size),
  }));
  const xT = g.temp(`${x.name} transposed`, [C, M]);
  transpose(ctx, x, xT);
  /** logits[v,m] = W[first + v]·x[m]: (n,M). Rows of W lie together, so that no copy of the head is needed. */
  const logitsOf = ({ first, n }: { first: number; n: number }): Tensor => {
    const logits = g.temp(`logits[${first}…]`, [n, M]);
    matmulNN(ctx, g.rows(w, first, n), xT, logits);
    return logits;
  };

  const state = g.temp("logits.state", [PARTS, M, 4]);
  for (const chunk of chunks) {
    const logits = logitsOf(chunk);
    g.dispatch({
      shader: "logprob_chunk",
      constants: { FIRST: chunk.first === 0 ? 1 : 0 },
      uniforms: [M, chunk.n, chunk.first, PARTS],
      bindings: [read(logits), read(target), write(state)],
      workgroups: grid(PARTS * M, 64),
      flops: 4 * M * chunk.n,
    });
  }
  const logp = g.output("logp", [M], "f32", x.requiresGrad || w.requiresGrad);
  const norm = g.temp("logits.norm", [M, 2]);
  g.dispatch({
    shader: "logprob_merge",
    constants: {},
    uniforms: [M, PARTS],
    bindings: [read(state), write(logp), write(norm)],
    workgroups: grid(M, 32),
    flops: 8 * M * PARTS,
  });
  // forward was: logits = W xᵀ, logp[m] = logits[target,m] − log Σ_v exp(logits[v,m])
  g.onBackward(() => {
    const dlogp = g.gradOf(logp);
    if (!dlogp) return;
    const dx = x.requiresGrad ? g.gradFor(x) : null;
    const dw = w.requiresGrad ? g.gradFor(w) : null;
    for (const chunk of chunks) {
      const dlogits = logitsOf(chunk);
      g.dispatch({
        shader: "logprob_chunk_bwd",
        constants: {},
        uniforms: [M, chunk.n, chunk.first],
        bindings: [read(target), read(norm), read(dlogp), write(dlogits)],
        workgroups: grid(M * chunk.n, 256),
        flops: 4 * M * chunk.n,
      });
      if (dx)
        matmulTN(ctx, dlogits, g.rows(w, chunk.first, chunk.n), dx.tensor, {
          accumulate: dx.accumulate || chunk.first > 0,
        });
      if (dw) matmulNN(ctx, dlogits, x, g.rows(dw.tensor, chunk.first, chunk.n), { accumulate: dw.accumulate });
    }
  });
  return logp;
}

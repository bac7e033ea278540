/** Rows that belong together become one: by sum over segments, or side by side. */
import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { reduceSum } from "./matmul.ts";

/**
 * y(S,C) = Σ of the rows of each segment of x(R,C). span: (S,2) u32, first and one past the last row of a segment.
 * owner: (R) u32, segment of each row, NONE for a row of no segment. Segments do not overlap.
 */
export function poolRows({ g }: OpContext, x: Tensor, span: Tensor, owner: Tensor): Tensor {
  const [R, C] = x.shape as [number, number];
  const S = span.shape[0] as number;
  wantShape("pool", span, [S, 2]);
  wantShape("pool", owner, [R]);
  const y = g.temp(`pool(${x.name})`, [S, C], x.requiresGrad);
  g.dispatch({
    shader: "pool_rows",
    constants: {},
    uniforms: [S, C],
    bindings: [read(x), read(span), write(y)],
    workgroups: grid(S * C, 64),
    flops: R * C,
  });
  // forward was: y[s] = Σ_r x[r], so every row gets the gradient of its segment
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy || !x.requiresGrad) return;
    const dx = g.gradFor(x);
    g.dispatch({
      shader: "gather_rows",
      constants: { ACC: dx.accumulate ? 1 : 0 },
      uniforms: [R, C, S],
      bindings: [read(owner), read(dy), write(dx.tensor)],
      workgroups: grid(R * C, 64),
      flops: 0,
    });
  });
  return y;
}

/** The same numbers in another shape of equal size: a copy. */
export function reshape(ctx: OpContext, x: Tensor, shape: readonly number[]): Tensor {
  const { g } = ctx;
  const y = g.temp(`reshape(${x.name})`, shape, x.requiresGrad);
  if (y.size !== x.size)
    throw new Error(`[shape] reshape.${x.name}: (${x.shape.join(",")}) has another size than (${shape.join(",")})`);
  reduceSum(ctx, x, y, 1, false);
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy || !x.requiresGrad) return;
    const dx = g.gradFor(x);
    reduceSum(ctx, dy, dx.tensor, 1, dx.accumulate);
  });
  return y;
}

/** y = x Wᵀ (+ LoRA, + bias), forward and backward, for frozen and trainable weights. */
import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { addResidual } from "./elementwise.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";
import { type Lora, loraFactorGrads, loraInput, loraInputTerm, loraOutputGrad, loraTerm } from "./lora.ts";
import { dims, matmulNN, matmulTN } from "./matmul.ts";

/**
 * A weight in both orders: `w` (out, in) as in Hugging Face files, `wT` (in, out) for the forward pass. Several weights that
 * read the same input are one: one below the other in `w`, side by side in `wT`. `w` is needed for gradients only. If it
 * is trainable, `wT` is refreshed at the start of each step; if nothing trains it, both may be f16 (see `matmulNN`).
 */
export interface Weight {
  readonly name: string;
  readonly w: Tensor | null;
  readonly wT: Tensor;
  readonly bias?: Tensor;
}

/**
 * y(R,out) = x(R,in) Wᵀ (+ LoRA, + bias), or with a `residual` (R,out): y = residual + x Wᵀ …, in the same kernel. As in
 * `addResidual`, the residual then takes the gradient of y without a copy.
 */
export function linear(ctx: OpContext, x: Tensor, weight: Weight, lora?: Lora, residual?: Tensor): Tensor {
  const { g } = ctx;
  const [R] = x.shape as [number, number];
  const [, N] = dims(weight.wT);
  const { bias } = weight;
  const trainable = weight.w?.requiresGrad ?? false;
  const needs = [x, bias, residual].some((t) => t?.requiresGrad) || trainable || lora !== undefined;
  const y = g.temp(`${weight.name}.y`, [R, N], needs);
  const plus = bias ?? residual;
  if (residual) wantShape("linear", residual, [R, N]);
  const z = lora ? loraInput(ctx, x, lora) : null;
  matmulNN(ctx, x, weight.wT, y, { ...(plus ? { plus } : {}), ...(lora && z ? { lora: loraTerm(z, lora) } : {}) });
  // forward was: y = x Wᵀ (+ LoRA, + bias or residual)
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    const dz = lora ? loraOutputGrad(ctx, dy, lora) : null;
    if (x.requiresGrad) {
      if (!weight.w)
        throw new Error(
          `${weight.name}: its gradient needs the weight in (out, in) order, which this plan did not load`,
        );
      const dx = g.gradFor(x);
      const term = lora && dz ? { lora: loraInputTerm(dz, lora, dims(x)[1]) } : {};
      matmulNN(ctx, dy, weight.w, dx.tensor, { accumulate: dx.accumulate, ...term });
    }
    if (trainable && weight.w) {
      const dw = g.gradFor(weight.w);
      matmulTN(ctx, dy, x, dw.tensor, { accumulate: dw.accumulate });
    }
    if (lora && z && dz) loraFactorGrads(ctx, x, z, dy, dz, lora);
    if (bias?.requiresGrad) columnSum(ctx, dy, bias);
    // Last: what comes after adds to dy, and nothing here reads it any more.
    if (!bias && residual?.requiresGrad) g.shareGrad(residual, dy);
  });
  return bias && residual ? addResidual(ctx, residual, y) : y;
}

/** y = x + table on every group of rows: x: (R,C), table of size k·C with k dividing R (k = 1: a bias). */
export function addRows(ctx: OpContext, x: Tensor, table: Tensor): Tensor {
  const { g } = ctx;
  if (x.size % table.size !== 0)
    throw new Error(`[shape] add.${table.name}: ${table.size} elements do not divide ${x.size}`);
  const y = g.temp(`${x.name}+${table.name}`, x.shape, x.requiresGrad || table.requiresGrad);
  const { shader, width } = lanes("add", x.size, table.size);
  g.dispatch({
    shader,
    constants: { REPEAT: table.size < x.size ? 1 : 0 },
    uniforms: [x.size / width, table.size / width],
    bindings: [read(x), read(table), write(y)],
    workgroups: grid(x.size / width, ELEMENTWISE),
    flops: x.size,
  });
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy) return;
    if (table.requiresGrad) columnSum(ctx, dy, table);
    if (x.requiresGrad) g.shareGrad(x, dy);
  });
  return y;
}

/** Gradient of `addRows`' table: the sum over groups of rows. */
function columnSum({ g }: OpContext, dy: Tensor, bias: Tensor): void {
  const C = bias.size;
  const R = dy.size / C;
  const { tensor, accumulate } = g.gradFor(bias);
  g.dispatch({
    shader: "column_sum",
    constants: { ACC: accumulate ? 1 : 0 },
    uniforms: [R, C],
    bindings: [read(dy), write(tensor)],
    workgroups: grid(C, 16),
    flops: R * C,
  });
}

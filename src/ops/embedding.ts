import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";
import { dims } from "./matmul.ts";

export interface EmbedInputs {
  readonly id: Tensor; // (R) u32: vocabulary row, or patch row for image tokens
  readonly info: Tensor; // (R) u32
  /** For the gradients: rows sorted by id (R), first row of each id (V+1), row of each patch (P, NONE if unused). */
  readonly order?: Tensor;
  readonly start?: Tensor;
  readonly patchRow?: Tensor;
}

/**
 * x(R,C): rows of the table (V,C), or of `patches` (P,C) where the token is an image token. A table that nothing trains may
 * be f16 (see `matmulNN`) if C is a multiple of 4.
 */
export function embed(ctx: OpContext, inputs: EmbedInputs, table: Tensor, patches: Tensor | null): Tensor {
  const { g } = ctx;
  const R = inputs.id.size;
  const [V, C] = dims(table);
  const half = table.dtype === "u32";
  if (half && C % 4 !== 0)
    throw new Error(`[shape] embed.${table.name}: f16 wants a width that is a multiple of 4, got ${C}`);
  wantShape("embed", inputs.info, [R]);
  const x = g.temp("embedded", [R, C], table.requiresGrad || (patches?.requiresGrad ?? false));
  const { shader, width } = lanes("embed", C);
  g.dispatch({
    shader: half ? `${shader}&F16=1` : shader,
    constants: { C: C / width },
    uniforms: [R],
    bindings: [read(inputs.id), read(inputs.info), read(table), read(patches ?? table), write(x)],
    workgroups: grid((R * C) / width, ELEMENTWISE),
    flops: 0,
  });
  g.onBackward(() => {
    const dx = g.gradOf(x);
    if (!dx) return;
    if (table.requiresGrad) {
      if (!inputs.order || !inputs.start) throw new Error("embed: the gradient of the table needs `order` and `start`");
      const grad = g.gradFor(table);
      g.dispatch({
        shader: "embed_bwd",
        constants: { ACC: grad.accumulate ? 1 : 0 },
        uniforms: [V, C],
        bindings: [read(inputs.order), read(inputs.start), read(dx), write(grad.tensor)],
        workgroups: grid(V * C, 64),
        flops: R * C,
      });
    }
    if (patches?.requiresGrad) {
      if (!inputs.patchRow) throw new Error("embed: the gradient of the patches needs `patchRow`");
      const grad = g.gradFor(patches);
      gatherInto(ctx, dx, inputs.patchRow, grad.tensor, grad.accumulate);
    }
  });
  return x;
}

function gatherInto({ g }: OpContext, x: Tensor, index: Tensor, y: Tensor, accumulate: boolean): void {
  const [R, C] = x.shape as [number, number];
  const M = index.size;
  wantShape("gather", y, [M, C]);
  const { shader, width } = lanes("gather_rows", C);
  g.dispatch({
    shader,
    constants: { ACC: accumulate ? 1 : 0 },
    uniforms: [M, C / width, R],
    bindings: [read(index), read(x), write(y)],
    workgroups: grid((M * C) / width, ELEMENTWISE),
    flops: 0,
  });
}

/** y(M,C) = rows of x(R,C) at `index` (M, NONE: zeros). Forward only. */
export function gatherRows(ctx: OpContext, x: Tensor, index: Tensor): Tensor {
  if (x.requiresGrad) throw new Error(`gather ${x.name}: it has no gradient`);
  const [, C] = x.shape as [number, number];
  const y = ctx.g.temp(`rows(${x.name})`, [index.size, C]);
  gatherInto(ctx, x, index, y, false);
  return y;
}

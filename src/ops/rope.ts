import { f32, grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { ELEMENTWISE, lanes } from "./lanes.ts";

/** cos and sin of position × theta^(−2i/D), computed in f64: (positions, 2, D/2) (Su 2021, as Hugging Face's default). */
export function ropeTable(positions: number, headDim: number, theta: number): Float32Array<ArrayBuffer> {
  const half = headDim / 2;
  const table = new Float32Array(positions * headDim);
  for (let p = 0; p < positions; p++)
    for (let i = 0; i < half; i++) {
      const angle = p * theta ** (-i / half);
      table[2 * p * half + i] = Math.cos(angle);
      table[(2 * p + 1) * half + i] = Math.sin(angle);
    }
  return table;
}

/** Rotates each of `heads` heads of x: (R, heads·D) by its row's position. pos: (R) u32, table: (positions, 2, D/2). */
export function rope({ g }: OpContext, x: Tensor, pos: Tensor, table: Tensor, heads: number): Tensor {
  const [R, C] = x.shape as [number, number];
  wantShape("rope", pos, [R]);
  const half = C / heads / 2;
  if (table.shape[2] !== half)
    throw new Error(`[shape] rope.${x.name}: table is for heads of ${(table.shape[2] ?? 0) * 2}, got ${C / heads}`);
  const { shader, width } = lanes("rope", half);
  const apply = (from: Tensor, to: Tensor, sign: number) =>
    g.dispatch({
      shader,
      constants: {},
      uniforms: [R, heads, half / width, f32(sign)],
      bindings: [read(from), read(pos), read(table), write(to)],
      workgroups: grid((R * heads * half) / width, ELEMENTWISE),
      flops: 6 * R * heads * half,
    });
  const y = g.temp(`rope(${x.name})`, [R, C], x.requiresGrad);
  apply(x, y, 1);
  g.onBackward(() => {
    const dy = g.gradOf(y);
    if (!dy || !x.requiresGrad) return;
    const dx = g.gradFor(x);
    if (dx.accumulate) throw new Error("rope: its input may feed nothing else");
    apply(dy, dx.tensor, -1);
  });
  return y;
}

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

/**
 * Rotates the first `heads` heads of every row of x: (R, C) by its row's position, in place: x itself is returned, and
 * must feed nothing before. pos: (R) u32, table: (positions, 2, D/2), which says the size D of a head.
 */
export function rope({ g }: OpContext, x: Tensor, pos: Tensor, table: Tensor, heads: number): Tensor {
  const [R, C] = x.shape as [number, number];
  wantShape("rope", pos, [R]);
  const half = table.shape[2] as number;
  if (heads * half * 2 > C)
    throw new Error(`[shape] rope.${x.name}: ${heads} heads of ${2 * half} do not fit ${C} columns`);
  const { shader, width } = lanes("rope", half, C);
  const apply = (to: Tensor, sign: number) =>
    g.dispatch({
      shader,
      constants: { H: heads, HALF: half / width },
      uniforms: [R, C / width, f32(sign)],
      bindings: [read(pos), read(table), write(to)],
      workgroups: grid((R * heads * half) / width, ELEMENTWISE),
      flops: 6 * R * heads * half,
    });
  apply(x, 1);
  g.onBackward(() => {
    const dx = g.gradOf(x);
    if (dx) apply(dx, -1);
  });
  return x;
}

import { grid, read, type Tensor, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";

/** A matrix (R,C) in `from` whose transposed copy (C,R) lies in `to`; places in elements. */
export interface Transposed {
  readonly from: number;
  readonly to: number;
  readonly R: number;
  readonly C: number;
}

const WG = 64;

/** Transposes many matrices of one flat tensor into another one, in one dispatch. */
export function transposeAll({ g }: OpContext, from: Tensor, to: Tensor, matrices: readonly Transposed[]): void {
  const inBlocks = matrices.every((one) => [one.from, one.to, one.R, one.C].every((n) => n % 4 === 0));
  const unit = inBlocks ? 4 : 1;
  let groups = 0;
  const places = matrices.map(({ from, to, R, C }) => {
    const place = [groups, from / unit, to / unit, 0];
    groups += Math.ceil((R * C) / unit ** 2 / WG);
    return place;
  });
  g.dispatch({
    shader: `transpose_all?N=${matrices.length}&BLOCKS=${inBlocks ? 1 : 0}`,
    constants: {},
    uniforms: [...places.flat(), ...matrices.flatMap(({ R, C }) => [R / unit, C / unit, 0, 0])],
    bindings: [read(from), write(to)],
    workgroups: grid(groups * WG, WG),
    flops: 0,
  });
}

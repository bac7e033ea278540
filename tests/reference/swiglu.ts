/** silu(gate) · up,  silu(g) = g / (1 + e^−g) */
export function swiglu(gate: Float64Array, up: Float64Array): Float64Array {
  return gate.map((g, i) => (g / (1 + Math.exp(-g))) * (up[i] as number));
}

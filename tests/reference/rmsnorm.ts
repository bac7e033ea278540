/** y[r,c] = x[r,c] / sqrt(mean_c(x[r]²) + eps) · w[c] */
export function rmsnorm(x: Float64Array, w: Float64Array, R: number, C: number, eps: number): Float64Array {
  const y = new Float64Array(R * C);
  for (let r = 0; r < R; r++) {
    let squares = 0;
    for (let c = 0; c < C; c++) squares += (x[r * C + c] as number) ** 2;
    const s = 1 / Math.sqrt(squares / C + eps);
    for (let c = 0; c < C; c++) y[r * C + c] = (x[r * C + c] as number) * s * (w[c] as number);
  }
  return y;
}

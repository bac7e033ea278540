/** y[r] = x[r] / sqrt(|x[r]|² + eps) */
export function l2norm(x: Float64Array, R: number, C: number, eps: number): Float64Array {
  const y = new Float64Array(R * C);
  for (let r = 0; r < R; r++) {
    let squares = eps;
    for (let c = 0; c < C; c++) squares += (x[r * C + c] as number) ** 2;
    for (let c = 0; c < C; c++) y[r * C + c] = (x[r * C + c] as number) / Math.sqrt(squares);
  }
  return y;
}

/** s[m,n] = scale · Σ_c a[m,c] b[n,c] */
export function similarity(
  a: Float64Array,
  b: Float64Array,
  M: number,
  N: number,
  C: number,
  scale: number,
): Float64Array {
  const s = new Float64Array(M * N);
  for (let m = 0; m < M; m++)
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let c = 0; c < C; c++) sum += (a[m * C + c] as number) * (b[n * C + c] as number);
      s[m * N + n] = scale * sum;
    }
  return s;
}

/** y[s] = Σ of the rows of x that segment s owns */
export function poolRows(x: Float64Array, owner: readonly (number | null)[], S: number, C: number): Float64Array {
  const y = new Float64Array(S * C);
  for (const [r, s] of owner.entries())
    if (s !== null) for (let c = 0; c < C; c++) y[s * C + c] = (y[s * C + c] as number) + (x[r * C + c] as number);
  return y;
}

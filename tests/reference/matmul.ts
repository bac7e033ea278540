/** y(R,N) = scale · Σ_k a(R,K) b(K,N) */
export function matmul(a: Float64Array, b: Float64Array, R: number, K: number, N: number, scale = 1): Float64Array {
  const y = new Float64Array(R * N);
  for (let r = 0; r < R; r++)
    for (let n = 0; n < N; n++) {
      let sum = 0;
      for (let k = 0; k < K; k++) sum += (a[r * K + k] as number) * (b[k * N + n] as number);
      y[r * N + n] = scale * sum;
    }
  return y;
}

/** (C,R) from (R,C) */
export function transpose(x: Float64Array, R: number, C: number): Float64Array {
  const y = new Float64Array(R * C);
  for (let r = 0; r < R; r++) for (let c = 0; c < C; c++) y[c * R + r] = x[r * C + c] as number;
  return y;
}

import { matmul, transpose } from "./matmul.ts";

/** y = x Wᵀ + scale · (x A) B + bias, for x(R,K), W(N,K), A(K,r), B(r,N). Leave out what is not there. */
export function linear(
  { x, w, a, b, bias }: { x: Float64Array; w: Float64Array; a?: Float64Array; b?: Float64Array; bias?: Float64Array },
  { R, K, N, r, scale }: { R: number; K: number; N: number; r: number; scale: number },
): Float64Array {
  const y = matmul(x, transpose(w, N, K), R, K, N);
  const extra = a && b ? matmul(matmul(x, a, R, K, r), b, R, r, N, scale) : null;
  return y.map((value, i) => value + (extra?.[i] ?? 0) + (bias?.[i % N] ?? 0));
}

/** Threads in a workgroup of the elementwise kernels. */
export const ELEMENTWISE = 256;

/**
 * An elementwise kernel reads and writes four floats a thread (vec4f) where every one of `sizes` is a multiple of 4,
 * else one. `width` divides the sizes that it is given in its uniform.
 */
export function lanes(
  shader: string,
  ...sizes: readonly number[]
): { readonly shader: string; readonly width: number } {
  return sizes.every((size) => size % 4 === 0) ? { shader: `${shader}?V=vec4f`, width: 4 } : { shader, width: 1 };
}

/** The largest divisor of n that is at most `most`. */
export function largestDivisor(n: number, most: number): number {
  let divisor = Math.min(n, most);
  while (n % divisor !== 0) divisor--;
  return divisor;
}

/** Largest difference of two lists of lists; infinite where lengths differ. */
export function largest(got: readonly (readonly number[])[], want: readonly (readonly number[])[]): number {
  if (got.length !== want.length || got.some((row, i) => row.length !== want[i]?.length))
    return Number.POSITIVE_INFINITY;
  return Math.max(...got.flatMap((row, i) => row.map((value, j) => Math.abs(value - (want[i]?.[j] as number)))));
}

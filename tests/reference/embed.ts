/** Row r is row id[r] of the table, or of the patches where isImage[r]. */
export function embed(
  id: ArrayLike<number>,
  isImage: readonly boolean[],
  table: Float64Array,
  patches: Float64Array | null,
  C: number,
): Float64Array {
  const x = new Float64Array(id.length * C);
  for (let r = 0; r < id.length; r++) {
    const source = isImage[r] ? (patches as Float64Array) : table;
    for (let c = 0; c < C; c++) x[r * C + c] = source[(id[r] as number) * C + c] as number;
  }
  return x;
}

/** y[m] = x[index[m]], zeros where index is null. */
export function gather(x: Float64Array, index: readonly (number | null)[], C: number): Float64Array {
  const y = new Float64Array(index.length * C);
  for (const [m, r] of index.entries())
    if (r !== null) for (let c = 0; c < C; c++) y[m * C + c] = x[r * C + c] as number;
  return y;
}

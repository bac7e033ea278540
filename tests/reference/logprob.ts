/** log softmax(logits[m])[target[m]], and, for sampling tests, softmax itself. logits: (M,V) */
export function logprob(logits: Float64Array, target: ArrayLike<number>, V: number): Float64Array {
  return Float64Array.from({ length: target.length }, (_, m) => {
    const row = logits.subarray(m * V, (m + 1) * V);
    const top = Math.max(...row);
    return (row[target[m] as number] as number) - top - Math.log(row.reduce((sum, x) => sum + Math.exp(x - top), 0));
  });
}

export function softmax(row: ArrayLike<number>, temperature = 1): Float64Array {
  const x = Float64Array.from(row, (value) => value / temperature);
  const top = Math.max(...x);
  const e = x.map((value) => Math.exp(value - top));
  const total = e.reduce((a, b) => a + b, 0);
  return e.map((value) => value / total);
}

/** Each pair (x[i], x[i + D/2]) of a head, as a complex number, turned by pos · theta^(−2i/D). x: (R, H·D) */
export function rope(x: Float64Array, pos: ArrayLike<number>, H: number, D: number, theta: number): Float64Array {
  const y = new Float64Array(x.length);
  for (let r = 0; r < pos.length; r++)
    for (let h = 0; h < H; h++)
      for (let i = 0; i < D / 2; i++) {
        const angle = (pos[r] as number) * theta ** ((-2 * i) / D);
        const at = (r * H + h) * D + i;
        const [re, im] = [x[at] as number, x[at + D / 2] as number];
        y[at] = re * Math.cos(angle) - im * Math.sin(angle);
        y[at + D / 2] = re * Math.sin(angle) + im * Math.cos(angle);
      }
  return y;
}

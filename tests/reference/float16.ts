/** Values as half precision holds them: 11 digits in front of 2^exponent, at least 2⁻²⁴ apart; ties go to the even one. */
export function rounded(values: Float32Array): Float32Array<ArrayBuffer> {
  return Float32Array.from(values, (x) => {
    const step = 2 ** Math.max(Math.floor(Math.log2(Math.abs(x) || 1)) - 10, -24);
    const low = Math.floor(x / step);
    const over = x / step - low;
    return step * (low + (over > 0.5 || (over === 0.5 && low % 2 !== 0) ? 1 : 0));
  });
}

/** Values that half precision holds exactly, two in a word, the first one in the low bits. */
export function packed(values: Float32Array): Uint32Array<ArrayBuffer> {
  const bits = (x: number): number => {
    const magnitude = Math.abs(x);
    const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
    if (magnitude < 2 ** -14) return sign | (magnitude * 2 ** 24);
    const exponent = Math.floor(Math.log2(magnitude));
    return sign | ((exponent + 15) << 10) | ((magnitude / 2 ** exponent - 1) * 1024);
  };
  return Uint32Array.from(
    { length: values.length / 2 },
    (_, i) => (bits(values[2 * i] as number) | (bits(values[2 * i + 1] as number) << 16)) >>> 0,
  );
}

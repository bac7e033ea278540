/** IEEE 754 half precision: 1 sign bit, 5 exponent bits (bias 15), 10 fraction bits; f32 has 1, 8 (bias 127) and 23. */

/** Largest finite value. */
export const MAX_FLOAT16 = 65504;

const float = new Float32Array(1);
const word = new Uint32Array(float.buffer);

/** The value of 16 bits. */
export function fromFloat16(bits: number): number {
  const sign = (bits & 0x8000) << 16;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return (sign < 0 ? -fraction : fraction) * 2 ** -24; // subnormal
  const wide = exponent === 31 ? 255 : exponent + 112; // 31: infinity or NaN
  word[0] = sign | (wide << 23) | (fraction << 13);
  return float[0] as number;
}

/** The bits of f32 values, each rounded to the nearest f16, to the even one of two. From 65,520 on that is infinity. */
export function toFloat16(values: Float32Array): Uint16Array<ArrayBuffer> {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const halves = new Uint16Array(values.length);
  for (let i = 0; i < halves.length; i++) {
    const own = bits[i] as number;
    halves[i] = ((own >>> 16) & 0x8000) | roundedMagnitude(own & 0x7fffffff);
  }
  return halves;
}

function roundedMagnitude(bits: number): number {
  if (bits > 0x7f800000) return 0x7e00; // NaN
  if (bits >= 0x477ff000) return 0x7c00;
  // Half of the last bit that stays is added, a little less where that bit is even; a carry is the next exponent.
  if (bits >= 0x38800000) return (bits - 0x38000000 + 0xfff + ((bits >>> 13) & 1)) >>> 13;
  word[0] = bits;
  return (float[0] as number) * 2 ** 24 + 2 ** 52 - 2 ** 52; // subnormal: f64 has no digits behind 2⁵², so it rounds to even
}

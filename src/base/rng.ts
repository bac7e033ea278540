import { sha256Bytes } from "./hash.ts";

/** A stream of random numbers. Streams with other labels are independent of it. */
export interface Rng {
  /** Uniform in [0, 1), a multiple of 2⁻³². */
  next(): number;
  /** Uniform integer in [0, n). */
  int(n: number): number;
  /** Standard normal. */
  normal(): number;
  /** One element, uniformly. Throws if there is none. */
  pick<T>(items: readonly T[]): T;
  /** A shuffled copy (Fisher–Yates). */
  shuffle<T>(items: readonly T[]): T[];
}

const rotl = (x: number, k: number): number => (x << k) | (x >>> (32 - k));

/**
 * The stream that belongs to (seed, labels): xoshiro128** (Blackman and Vigna 2018), its 128-bit state
 * being the first 16 bytes of SHA-256 of the JSON list [seed, …labels].
 * `rngFor(7, "camera", "B", 3)` is the same on every machine and says what it is for.
 */
export function rngFor(seed: number | string, ...labels: readonly (number | string)[]): Rng {
  const digest = sha256Bytes(JSON.stringify([seed, ...labels]));
  const view = new DataView(digest.buffer, digest.byteOffset);
  let s0 = view.getUint32(0, true);
  let s1 = view.getUint32(4, true);
  let s2 = view.getUint32(8, true);
  let s3 = view.getUint32(12, true);
  let spare: number | null = null;

  const bits = (): number => {
    const result = Math.imul(rotl(Math.imul(s1, 5), 7), 9) >>> 0;
    const t = s1 << 9;
    s2 ^= s0;
    s3 ^= s1;
    s1 ^= s2;
    s0 ^= s3;
    s2 ^= t;
    s3 = rotl(s3, 11);
    return result;
  };
  const next = (): number => bits() / 4294967296;
  const int = (n: number): number => {
    if (!(Number.isInteger(n) && n > 0)) throw new RangeError(`[rng] int wants a positive whole number, got ${n}`);
    return Math.floor(next() * n);
  };
  // Marsaglia's polar method: two normals from a point in the unit disc.
  const normal = (): number => {
    if (spare !== null) {
      const kept = spare;
      spare = null;
      return kept;
    }
    for (;;) {
      const u = 2 * next() - 1;
      const v = 2 * next() - 1;
      const r = u * u + v * v;
      if (r === 0 || r >= 1) continue;
      const factor = Math.sqrt((-2 * Math.log(r)) / r);
      spare = v * factor;
      return u * factor;
    }
  };
  const pick = <T>(items: readonly T[]): T => {
    if (items.length === 0) throw new RangeError("[rng] cannot pick from an empty list");
    return items[int(items.length)] as T;
  };
  const shuffle = <T>(items: readonly T[]): T[] => {
    const copy = [...items];
    for (let i = copy.length - 1; i > 0; i--) {
      const j = int(i + 1);
      const kept = copy[i] as T;
      copy[i] = copy[j] as T;
      copy[j] = kept;
    }
    return copy;
  };
  return { next, int, normal, pick, shuffle };
}

/** What the judge model's encoders take: pictures freed of light and contrast, captions as sets of phrases. */
import type { Picture } from "../base/records.ts";
import { EOS } from "../world/vocabulary.ts";
import { medianFree } from "./pixels.ts";

/** The brightest pixels whose mean strength becomes 1: about as many as one object covers. */
const STRONGEST = 24;
/** Strength (of 255) below which a picture counts as empty and is not amplified further. */
const WEAKEST = 16;

/** Words of a phrase: colour, shape, column, row. */
export const PHRASE_LENGTH = 4;

/**
 * The picture as (channel, row, column), without the light it was taken in: each channel's median is taken away
 * (offset), then all is divided by the mean strength of the 24 strongest pixels (contrast). The strength of a pixel is
 * the largest absolute value among its channels.
 */
export function pixelValues(picture: Picture): Float32Array<ArrayBuffer> {
  const free = medianFree(picture);
  const pixels = picture.size * picture.size;
  const scale = 1 / Math.max(WEAKEST, strength(free, pixels));
  const out = new Float32Array(3 * pixels);
  for (let i = 0; i < pixels; i++)
    for (let c = 0; c < 3; c++) out[c * pixels + i] = (free[3 * i + c] as number) * scale;
  return out;
}

/** Mean strength of the strongest pixels, by counting: values are whole numbers below 256. */
function strength(free: Float32Array, pixels: number): number {
  const counts = new Uint32Array(256);
  for (let i = 0; i < pixels; i++) {
    const largest = Math.max(
      Math.abs(free[3 * i] as number),
      Math.abs(free[3 * i + 1] as number),
      Math.abs(free[3 * i + 2] as number),
    );
    counts[largest] = (counts[largest] as number) + 1;
  }
  let left = STRONGEST;
  let sum = 0;
  for (let value = 255; value >= 0 && left > 0; value--) {
    const taken = Math.min(left, counts[value] as number);
    sum += taken * value;
    left -= taken;
  }
  return sum / (STRONGEST - left);
}

/** The four-word phrases of a description, in order; null if it is no list of whole phrases that ends with `<eos>`. */
export function phrasesOf(tokens: readonly number[]): readonly (readonly number[])[] | null {
  const words = tokens.at(-1) === EOS ? tokens.slice(0, -1) : null;
  if (words === null || words.length === 0 || words.length % PHRASE_LENGTH !== 0) return null;
  return Array.from({ length: words.length / PHRASE_LENGTH }, (_, i) =>
    words.slice(i * PHRASE_LENGTH, (i + 1) * PHRASE_LENGTH),
  );
}

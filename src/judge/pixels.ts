import type { Picture } from "../base/records.ts";
import { parseAnswer } from "../world/questions.ts";
import { render } from "../world/render.ts";

/** Score of an answer that cannot be understood, under every judge. */
export const UNPARSABLE = -1;

/** What a description says, drawn clean; null if it cannot be understood. */
export function redraw(tokens: readonly number[]): Picture | null {
  const answer = parseAnswer("describe", tokens);
  return answer?.kind === "scene" ? render(answer.scene) : null;
}

/**
 * The picture's bytes with each channel's median taken away: the background becomes 0 and what stands out remains,
 * whatever the offset. Same length and order as `picture.rgb`.
 */
export function medianFree(picture: Picture): Float32Array {
  const { rgb } = picture;
  const free = new Float32Array(rgb.length);
  for (let channel = 0; channel < 3; channel++) {
    const median = channelMedian(rgb, channel);
    for (let i = channel; i < rgb.length; i += 3) free[i] = (rgb[i] as number) - median;
  }
  return free;
}

/** Lower median of one channel, by counting. */
function channelMedian(rgb: Uint8Array, channel: number): number {
  const counts = new Uint32Array(256);
  for (let i = channel; i < rgb.length; i += 3) counts[rgb[i] as number] = (counts[rgb[i] as number] as number) + 1;
  const half = rgb.length / 6;
  let seen = 0;
  for (let value = 0; value < 256; value++) {
    seen += counts[value] as number;
    if (seen >= half) return value;
  }
  return 255;
}

/** Cosine of two vectors of the same length; 0 if one of them is zero. */
export function cosine(x: Float32Array, y: Float32Array): number {
  if (x.length !== y.length) throw new Error(`[pixels] cannot compare ${x.length} values with ${y.length}`);
  let xy = 0;
  let xx = 0;
  let yy = 0;
  for (let i = 0; i < x.length; i++) {
    const a = x[i] as number;
    const b = y[i] as number;
    xy += a * b;
    xx += a * a;
    yy += b * b;
  }
  return xx === 0 || yy === 0 ? 0 : xy / Math.sqrt(xx * yy);
}

/** How well the redrawn picture fits the seen one, −1…1: the cosine of the two median-free pictures. */
export function pixelScore(seen: Picture, redrawn: Picture | null): number {
  return redrawn === null ? UNPARSABLE : cosine(medianFree(seen), medianFree(redrawn));
}

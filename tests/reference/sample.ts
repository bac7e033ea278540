import { softmax } from "./logprob.ts";

/**
 * The distribution that a token is drawn from, by sorting: temperature, then top-k, then top-p (the fewest likeliest
 * tokens that hold at least p of what is left), then min-p (relative to the likeliest), renormalised. Ties stay together.
 */
export function sampling(
  logits: ArrayLike<number>,
  { temperature, topK, topP, minP }: { temperature: number; topK: number; topP: number; minP: number },
): Float64Array {
  const p = softmax(logits, temperature);
  const order = [...p.keys()].sort((a, b) => (p[b] as number) - (p[a] as number));
  const at = (rank: number): number => p[order[rank] as number] as number;
  let least = 0;
  if (topK > 0 && topK < p.length) least = at(topK - 1);
  if (topP < 1) {
    const mass = p.reduce((sum, x) => sum + (x >= least ? x : 0), 0);
    let held = 0;
    for (let rank = 0; rank < order.length; rank++) {
      held += at(rank);
      if (held >= topP * mass) {
        least = Math.max(least, at(rank));
        break;
      }
    }
  }
  if (minP > 0) least = Math.max(least, minP * at(0));
  const kept = p.map((x) => (x >= least ? x : 0));
  const total = kept.reduce((a, b) => a + b, 0);
  return kept.map((x) => x / total);
}

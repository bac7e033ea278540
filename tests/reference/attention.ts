/** What a token is, in words; the kernels read it packed into one u32. */
export interface Token {
  readonly pad: boolean;
  readonly prefix: boolean;
  /** 0: the shared prompt. */
  readonly segment: number;
  /** Rows that share a sequence do not see each other; 0 if left out. */
  readonly document?: number;
  /** Its place if left out; what a window is measured in. */
  readonly position?: number;
}

/** May token i look at token j? A window of w > 0 ends w − 1 positions back. */
export function sees(tokens: readonly Token[], i: number, j: number, window = 0): boolean {
  const [a, b] = [tokens[i] as Token, tokens[j] as Token];
  if (a.pad || b.pad || (a.document ?? 0) !== (b.document ?? 0)) return false;
  const near = window === 0 || (a.position ?? i) - (b.position ?? j) < window;
  const inOrder = (j <= i && near) || (a.prefix && b.prefix);
  const sameStory = b.segment === 0 || b.segment === a.segment;
  return inOrder && sameStory;
}

/** softmax(q kᵀ/√D + mask) v for q (B·T, H·D), k and v (B·T, KV·D); tokens: (B·T). A token that sees nothing gets zeros. */
export function attention(
  { q, k, v }: { q: Float64Array; k: Float64Array; v: Float64Array },
  tokens: readonly Token[],
  { B, T, H, KV, D, window }: { B: number; T: number; H: number; KV: number; D: number; window?: number },
): Float64Array {
  const o = new Float64Array(B * T * H * D);
  for (let b = 0; b < B; b++) {
    const row = tokens.slice(b * T, (b + 1) * T);
    for (let h = 0; h < H; h++) {
      const g = Math.floor((h * KV) / H);
      for (let i = 0; i < T; i++) {
        const scores: { at: number; e: number }[] = [];
        for (let j = 0; j < T; j++) {
          if (!sees(row, i, j, window)) continue;
          let dot = 0;
          for (let d = 0; d < D; d++)
            dot += (q[((b * T + i) * H + h) * D + d] as number) * (k[((b * T + j) * KV + g) * D + d] as number);
          scores.push({ at: ((b * T + j) * KV + g) * D, e: dot / Math.sqrt(D) });
        }
        const top = Math.max(...scores.map(({ e }) => e));
        let total = 0;
        for (const score of scores) total += score.e = Math.exp(score.e - top);
        for (const { at, e } of scores)
          for (let d = 0; d < D; d++) o[((b * T + i) * H + h) * D + d]! += (e / total) * (v[at + d] as number);
      }
    }
  }
  return o;
}

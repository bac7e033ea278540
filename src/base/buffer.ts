import type { Pair, PairStatus, TaskKind } from "./records.ts";

/** What the replay buffer's policy and lists know of a pair: everything but its pictures. */
export interface BufferItem {
  readonly id: string;
  readonly status: PairStatus;
  readonly round: number;
  readonly source: string;
  readonly kind: TaskKind;
  readonly margin: number;
  /** The chosen answer's tokens, joined by commas: pairs with the same answer teach much the same. */
  readonly answer: string;
  /** What the pair takes in memory, the same in every store. */
  readonly bytes: number;
}

/** Stands before the source of every pair that came in an archive, such as "imported:camera:B". */
export const IMPORTED = "imported:";

export function bufferItem(pair: Pair): BufferItem {
  const { id, status, round, task, margin, chosen } = pair;
  return {
    id,
    status,
    round,
    source: task.source,
    kind: task.kind,
    margin,
    answer: chosen.tokens.join(","),
    bytes: pairBytes(pair),
  };
}

/** Tokens and texts are small; a pair's weight is its pictures. */
function pairBytes(pair: Pair): number {
  const pictures = [pair.task.picture, pair.chosen.redrawn, pair.rejected.redrawn];
  const numbers = pair.task.prompt.length + pair.chosen.tokens.length + pair.rejected.tokens.length;
  return 1024 + 4 * numbers + pictures.reduce((sum, picture) => sum + (picture?.rgb.length ?? 0), 0);
}

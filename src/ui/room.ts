import type { Contour } from "../base/contour.ts";
import type { StorageReport } from "../worker/api.ts";

/** Bytes of a pair with its three pictures and what the log says about its task. */
const PAIR = 13_000;
/** Bytes of an adapter of rank 1 of the bundled model, with its two optimizer moments. */
const ADAPTER_OF_RANK_1 = 46_000;
/** Bytes of the events and journal lines of a round. */
const LOG = 50_000;

/** Bytes that a run takes at most, nearly: every task makes a pair, every round an adapter. (Measured: 1.1 MB a round, default contour.) */
export function expectedBytes(contour: Contour, rounds: number): number {
  return rounds * (contour.propose.tasks * PAIR + contour.train.loraR * ADAPTER_OF_RANK_1 + LOG);
}

/** Bytes left for this page; infinite where the browser does not say. */
export function roomLeft({ usage, quota }: StorageReport): number {
  return quota === 0 ? Number.POSITIVE_INFINITY : Math.max(0, quota - usage);
}

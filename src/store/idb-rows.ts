import { bufferItem } from "../base/buffer.ts";
import type { LoopEvent } from "../base/events.ts";
import type { Pair, WorldName } from "../base/records.ts";
import type { LoopState } from "../loop/ports.ts";
import type { WriteTx } from "./idb-tx.ts";
import type { PairCursor } from "./run.ts";
import type { PairRecord, RunRecord } from "./schema.ts";

/** Writes a pair and its contents; returns its bytes. */
export async function putPair(
  tx: WriteTx,
  run: string,
  { pair, seq, place }: PairCursor & { readonly pair: Pair },
): Promise<number> {
  const record: PairRecord = { run, ...bufferItem(pair), seq, place };
  await tx.objectStore("pairs").put(record);
  await tx.objectStore("contents").put({ run, id: pair.id, pair: ownBytes(pair) });
  return record.bytes;
}

export async function putEvent(tx: WriteTx, run: string, event: LoopEvent): Promise<void> {
  await tx.objectStore("events").put({ run, seq: event.seq, event: ownBytes(event) });
}

/** What the list of runs shows of a run's events, gathered one event after the other. */
export interface Told {
  /** Held-out scores in this world are those that the list shows. */
  readonly world: WorldName;
  readonly first: number | null;
  readonly last: number | null;
  readonly base: string | null;
  readonly accepted: number;
  readonly rejected: number;
  readonly heldOut: number | null;
}

export const nothingTold = (world: WorldName): Told => ({
  world,
  first: null,
  last: null,
  base: null,
  accepted: 0,
  rejected: 0,
  heldOut: null,
});

export function tell(told: Told, event: LoopEvent): Told {
  const { accepted, rejected } = told;
  return {
    ...told,
    first: told.first ?? event.at,
    last: event.at,
    base: event.type === "started" ? event.base : told.base,
    accepted: event.type === "committed" ? accepted + 1 : accepted,
    rejected: event.type === "rejected" ? rejected + 1 : rejected,
    heldOut: event.type === "evaluated" && event.world === told.world ? event.heldOut.greedy.value : told.heldOut,
  };
}

/** The run's record after `told` was added to it. */
export function updated(
  old: RunRecord | undefined,
  state: LoopState,
  told: Told,
  grown: { readonly bytes: number; readonly pairBytes: number },
  importedAs?: string,
): RunRecord {
  return {
    run: state.run,
    title: importedAs ?? old?.title ?? state.run,
    startedAt: old?.startedAt ?? told.first ?? 0,
    updatedAt: told.last ?? old?.updatedAt ?? 0,
    round: state.round,
    rounds: state.contour.rounds,
    seed: state.seed,
    base: told.base ?? old?.base ?? "",
    incumbent: state.incumbent,
    finished: state.finished,
    events: state.seq,
    accepted: (old?.accepted ?? 0) + told.accepted,
    rejected: (old?.rejected ?? 0) + told.rejected,
    heldOut: told.heldOut ?? old?.heldOut ?? null,
    bytes: (old?.bytes ?? 0) + grown.bytes,
    pairBytes: (old?.pairBytes ?? 0) + grown.pairBytes,
    imported: old?.imported ?? importedAs !== undefined,
  };
}

/**
 * The same value, with every view of a larger or shared buffer copied into a buffer of its own:
 * structured clone would store the whole buffer behind each view.
 */
function ownBytes<T extends Pair | LoopEvent>(value: T): T {
  const copy = (part: unknown): unknown => {
    if (part instanceof Uint8Array)
      return part.buffer instanceof ArrayBuffer && part.byteLength === part.buffer.byteLength ? part : part.slice();
    if (Array.isArray(part)) return part.map(copy);
    if (typeof part !== "object" || part === null) return part;
    return Object.fromEntries(Object.entries(part).map(([key, field]) => [key, copy(field)]));
  };
  return copy(value) as T;
}

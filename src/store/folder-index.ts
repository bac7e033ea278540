import { fstatSync, fsyncSync, ftruncateSync, readSync } from "node:fs";
import type { BufferItem } from "../base/buffer.ts";
import { canonicalDigest, parseCanonical } from "../base/canonical.ts";
import type { LoopEvent } from "../base/events.ts";
import type { PairStatus } from "../base/records.ts";
import type { LoopState } from "../loop/ports.ts";
import { StoreError } from "./errors.ts";
import { type Blob, readAt } from "./folder-disk.ts";
import { eventDigest, type JournalLine, stateDigest, sumJournal, verifyJournal } from "./journal.ts";
import type { PairCursor } from "./run.ts";

/** One line of commits.jsonl; beside these fields stands `sha256`, the digest of them all. */
export interface CommitLine {
  readonly events: readonly LoopEvent[];
  readonly lines: readonly JournalLine[];
  readonly state: LoopState;
  readonly pairs: { readonly blob: Blob; readonly rows: readonly PairRow[] } | null;
  readonly status: readonly { readonly id: string; readonly status: PairStatus }[];
  /** Ids of deleted pairs; absent where nothing was deleted. */
  readonly removed?: readonly string[];
  readonly adapters: readonly { readonly adapter: Blob; readonly config: Blob; readonly optimizer: Blob }[];
}

/** Where a pair lies in its blob, and what queries ask for. Folders of the first release lack the fields of `BufferItem` but these three. */
export interface PairRow
  extends Pick<BufferItem, "id" | "status" | "round">,
    Partial<Omit<BufferItem, "id" | "status" | "round">> {
  readonly offset: number;
  readonly length: number;
}

/** A row as it stands now, and the digest that the journal has of its pair. */
export interface IndexedPair extends PairRow, PairCursor {
  readonly blob: string;
  readonly digest: string;
  status: PairStatus;
}

export interface Index {
  readonly pairs: Map<string, IndexedPair>;
  /** Deleted pairs, and versions of pairs that were put again, by blob: their bytes there are blanked out. */
  readonly deleted: Map<string, IndexedPair[]>;
  readonly adapters: Map<string, CommitLine["adapters"][number]>;
  readonly lines: JournalLine[];
  /** For each commit: its first event and its bytes in commits.jsonl. */
  readonly commits: { readonly firstSeq: number; readonly offset: number; readonly length: number }[];
  state: LoopState | null;
  /** Length of commits.jsonl as far as it is understood. */
  size: number;
  blobBytes: number;
}

export const emptyIndex = (): Index => ({
  pairs: new Map(),
  deleted: new Map(),
  adapters: new Map(),
  lines: [],
  commits: [],
  state: null,
  size: 0,
  blobBytes: 0,
});

/** Reads commits.jsonl from where the index ends, line by line. A torn last line is cut off if `repair`. Returns what was repaired. */
export function readLog(log: number, index: Index, path: string, repair = true): string | null {
  const end = fstatSync(log).size;
  while (index.size < end) {
    const length = lineLength(log, index.size, end);
    const text = length === null ? null : readAt(log, index.size, length);
    if (length !== null && text !== null && (index.size + length < end || !text.includes("\0"))) {
      readCommit(index, text, length, `${path}: line ${index.commits.length + 1}`);
      continue;
    }
    // No line feed, or holes that a power cut leaves in a last line that was never synced.
    if (!repair) return null;
    const torn = end - index.size;
    ftruncateSync(log, index.size);
    fsyncSync(log);
    return `The last ${torn} bytes of ${path} were an unfinished commit and were dropped; the run goes on from the commit before.`;
  }
  return null;
}

function readCommit(index: Index, text: string, length: number, where: string): void {
  try {
    const { sha256, ...line } = parseCanonical(text.slice(0, -1)) as CommitLine & { sha256: string };
    if (canonicalDigest(line) !== sha256) throw new Error("its bytes have changed since they were saved");
    line.lines.forEach(({ seq, at, event: digest }, i) => {
      const event = line.events[i];
      if (event?.at !== at || eventDigest(event) !== digest) throw new Error(`event ${seq} was changed`);
    });
    addCommit(index, line, length);
  } catch (error) {
    throw new StoreError(
      "damaged",
      `${where} is damaged (${error instanceof Error ? error.message : String(error)}). Restore the directory from a copy.`,
    );
  }
}

/** Bytes of the line that starts at `from`, its line feed included; null if it has none. */
function lineLength(log: number, from: number, end: number): number | null {
  const chunk = new Uint8Array(1 << 16);
  for (let at = from; at < end; ) {
    const read = readSync(log, chunk, 0, Math.min(chunk.length, end - at), at);
    const feed = chunk.subarray(0, read).indexOf(10);
    if (feed >= 0) return at + feed + 1 - from;
    if (read === 0) return null;
    at += read;
  }
  return null;
}

export function addCommit(index: Index, line: CommitLine, length: number): void {
  const places = placesOf(line.lines);
  for (const row of line.pairs?.rows ?? []) {
    drop(index, row.id); // a pair that is put again moves to the end
    const place = places.get(row.id) ?? { digest: "", seq: 0, place: 0 };
    index.pairs.set(row.id, { ...row, ...place, blob: line.pairs?.blob.sha ?? "" });
  }
  for (const { id, status } of line.status) {
    const row = index.pairs.get(id);
    if (row !== undefined) row.status = status;
  }
  for (const id of line.removed ?? []) drop(index, id);
  for (const blobs of line.adapters) {
    index.adapters.set(blobs.adapter.sha, blobs);
    index.blobBytes += blobs.adapter.bytes + blobs.config.bytes + blobs.optimizer.bytes;
  }
  index.blobBytes += line.pairs?.blob.bytes ?? 0;
  index.lines.push(...line.lines);
  index.commits.push({ firstSeq: line.events[0]?.seq ?? 0, offset: index.size, length });
  index.state = line.state;
  index.size += length;
}

/** Which line put each pair last, where in it, and with what digest: an import brings many lines in one commit. */
function placesOf(lines: readonly JournalLine[]): Map<string, PairCursor & { readonly digest: string }> {
  const places = new Map<string, PairCursor & { readonly digest: string }>();
  for (const { seq, data } of lines)
    data?.pairs.forEach(({ id, digest }, place) => {
      places.set(id, { digest, seq, place });
    });
  return places;
}

function drop(index: Index, id: string): void {
  const row = index.pairs.get(id);
  if (row === undefined) return;
  index.pairs.delete(id);
  index.deleted.set(row.blob, [...(index.deleted.get(row.blob) ?? []), row]);
}

/** The index must be what the journal says. */
export function verifyIndex(run: string, index: Index, path: string): void {
  const damaged = (what: string): StoreError =>
    new StoreError("damaged", `${path} is damaged: ${what}. Restore the directory from a copy.`);
  const verdict = verifyJournal(index.lines, { run });
  if (!verdict.ok) throw damaged(verdict.problems[0]?.message ?? "its journal does not verify");
  const sum = sumJournal(index.lines);
  if (index.state !== null && (index.state.run !== run || stateDigest(index.state) !== sum.state))
    throw damaged("the stored state is not the one in the journal");
  if (sum.pairs.size !== index.pairs.size)
    throw damaged(`it holds ${index.pairs.size} pairs, the journal ${sum.pairs.size}`);
  for (const [id, { status }] of sum.pairs)
    if (index.pairs.get(id)?.status !== status) throw damaged(`the pair ${id} is not what the journal says`);
  for (const [hash, { config, optimizer }] of sum.adapters) {
    const blobs = index.adapters.get(hash);
    if (blobs?.config.sha !== config || blobs.optimizer.sha !== optimizer)
      throw damaged(`the adapter ${hash} is not what the journal says`);
  }
}

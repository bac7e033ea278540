import {
  closeSync,
  existsSync,
  fstatSync,
  ftruncateSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
} from "node:fs";
import { join } from "node:path";
import { type BufferItem, bufferItem } from "../base/buffer.ts";
import { canonicalDigest, canonicalJson, parseCanonical } from "../base/canonical.ts";
import type { LoopEvent } from "../base/events.ts";
import { sha256Hex } from "../base/hash.ts";
import type { Pair } from "../base/records.ts";
import type { AdapterSnapshot, Commit } from "../loop/ports.ts";
import { quotaError, StoreError, staleError } from "./errors.ts";
import {
  type Blob,
  blobPath,
  changed,
  diskIo,
  type FolderIo,
  isFull,
  putBlob,
  putBlobInPieces,
  readAt,
  readBlob,
  readWhole,
  replaceFile,
  syncFolder,
  writeAll,
} from "./folder-disk.ts";
import {
  addCommit,
  type CommitLine,
  emptyIndex,
  type Index,
  type IndexedPair,
  type PairRow,
  readLog,
  verifyIndex,
} from "./folder-index.ts";
import { genesis, type JournalHead, pairDigest } from "./journal.ts";
import {
  checkAdapter,
  listed,
  type PairCursor,
  type PairFilter,
  type Prepared,
  prepareAdapter,
  prepareCommit,
  type RunContents,
  type RunStore,
} from "./run.ts";
import { FILTERS } from "./schema.ts";

/**
 * A run in a directory, for headless runs that are resumed:
 *   run.json       format and the run's name
 *   commits.jsonl  one line a commit: events, journal lines, state, and the blobs that hold its data
 *   blobs/<sha>    pairs (JSON lines), adapters, configs, optimizer states, named by their SHA-256
 * Blobs are written first (temporary file, fsync, rename), then one line is appended and synced: that line is the commit.
 * A line cut short by a crash is dropped at the next opening; blobs that no line names are harmless, and opening removes
 * those that are older than the last commit. Deleted pairs are blanked out in their blob. In memory stand the journal and an
 * index of the pairs, never pictures or adapters.
 */
export interface FolderStore extends RunStore {
  /** What opening had to repair, in plain words; null if nothing. */
  readonly repaired: string | null;
  /** Removes every blob and temporary file that no commit refers to; returns how many. Only while no other process writes. */
  sweep(): number;
}

const format = "autodidact-run-folder";

/**
 * Opens the run in directory `dir`, or begins the run `run` in it if it has none.
 * Throws a StoreError: refused if the directory holds another run or none was named; version if a newer program made it;
 * damaged if committed bytes have changed; quota if the disk is too full to begin a run.
 */
export function openFolderStore(dir: string, options: { run?: string; io?: FolderIo } = {}): FolderStore {
  try {
    return openFolder(dir, options);
  } catch (error) {
    throw isFull(error) ? quotaError() : error;
  }
}

function openFolder(dir: string, options: { run?: string; io?: FolderIo }): FolderStore {
  const io = options.io ?? diskIo;
  mkdirSync(join(dir, "blobs"), { recursive: true });
  const run = openManifest(dir, options.run, io);
  const path = join(dir, "commits.jsonl");
  const log = io.openSync(path, "a+");
  const index = emptyIndex();
  const repaired = readLog(log, index, path);
  verifyIndex(run, index, path);
  blankDeleted(dir, index, io);
  removeUnused(dir, index, fstatSync(log).mtimeMs);
  let closed = false;

  const live = <T>(body: () => T): Promise<T> =>
    new Promise((resolve, reject) => {
      try {
        if (closed) throw new StoreError("closed", `The run in ${dir} was closed.`);
        refresh();
        resolve(body());
      } catch (error) {
        reject(isFull(error) ? quotaError() : error);
      }
    });

  const head = (): JournalHead => index.lines.at(-1) ?? genesis(run);
  const items = (): BufferItem[] => [...index.pairs.values()].map((row) => itemOf(dir, index, run, row));

  /** Reads what another process has added since; a torn line at the end may be one that it is just writing. */
  const refresh = (): void => {
    if (fstatSync(log).size > index.size) {
      readLog(log, index, path, false);
      verifyIndex(run, index, path);
    }
  };

  const putter = (): ((bytes: Uint8Array) => Blob) => {
    const used = usedBlobs(index);
    return (bytes) => {
      const sha = sha256Hex(bytes);
      if (!used.has(sha) || index.deleted.has(sha)) putBlob(dir, sha, bytes, io);
      return { sha, bytes: bytes.length };
    };
  };

  const adapterBlobs = (
    snapshot: AdapterSnapshot,
    put: (bytes: Uint8Array) => Blob,
  ): CommitLine["adapters"][number] => ({
    adapter: put(snapshot.adapter),
    config: put(utf8(snapshot.config)),
    optimizer: put(snapshot.optimizer),
  });

  const write = (prepared: Prepared): void => {
    for (const { id, status } of prepared.status) {
      if (!index.pairs.has(id) && !prepared.pairs.some(({ pair }) => pair.id === id)) {
        throw new StoreError("refused", `The pair ${id} cannot become ${status}: it is not in the store.`);
      }
    }
    for (const id of prepared.removed) {
      if (!index.pairs.has(id))
        throw new StoreError("refused", `The pair ${id} cannot be deleted: it is not in the store.`);
    }
    const put = putter();
    append({
      events: prepared.events,
      lines: prepared.lines,
      state: prepared.state,
      pairs: prepared.pairs.length === 0 ? null : putPairs(prepared, put),
      status: prepared.status,
      ...(prepared.removed.length === 0 ? {} : { removed: prepared.removed }),
      adapters: prepared.adapters.map(({ snapshot }) => adapterBlobs(snapshot, put)),
    });
    if (prepared.removed.length > 0) blankDeleted(dir, index, io);
  };

  /** The commit: everything that the line names is on the disk. */
  const append = (line: CommitLine): void => {
    if (fstatSync(log).size !== index.size) throw staleError(run, head().seq, line.events[0]?.seq ?? 0);
    const bytes = utf8(`${canonicalJson({ ...line, sha256: canonicalDigest(line) })}\n`);
    try {
      writeAll(io, log, bytes);
      io.fsyncSync(log);
    } catch (error) {
      ftruncateSync(log, index.size); // what was written of the line is not a commit
      throw error;
    }
    addCommit(index, line, bytes.length);
  };

  const mustBeEmpty = (): void => {
    if (index.lines.length > 0)
      throw new StoreError(
        "refused",
        `There is already a run in ${dir}, and an import never overwrites one. Name an empty directory.`,
      );
  };

  /** Pairs and adapters go to blobs as they come; the one line of the import has the events. */
  const restore = async (contents: RunContents): Promise<void> => {
    await live(mustBeEmpty);
    try {
      const put = putter();
      const adapters: CommitLine["adapters"][number][] = [];
      for await (const snapshot of contents.adapters()) {
        prepareAdapter(snapshot);
        adapters.push(adapterBlobs(snapshot, put));
      }
      const rows: PairRow[] = [];
      const blob = await putBlobInPieces(dir, pairLines(contents.pairs(), rows), io);
      const events = await listed(contents.events());
      const { lines, state } = contents;
      await live(() => {
        mustBeEmpty();
        append({ events, lines, state, pairs: rows.length === 0 ? null : { blob, rows }, status: [], adapters });
      });
    } catch (error) {
      throw isFull(error) ? quotaError() : error;
    }
  };

  return {
    run,
    repaired,
    state: () => live(() => index.state),

    commit: (change: Commit) => live(() => write(prepareCommit(run, head(), change))),

    restore,

    pairs: ({ status, round, limit }) =>
      live(() => {
        const found: string[] = [];
        for (const row of index.pairs.values()) {
          if (found.length === limit) break;
          if ((status === undefined || row.status === status) && (round === undefined || row.round === round))
            found.push(row.id);
        }
        return readPairs(dir, index, run, found);
      }),

    listPairs: ({ after = null, newestFirst = false, limit, ...filter }) =>
      live(() => {
        const rows = [...index.pairs.values()];
        const found: { item: BufferItem; at: PairCursor }[] = [];
        for (const row of newestFirst ? rows.reverse() : rows) {
          if (found.length > limit) break;
          if (after !== null && (newestFirst ? compare(row, after) >= 0 : compare(row, after) <= 0)) continue;
          const item = itemOf(dir, index, run, row);
          if (passes(item, filter)) found.push({ item, at: { seq: row.seq, place: row.place } });
        }
        const shown = found.slice(0, limit);
        return { items: shown.map(({ item }) => item), next: found.length > limit ? (shown.at(-1)?.at ?? null) : null };
      }),

    countPairs: (filter, atMost) => live(() => Math.min(atMost, items().filter((item) => passes(item, filter)).length)),
    sources: () => live(() => [...new Set(items().map(({ source }) => source))].sort()),

    bufferItems: ({ over }) =>
      live(() => {
        const all = items();
        return all.reduce((sum, { bytes }) => sum + bytes, 0) > over ? all : [];
      }),

    hasPair: (id) => live(() => index.pairs.has(id)),
    pairsById: (ids) => live(() => readPairs(dir, index, run, ids)),

    adapter: (hash) =>
      live((): AdapterSnapshot | null => {
        const blobs = index.adapters.get(hash);
        if (blobs === undefined) return null;
        const [adapter, config, optimizer] = [blobs.adapter, blobs.config, blobs.optimizer].map((blob) =>
          readBlob(dir, blob.sha),
        ) as [Uint8Array, Uint8Array, Uint8Array];
        return checkAdapter(
          { hash, adapter, config: new TextDecoder().decode(config), optimizer },
          { config: blobs.config.sha, optimizer: blobs.optimizer.sha },
        );
      }),

    events: ({ since, limit }) =>
      live(() => {
        const events: LoopEvent[] = [];
        for (const [i, { offset, length }] of index.commits.entries()) {
          if (events.length >= (limit ?? Infinity)) break;
          const next = index.commits[i + 1];
          if (next !== undefined && next.firstSeq <= since) continue;
          const line = parseCanonical(readAt(log, offset, length - 1)) as CommitLine;
          events.push(...line.events.filter((event) => event.seq >= since));
        }
        return events.slice(0, limit);
      }),

    snapshot: () => live(() => ({ state: index.state, lines: [...index.lines] })),
    bytes: () => live(() => index.size + index.blobBytes),

    sweep: () => removeUnused(dir, index, Infinity),

    close() {
      if (!closed) closeSync(log);
      closed = true;
    },
  };
}

function openManifest(dir: string, wanted: string | undefined, io: FolderIo): string {
  const path = join(dir, "run.json");
  if (!existsSync(path)) {
    if (wanted === undefined)
      throw new StoreError(
        "refused",
        `There is no run in ${dir}: run.json is missing. Name another directory, or start a new run.`,
      );
    if (existsSync(join(dir, "commits.jsonl")))
      throw new StoreError("damaged", `${path} is missing, but commits.jsonl is there. Restore it from a copy.`);
    replaceFile(path, utf8(`${canonicalJson({ format, version: 1, run: wanted })}\n`), io);
    syncFolder(dir, io);
    return wanted;
  }
  let manifest: { format?: unknown; version?: unknown; run?: unknown };
  try {
    manifest = JSON.parse(readFileSync(path, "utf8")) as typeof manifest;
  } catch {
    throw new StoreError(
      "damaged",
      `${path} is not JSON. Restore it from a copy, or start the run in another directory.`,
    );
  }
  if (manifest.format !== format || typeof manifest.run !== "string")
    throw new StoreError("refused", `${path} does not describe a run of this program.`);
  if (manifest.version !== 1)
    throw new StoreError(
      "version",
      `The run in ${dir} has format version ${String(manifest.version)}; this program reads version 1. Use a newer program.`,
    );
  if (wanted !== undefined && wanted !== manifest.run)
    throw new StoreError("refused", `${dir} holds the run ${manifest.run}, not ${wanted}. Name another directory.`);
  return manifest.run;
}

function putPairs(prepared: Prepared, put: (bytes: Uint8Array) => Blob): CommitLine["pairs"] {
  const rows: PairRow[] = [];
  const texts: string[] = [];
  for (const { pair } of prepared.pairs) texts.push(pairLine(pair, rows));
  return { blob: put(utf8(texts.join(""))), rows };
}

async function* pairLines(pairs: AsyncIterable<Pair>, rows: PairRow[]): AsyncGenerator<Uint8Array> {
  for await (const pair of pairs) yield utf8(pairLine(pair, rows));
}

/** The pair's line in a blob of pairs, and its row added to those before it. */
function pairLine(pair: Pair, rows: PairRow[]): string {
  const text = `${canonicalJson(pair)}\n`;
  const last = rows.at(-1);
  const offset = last === undefined ? 0 : last.offset + last.length;
  rows.push({ ...bufferItem(pair), offset, length: utf8(text).length });
  return text;
}

/** Reads pairs in the order of `ids`, each blob once, and checks each against the digest in the journal. */
function readPairs(dir: string, index: Index, run: string, ids: readonly string[]): Pair[] {
  const blobs = new Map<string, Uint8Array>();
  return ids.map((id) => {
    const row = index.pairs.get(id);
    if (row === undefined) throw new StoreError("damaged", `The pair ${id} of run ${run} is not in the store.`);
    const blob = blobs.get(row.blob) ?? readWhole(blobPath(dir, row.blob));
    blobs.set(row.blob, blob);
    const text = new TextDecoder().decode(blob.subarray(row.offset, row.offset + row.length - 1));
    let pair: Pair;
    try {
      pair = parseCanonical(text) as Pair;
    } catch {
      throw changed(blobPath(dir, row.blob));
    }
    if (pairDigest(pair) !== row.digest) throw changed(blobPath(dir, row.blob));
    return { ...pair, status: row.status };
  });
}

/** What lists show of a pair; folders of the first release have it in the pair alone. */
function itemOf(dir: string, index: Index, run: string, row: IndexedPair): BufferItem {
  const { id, status, round, source, kind, margin, answer, bytes } = row;
  if (source === undefined || kind === undefined || margin === undefined || answer === undefined || bytes === undefined)
    return bufferItem(readPairs(dir, index, run, [id])[0] as Pair);
  return { id, status, round, source, kind, margin, answer, bytes };
}

const passes = (item: BufferItem, filter: PairFilter): boolean =>
  FILTERS.every((field) => filter[field] === undefined || item[field] === filter[field]);

const compare = (a: PairCursor, b: PairCursor): number => a.seq - b.seq || a.place - b.place;

function usedBlobs(index: Index): Set<string> {
  const used = new Set([...index.pairs.values()].map(({ blob }) => blob));
  for (const { adapter, config, optimizer } of index.adapters.values())
    for (const { sha } of [adapter, config, optimizer]) used.add(sha);
  return used;
}

/**
 * Removes files of `blobs` that no commit refers to and that are older than `before` (milliseconds since the epoch); returns how many.
 * What another process has written for its next commit is newer than the last one.
 */
function removeUnused(dir: string, index: Index, before: number): number {
  const used = usedBlobs(index);
  const folder = join(dir, "blobs");
  const unused = readdirSync(folder).filter((name) => !used.has(name) && statSync(join(folder, name)).mtimeMs < before);
  for (const name of unused) rmSync(join(folder, name));
  return unused.length;
}

/**
 * Overwrites deleted pairs with blanks in blobs that also hold others, and removes blobs that hold no others. The commit
 * stands already, so a failure here is not one of the commit: the next opening tries again.
 */
function blankDeleted(dir: string, index: Index, io: FolderIo): void {
  const used = usedBlobs(index);
  for (const [sha, rows] of index.deleted) {
    try {
      if (used.has(sha))
        blank(
          blobPath(dir, sha),
          rows.filter((row) => !isLive(index, row)),
          io,
        );
      else rmSync(blobPath(dir, sha), { force: true });
    } catch {
      // The blob is as it was.
    }
  }
}

function blank(path: string, rows: readonly IndexedPair[], io: FolderIo): void {
  const bytes = readWhole(path);
  const blanked = bytes.slice();
  for (const { offset, length } of rows) blanked.fill(32, offset, offset + length - 1);
  if (blanked.some((byte, i) => byte !== bytes[i])) replaceFile(path, blanked, io);
}

/** Was the same pair put again in the same bytes? */
function isLive(index: Index, row: IndexedPair): boolean {
  const now = index.pairs.get(row.id);
  return now?.blob === row.blob && now.offset === row.offset;
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

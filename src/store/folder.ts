import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { canonicalDigest, canonicalJson, parseCanonical } from "../base/canonical.ts";
import type { LoopEvent } from "../base/events.ts";
import { sha256Hex } from "../base/hash.ts";
import type { Pair, PairStatus } from "../base/records.ts";
import type { AdapterSnapshot, Commit, LoopState } from "../loop/ports.ts";
import { quotaError, StoreError, staleError } from "./errors.ts";
import {
  eventDigest,
  genesis,
  type JournalHead,
  type JournalLine,
  stateDigest,
  sumJournal,
  verifyJournal,
} from "./journal.ts";
import { checkAdapter, type Prepared, prepareCommit, prepareRestore, type RunContents, type RunStore } from "./run.ts";

/**
 * A run in a directory, for headless runs that are resumed:
 *   run.json       format and the run's name
 *   commits.jsonl  one line a commit: events, journal lines, state, and the blobs that hold its data
 *   blobs/<sha>    pairs (JSON lines), adapters, configs, optimizer states, named by their SHA-256
 * Blobs are written first (temporary file, fsync, rename), then one line is appended and synced: that line is the commit.
 * A line cut short by a crash is dropped at the next opening; blobs that no line names are harmless (see sweep).
 * In memory stand the journal and an index of the pairs, never pictures or adapters.
 */
export interface FolderStore extends RunStore {
  /** What opening had to repair, in plain words; null if nothing. */
  readonly repaired: string | null;
  /** Removes blobs and temporary files that no commit refers to; returns how many. Only while no other process writes. */
  sweep(): number;
}

/** The file operations that change the disk, so that tests can let each of them fail. */
export interface FolderIo {
  openSync: typeof openSync;
  writeSync: typeof writeSync;
  fsyncSync: typeof fsyncSync;
  renameSync: typeof renameSync;
}

const diskIo: FolderIo = { openSync, writeSync, fsyncSync, renameSync };

interface Blob {
  readonly sha: string;
  readonly bytes: number;
}

/** One line of commits.jsonl; beside these fields stands `sha256`, the digest of them all. */
interface CommitLine {
  readonly events: readonly LoopEvent[];
  readonly lines: readonly JournalLine[];
  readonly state: LoopState;
  readonly pairs: { readonly blob: Blob; readonly rows: readonly PairRow[] } | null;
  readonly status: readonly { readonly id: string; readonly status: PairStatus }[];
  readonly adapters: readonly { readonly adapter: Blob; readonly config: Blob; readonly optimizer: Blob }[];
}

/** Where a pair lies in its blob, and what queries ask for. */
interface PairRow {
  readonly id: string;
  readonly status: PairStatus;
  readonly round: number;
  readonly offset: number;
  readonly length: number;
}

interface Index {
  readonly pairs: Map<string, PairRow & { blob: string; status: PairStatus }>;
  readonly adapters: Map<string, CommitLine["adapters"][number]>;
  readonly lines: JournalLine[];
  /** For each commit: its first event and its bytes in commits.jsonl. */
  readonly commits: { readonly firstSeq: number; readonly offset: number; readonly length: number }[];
  state: LoopState | null;
  /** Length of commits.jsonl as far as it is understood. */
  size: number;
  blobBytes: number;
}

const format = "autodidact-run-folder";

/**
 * Opens the run in directory `dir`, or begins the run `run` in it if it has none.
 * Throws a StoreError: refused if the directory holds another run or none was named; version if a newer program made it;
 * damaged if committed bytes have changed.
 */
export function openFolderStore(dir: string, options: { run?: string; io?: FolderIo } = {}): FolderStore {
  const io = options.io ?? diskIo;
  mkdirSync(join(dir, "blobs"), { recursive: true });
  const run = openManifest(dir, options.run, io);
  const path = join(dir, "commits.jsonl");
  const log = io.openSync(path, "a+");
  const index = emptyIndex();
  const repaired = readLog(log, index, path);
  verifyIndex(run, index, path);
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

  /** Reads what another process has added since; a torn line at the end may be one that it is just writing. */
  const refresh = (): void => {
    if (fstatSync(log).size > index.size) {
      readLog(log, index, path, false);
      verifyIndex(run, index, path);
    }
  };

  const write = (prepared: Prepared): void => {
    for (const { id, status } of prepared.status) {
      if (!index.pairs.has(id) && !prepared.pairs.some(({ pair }) => pair.id === id)) {
        throw new StoreError("refused", `The pair ${id} cannot become ${status}: it is not in the store.`);
      }
    }
    const put = (bytes: Uint8Array): Blob => putBlob(dir, bytes, io);
    const line: CommitLine = {
      events: prepared.events,
      lines: prepared.lines,
      state: prepared.state,
      pairs: prepared.pairs.length === 0 ? null : putPairs(prepared, put),
      status: prepared.status,
      adapters: prepared.adapters.map(({ snapshot }) => ({
        adapter: put(snapshot.adapter),
        config: put(utf8(snapshot.config)),
        optimizer: put(snapshot.optimizer),
      })),
    };
    if (fstatSync(log).size !== index.size) throw staleError(run, head().seq, prepared.events[0]?.seq ?? 0);
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

  return {
    run,
    repaired,
    state: () => live(() => index.state),

    commit: (change: Commit) => live(() => write(prepareCommit(run, head(), change))),

    restore: (contents: RunContents) =>
      live(() => {
        if (index.lines.length > 0)
          throw new StoreError(
            "refused",
            `There is already a run in ${dir}, and an import never overwrites one. Name an empty directory.`,
          );
        const { pairs } = sumJournal(contents.lines);
        write(prepareRestore(contents, (id) => pairs.get(id) ?? { seq: 0, place: 0 }));
      }),

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

    sweep() {
      const used = new Set<string>();
      for (const { blob } of index.pairs.values()) used.add(blob);
      for (const { adapter, config, optimizer } of index.adapters.values())
        for (const { sha } of [adapter, config, optimizer]) used.add(sha);
      const unused = readdirSync(join(dir, "blobs")).filter((name) => !used.has(name));
      for (const name of unused) rmSync(join(dir, "blobs", name));
      return unused.length;
    },

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

const emptyIndex = (): Index => ({
  pairs: new Map(),
  adapters: new Map(),
  lines: [],
  commits: [],
  state: null,
  size: 0,
  blobBytes: 0,
});

/** Reads commits.jsonl from where the index ends, line by line. A torn last line is cut off if `repair`. Returns what was repaired. */
function readLog(log: number, index: Index, path: string, repair = true): string | null {
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

function addCommit(index: Index, line: CommitLine, length: number): void {
  for (const row of line.pairs?.rows ?? []) {
    index.pairs.delete(row.id); // a pair that is put again moves to the end
    index.pairs.set(row.id, { ...row, blob: line.pairs?.blob.sha ?? "" });
  }
  for (const { id, status } of line.status) {
    const row = index.pairs.get(id);
    if (row !== undefined) row.status = status;
  }
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

/** The index must be what the journal says. */
function verifyIndex(run: string, index: Index, path: string): void {
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

function putPairs(prepared: Prepared, put: (bytes: Uint8Array) => Blob): CommitLine["pairs"] {
  const rows: PairRow[] = [];
  const texts: string[] = [];
  let offset = 0;
  for (const { pair } of prepared.pairs) {
    const text = `${canonicalJson(pair)}\n`;
    const length = utf8(text).length;
    rows.push({ id: pair.id, status: pair.status, round: pair.round, offset, length });
    texts.push(text);
    offset += length;
  }
  return { blob: put(utf8(texts.join(""))), rows };
}

/** Reads pairs in the order of `ids`, each blob once. */
function readPairs(dir: string, index: Index, run: string, ids: readonly string[]): Pair[] {
  const blobs = new Map<string, Uint8Array>();
  return ids.map((id) => {
    const row = index.pairs.get(id);
    if (row === undefined) throw new StoreError("damaged", `The pair ${id} of run ${run} is not in the store.`);
    const blob = blobs.get(row.blob) ?? readBlob(dir, row.blob);
    blobs.set(row.blob, blob);
    const text = new TextDecoder().decode(blob.subarray(row.offset, row.offset + row.length - 1));
    return { ...(parseCanonical(text) as Pair), status: row.status };
  });
}

function putBlob(dir: string, bytes: Uint8Array, io: FolderIo): Blob {
  const sha = sha256Hex(bytes);
  const path = join(dir, "blobs", sha);
  if (!existsSync(path) || statSync(path).size !== bytes.length) {
    replaceFile(path, bytes, io);
    syncFolder(join(dir, "blobs"), io);
  }
  return { sha, bytes: bytes.length };
}

function readBlob(dir: string, sha: string): Uint8Array {
  const path = join(dir, "blobs", sha);
  let bytes: Uint8Array;
  try {
    bytes = new Uint8Array(readFileSync(path));
  } catch {
    throw new StoreError("damaged", `${path} cannot be read. Restore it from a copy.`);
  }
  if (sha256Hex(bytes) !== sha)
    throw new StoreError(
      "damaged",
      `${path} is damaged: its bytes have changed since they were saved. Restore it from a copy.`,
    );
  return bytes;
}

/** Writes a file so that it is there whole or not at all. */
function replaceFile(path: string, bytes: Uint8Array, io: FolderIo): void {
  const file = io.openSync(`${path}.tmp`, "w");
  try {
    writeAll(io, file, bytes);
    io.fsyncSync(file);
  } finally {
    closeSync(file);
  }
  io.renameSync(`${path}.tmp`, path);
}

/** Makes a rename durable. Windows has no such call for directories and does not need it. */
function syncFolder(dir: string, io: FolderIo): void {
  if (process.platform === "win32") return;
  const folder = io.openSync(dir, "r");
  try {
    io.fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

function writeAll(io: FolderIo, file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += io.writeSync(file, bytes, at, bytes.length - at);
}

function readAt(file: number, offset: number, length: number): string {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const read = readSync(file, bytes, at, length - at, offset + at);
    if (read === 0) break;
    at += read;
  }
  return new TextDecoder().decode(bytes);
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const isFull = (error: unknown): boolean =>
  typeof error === "object" &&
  error !== null &&
  "code" in error &&
  (error.code === "ENOSPC" || error.code === "EDQUOT" || error.code === "EFBIG");

import { type IDBPDatabase, type IDBPTransaction, openDB } from "idb";
import type { LoopEvent } from "../base/events.ts";
import type { Pair } from "../base/records.ts";
import type { AdapterSnapshot, Commit, LoopState } from "../loop/ports.ts";
import { quotaError, StoreError, staleError } from "./errors.ts";
import { genesis, type JournalHead, type JournalLine, sumJournal } from "./journal.ts";
import {
  adapterBytes,
  checkAdapter,
  type Prepared,
  prepareCommit,
  prepareRestore,
  type RunContents,
  type RunStore,
} from "./run.ts";
import { migrations, type RunRecord, type Schema, storeNames } from "./schema.ts";

/** All runs of one origin, in IndexedDB. Works in pages and workers. */
export interface RunLibrary {
  /** Newest first. */
  list(): Promise<readonly RunRecord[]>;
  /** The memory of one run; a run that does not exist begins with its first commit. */
  open(run: string): RunStore;
  /** Throws a StoreError (refused) if there is no such run. */
  rename(run: string, title: string): Promise<void>;
  /** Removes everything of a run, in one transaction. */
  delete(run: string): Promise<void>;
  /** Bytes used and allowed for this origin, null where the browser does not say. */
  estimate(): Promise<{ readonly usage: number; readonly quota: number } | null>;
  close(): void;
}

export interface LibraryOptions {
  /** Name of the database. */
  readonly name?: string;
  /** navigator.storage.estimate, or a stand-in. */
  readonly estimate?: () => Promise<{ usage?: number; quota?: number }>;
  /** Called when a newer page wants to change the schema: this connection is closed, and every later call fails with code closed. */
  readonly onClosed?: () => void;
}

type Db = IDBPDatabase<Schema>;
type WriteTx = IDBPTransaction<Schema, (typeof storeNames)[number][], "readwrite">;

/** Opens the database and brings its schema up to date. Throws a StoreError (version) if a newer page has changed it. */
export async function openLibrary(options: LibraryOptions = {}): Promise<RunLibrary> {
  const db = await openDatabase(options);
  return {
    async list() {
      const runs = await guarded(() => db.getAll("runs"));
      return runs.sort((a, b) => b.startedAt - a.startedAt || (a.run < b.run ? -1 : 1));
    },
    open: (run) => openRun(db, run),
    async rename(run, title) {
      await writing(db, async (tx) => {
        const record = await tx.objectStore("runs").get(run);
        if (record === undefined) throw new StoreError("refused", `There is no run ${run} to rename.`);
        await tx.objectStore("runs").put({ ...record, title });
      });
    },
    async delete(run) {
      await writing(db, async (tx) => {
        await tx.objectStore("runs").delete(run);
        await tx.objectStore("state").delete(run);
        for (const name of ["pairs", "adapters", "events", "journal"] as const)
          await tx.objectStore(name).delete(prefix(run));
      });
    },
    async estimate() {
      const ask = options.estimate ?? (() => globalThis.navigator.storage.estimate());
      const { usage, quota } = await ask();
      return usage === undefined || quota === undefined ? null : { usage, quota };
    },
    close: () => db.close(),
  };
}

async function openDatabase(options: LibraryOptions): Promise<Db> {
  try {
    const db: Db = await openDB<Schema>(options.name ?? "autodidact", migrations.length, {
      upgrade(database, oldVersion, _newVersion, tx) {
        for (const step of migrations.slice(oldVersion)) step(database, tx);
      },
      blocking() {
        db.close();
        options.onClosed?.();
      },
      terminated: () => options.onClosed?.(),
    });
    return db;
  } catch (error) {
    if (nameOf(error) === "VersionError") {
      throw new StoreError(
        "version",
        "The stored runs were written by a newer version of this page. Reload the page to get that version.",
      );
    }
    throw storeError(error);
  }
}

function openRun(db: Db, run: string): RunStore {
  const head = async (): Promise<JournalHead> => (await lastLine(db.transaction("journal"), run)) ?? genesis(run);

  return {
    run,
    state: () => guarded(async () => (await db.get("state", run))?.state ?? null),

    async commit(change: Commit) {
      const before = await guarded(head);
      const prepared = prepareCommit(run, before, change);
      await writing(db, async (tx) => {
        const now = (await lastLine(tx, run)) ?? genesis(run);
        if (now.hash !== before.hash) throw staleError(run, now.seq, prepared.events[0]?.seq ?? 0);
        await write(tx, run, prepared);
      });
    },

    async restore(contents: RunContents) {
      const { pairs } = sumJournal(contents.lines);
      const prepared = prepareRestore(contents, (id) => pairs.get(id) ?? { seq: 0, place: 0 });
      await writing(db, async (tx) => {
        if ((await tx.objectStore("runs").get(run)) !== undefined)
          throw new StoreError(
            "refused",
            `There is already a run ${run} here, and an import never overwrites one. Delete it first, or keep it.`,
          );
        await write(tx, run, prepared, contents.title);
      });
    },

    pairs: ({ status, round, limit }) =>
      guarded(async () => {
        const pairs = db.transaction("pairs").store;
        if (status === undefined) {
          const range = round === undefined ? prefix(run) : prefix(run, round);
          const found = await pairs.index(round === undefined ? "order" : "round").getAll(range, limit);
          return found.map((record) => record.pair);
        }
        const found = await pairs.index("status").getAll(prefix(run, status), round === undefined ? limit : undefined);
        const wanted = round === undefined ? found : found.filter((record) => record.round === round).slice(0, limit);
        return wanted.map((record) => record.pair);
      }),

    hasPair: (id) => guarded(async () => (await db.getKey("pairs", [run, id])) !== undefined),

    pairsById: (ids) =>
      guarded(async () => {
        const pairs = db.transaction("pairs").store;
        const found = await Promise.all(ids.map((id) => pairs.get([run, id])));
        return found.map((record, i) => {
          if (record === undefined)
            throw new StoreError("damaged", `The pair ${ids[i]} of run ${run} is not in the store.`);
          return record.pair;
        });
      }),

    adapter: (hash) =>
      guarded(async () => {
        const record = await db.get("adapters", [run, hash]);
        if (record === undefined) return null;
        const { adapter, config, optimizer } = record;
        return checkAdapter({ hash, adapter, config, optimizer }, record.digests);
      }),

    events: ({ since, limit }) =>
      guarded(async () => {
        const records = await db.getAll("events", IDBKeyRange.bound([run, since], [run, []]), limit);
        return records.map((record) => record.event);
      }),

    snapshot: () =>
      guarded(async () => {
        const tx = db.transaction(["state", "journal"]);
        const [state, lines] = await Promise.all([
          tx.objectStore("state").get(run),
          tx.objectStore("journal").getAll(prefix(run)),
        ]);
        return { state: state?.state ?? null, lines: lines.map((record) => record.line) };
      }),

    bytes: () => guarded(async () => (await db.get("runs", run))?.bytes ?? 0),
    close: () => undefined, // the connection belongs to the library
  };
}

/** Every write of a transaction. Requests are awaited, so that the first failure is the one that is reported. */
async function write(tx: WriteTx, run: string, prepared: Prepared, importedAs?: string): Promise<void> {
  const pairs = tx.objectStore("pairs");
  let bytes = prepared.logBytes;
  for (const { pair, seq, place, bytes: size } of prepared.pairs) {
    bytes += size - ((await pairs.get([run, pair.id]))?.bytes ?? 0);
    await pairs.put({
      run,
      id: pair.id,
      status: pair.status,
      round: pair.round,
      source: pair.task.source,
      seq,
      place,
      bytes: size,
      pair: ownBytes(pair),
    });
  }
  for (const { id, status } of prepared.status) {
    const record = await pairs.get([run, id]);
    if (record === undefined)
      throw new StoreError("refused", `The pair ${id} cannot become ${status}: it is not in the store.`);
    await pairs.put({ ...record, status, pair: { ...record.pair, status } });
  }
  for (const { snapshot, digests } of prepared.adapters) {
    const adapters = tx.objectStore("adapters");
    const old = await adapters.get([run, snapshot.hash]);
    bytes += adapterBytes(snapshot) - (old === undefined ? 0 : adapterBytes(old));
    await adapters.put({ run, ...ownBytes(snapshot), digests });
  }
  for (const event of prepared.events)
    await tx.objectStore("events").put({ run, seq: event.seq, event: ownBytes(event) });
  for (const line of prepared.lines) await tx.objectStore("journal").put({ run, seq: line.seq, line });
  await tx.objectStore("state").put({ run, state: prepared.state });
  const record = await tx.objectStore("runs").get(run);
  await tx.objectStore("runs").put(updated(record, prepared, bytes, importedAs));
}

/** The run's record after `prepared`. */
function updated(
  old: RunRecord | undefined,
  { state, events }: Prepared,
  bytes: number,
  importedAs: string | undefined,
): RunRecord {
  const evaluated = events.filter((event) => event.type === "evaluated" && event.world === state.contour.world).at(-1);
  return {
    run: state.run,
    title: importedAs ?? old?.title ?? state.run,
    startedAt: old?.startedAt ?? events[0]?.at ?? 0,
    updatedAt: events.at(-1)?.at ?? old?.updatedAt ?? 0,
    round: state.round,
    rounds: state.contour.rounds,
    seed: state.seed,
    incumbent: state.incumbent,
    finished: state.finished,
    events: state.seq,
    accepted: (old?.accepted ?? 0) + events.filter((event) => event.type === "committed").length,
    rejected: (old?.rejected ?? 0) + events.filter((event) => event.type === "rejected").length,
    heldOut: evaluated?.type === "evaluated" ? evaluated.heldOut.greedy.value : (old?.heldOut ?? null),
    bytes: (old?.bytes ?? 0) + bytes,
    imported: old?.imported ?? importedAs !== undefined,
  };
}

/**
 * One transaction over all stores, durable once this resolves. Whatever throws in `body` – a synchronous DataCloneError
 * would not abort by itself – aborts it by hand: nothing of it is kept.
 */
async function writing(db: Db, body: (tx: WriteTx) => Promise<void>): Promise<void> {
  await guarded(async () => {
    const tx = db.transaction([...storeNames], "readwrite", { durability: "strict" });
    const done = tx.done.then(
      () => null,
      (error: unknown) => ({ error }),
    );
    try {
      await body(tx);
    } catch (error) {
      try {
        tx.abort();
      } catch {
        // It has aborted already, and that is what was wanted.
      }
      await done;
      // A full disk aborts the transaction first; the requests after it only say AbortError.
      throw nameOf(tx.error) === "QuotaExceededError" ? tx.error : error;
    }
    const failed = await done;
    if (failed !== null) throw tx.error ?? failed.error;
  });
}

/** Runs `body` with the browser's errors turned into StoreErrors. */
async function guarded<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw storeError(error);
  }
}

function storeError(error: unknown): unknown {
  const name = nameOf(error);
  if (name === "QuotaExceededError") return quotaError();
  if (name === "InvalidStateError")
    return new StoreError(
      "closed",
      "The store was closed, probably by a newer version of the page in another tab. Reload to go on; nothing that was saved is lost.",
    );
  return error;
}

const nameOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "name" in error ? String(error.name) : "";

/** All keys of an index or store that begin with these parts: an array sorts after every number and text. */
const prefix = (...parts: (string | number)[]): IDBKeyRange => IDBKeyRange.bound(parts, [...parts, []]);

async function lastLine(
  tx: {
    objectStore(name: "journal"): {
      openCursor(range: IDBKeyRange, direction: "prev"): Promise<{ value: { line: JournalLine } } | null>;
    };
  },
  run: string,
): Promise<JournalHead | null> {
  const cursor = await tx.objectStore("journal").openCursor(prefix(run), "prev");
  return cursor === null ? null : cursor.value.line;
}

/**
 * The same value, with every view of a larger or shared buffer copied into a buffer of its own:
 * structured clone would store the whole buffer behind each view.
 */
function ownBytes<T extends Pair | LoopEvent | AdapterSnapshot | LoopState>(value: T): T {
  const copy = (part: unknown): unknown => {
    if (part instanceof Uint8Array)
      return part.buffer instanceof ArrayBuffer && part.byteLength === part.buffer.byteLength ? part : part.slice();
    if (Array.isArray(part)) return part.map(copy);
    if (typeof part !== "object" || part === null) return part;
    return Object.fromEntries(Object.entries(part).map(([key, field]) => [key, copy(field)]));
  };
  return copy(value) as T;
}

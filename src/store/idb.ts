import { openDB } from "idb";
import { StoreError } from "./errors.ts";
import { openRun } from "./idb-run.ts";
import { type Db, guarded, nameOf, prefix, storeError, writing } from "./idb-tx.ts";
import type { RunStore } from "./run.ts";
import { migrations, type RunRecord, type Schema } from "./schema.ts";
import { type Folder, fileTensors, rowTensors, sortedTensors, type Tensors } from "./tensors.ts";
import { type Locks, openVault } from "./vault.ts";

/** All runs of one origin, in IndexedDB. Works in pages and workers. */
export interface RunLibrary {
  /** Newest first. */
  list(): Promise<readonly RunRecord[]>;
  /** The memory of one run; a run that does not exist begins with its first commit. */
  open(run: string): RunStore;
  /** Throws a StoreError (refused) if there is no such run. */
  rename(run: string, title: string): Promise<void>;
  /** Removes everything of a run, in one transaction; then the tensors that no other run refers to. */
  delete(run: string): Promise<void>;
  /** Removes tensors that no run refers to; returns how many. Opening does the same. */
  sweep(): Promise<number>;
  /** Bytes used and allowed for this origin, null where the browser does not say. */
  estimate(): Promise<{ readonly usage: number; readonly quota: number } | null>;
  close(): void;
}

export interface LibraryOptions {
  /** Name of the database, of the folder of large tensors, and part of the lock's. */
  readonly name?: string;
  /** navigator.storage.estimate, or a stand-in. */
  readonly estimate?: () => Promise<{ usage?: number; quota?: number }>;
  /** Called when a newer page wants to change the schema: this connection is closed, and every later call fails with code closed. */
  readonly onClosed?: () => void;
  /** Folder for large tensors, by default one of the origin private file system where files can be written synchronously; null: none. */
  readonly folder?: Folder | null;
  /** Bytes from which a tensor goes to the folder. */
  readonly fileBytes?: number;
  /** navigator.locks, or a stand-in; null: no other tab shares the database. */
  readonly locks?: Locks | null;
}

/**
 * Opens the database, brings its schema up to date and sweeps up what an interrupted commit has left.
 * Throws a StoreError: version if a newer page has changed the schema (nothing is touched), quota if there is no room to bring it up to date.
 */
export async function openLibrary(options: LibraryOptions = {}): Promise<RunLibrary> {
  const name = options.name ?? "autodidact";
  const db = await openDatabase(name, options);
  const tensors = await openTensors(db, name, options);
  const locks = options.locks === undefined ? (globalThis.navigator?.locks ?? null) : options.locks;
  const vault = openVault(db, tensors, locks, name);
  await vault.sweep();
  return {
    async list() {
      const runs = await guarded(() => db.getAll("runs"));
      return runs.sort((a, b) => b.startedAt - a.startedAt || (a.run < b.run ? -1 : 1));
    },
    open: (run) => openRun(db, vault, run),
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
        for (const store of ["pairs", "contents", "adapters", "events", "journal"] as const)
          await tx.objectStore(store).delete(prefix(run));
      });
      await vault.sweep();
    },
    sweep: () => vault.sweep(),
    async estimate() {
      const ask = options.estimate ?? (() => globalThis.navigator.storage.estimate());
      const { usage, quota } = await ask();
      return usage === undefined || quota === undefined ? null : { usage, quota };
    },
    close: () => db.close(),
  };
}

async function openDatabase(name: string, options: LibraryOptions): Promise<Db> {
  let failure: unknown = null;
  try {
    const db: Db = await openDB<Schema>(name, migrations.length, {
      upgrade(database, oldVersion, _newVersion, tx) {
        tx.done.catch(() => undefined); // an abort is reported by openDB
        const upgrade = async (): Promise<void> => {
          for (const step of migrations.slice(oldVersion)) await step(database, tx);
        };
        upgrade().catch((error: unknown) => {
          failure = error;
          tx.abort();
        });
      },
      blocking() {
        db.close();
        options.onClosed?.();
      },
      terminated: () => options.onClosed?.(),
    });
    return db;
  } catch (error) {
    if (nameOf(error) === "VersionError") throw await versionError(name);
    throw storeError(failure ?? error);
  }
}

async function versionError(name: string): Promise<StoreError> {
  const all = (await globalThis.indexedDB.databases?.()) ?? [];
  const version = all.find((one) => one.name === name)?.version;
  const stored =
    version === undefined ? "" : ` (format ${version}; this page knows formats up to ${migrations.length})`;
  return new StoreError(
    "version",
    `The stored runs were written by a newer version of this page${stored}. Nothing was changed. Reload the page to get that version; if this one still comes, close every tab of the page and open it again.`,
  );
}

/** Rows, and where a worker may write files of the origin private file system, those for large tensors. */
async function openTensors(db: Db, name: string, options: LibraryOptions): Promise<Tensors> {
  const rows = rowTensors(db);
  const folder = options.folder === undefined ? await privateFolder(name) : options.folder;
  return folder === null ? rows : sortedTensors(rows, fileTensors(folder), options.fileBytes);
}

/** Null where the file system is missing, as in private windows of some browsers, or cannot be written synchronously, as in a page. */
async function privateFolder(name: string): Promise<Folder | null> {
  if (!("FileSystemFileHandle" in globalThis) || !("createSyncAccessHandle" in FileSystemFileHandle.prototype))
    return null;
  try {
    const root = await navigator.storage.getDirectory();
    return (await root.getDirectoryHandle(`${name}-tensors`, { create: true })) as unknown as Folder;
  } catch {
    return null;
  }
}

/** What outlives a process: a run in IndexedDB or in a folder, whose every write is a point where a fault may strike. */

import * as fs from "node:fs";
import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deleteDB, openDB } from "idb";
import { type FolderStore, openFolderStore } from "../../store/folder.ts";
import { openLibrary, type RunLibrary } from "../../store/idb.ts";
import { sumJournal } from "../../store/journal.ts";
import type { RunStore } from "../../store/run.ts";
import type { Scene } from "./tap.ts";

export type MemoryKind = "indexeddb" | "folder";

export interface Memory {
  readonly kind: MemoryKind;
  /** The store of `run` as the process that lives now sees it. */
  open(run: string): RunStore;
  /** The process died: what it had not committed is gone, and the next one opens everything anew. */
  reopen(): Promise<void>;
  /** Names of what is stored and belongs to no commit of `run`. In a folder that may be data which a later commit replaced. */
  leftovers(run: string): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** `written` is called before every write and may throw. */
export type Written = (scene: Scene) => void;

/** An error as the system and the browser give it when a disk or a quota is full. */
export const full: Readonly<Record<MemoryKind, () => Error>> = {
  indexeddb: () => new DOMException("injected: the quota is spent", "QuotaExceededError"),
  folder: () => Object.assign(new Error("ENOSPC: injected: no space left on device"), { code: "ENOSPC" }),
};

/** Who is told of the writes of fake-indexeddb: one memory at a time. */
let watching: Written | null = null;
let databases = 0;

async function indexedDb(written: Written): Promise<Memory> {
  await loadIndexedDb();
  const name = `faults-${++databases}`;
  let library: RunLibrary = await openLibrary({ name });
  watching = written;
  return {
    kind: "indexeddb",
    open: (run) => library.open(run),
    async reopen() {
      library.close();
      library = await openLibrary({ name });
    },
    leftovers: (run) => strangers(name, library.open(run)),
    async close() {
      watching = null;
      library.close();
      await deleteDB(name);
    },
  };
}

/** Rows of the database that the journal of its only run does not know. */
async function strangers(name: string, store: RunStore): Promise<readonly string[]> {
  const { lines } = await store.snapshot();
  const { pairs, adapters } = sumJournal(lines);
  const numbers = new Set(lines.map((line) => line.seq));
  const known: Readonly<Record<string, ReadonlySet<unknown> | ReadonlyMap<unknown, unknown>>> = {
    pairs,
    contents: pairs,
    adapters,
    events: numbers,
    journal: numbers,
  };
  const tensors = new Set([...adapters].flatMap(([hash, { optimizer }]) => [hash, optimizer]));
  const db = await openDB(name);
  const found: string[] = [];
  for (const table of db.objectStoreNames)
    for (const key of await db.getAllKeys(table)) {
      const [run, part] = Array.isArray(key) ? key : [key];
      const belongs =
        table === "tensors" ? tensors.has(String(key)) : run === store.run && known[table]?.has(part) !== false;
      if (!belongs) found.push(`${table}: ${String(key)}`);
    }
  db.close();
  return found;
}

/** fake-indexeddb in place of the browser's, with its writes under watch. It is a development package. */
async function loadIndexedDb(): Promise<void> {
  if ("indexedDB" in globalThis) return;
  await import("fake-indexeddb/auto").catch(() => {
    throw new Error("IndexedDB in Node needs the development packages: run npm ci in a clone of the repository.");
  });
  const { prototype } = IDBObjectStore;
  for (const method of ["put", "add", "delete"] as const) {
    const real: (...args: never[]) => IDBRequest = prototype[method];
    Object.defineProperty(prototype, method, {
      value(this: IDBObjectStore, ...args: never[]) {
        let abort = false;
        watching?.({
          abort: () => {
            abort = true;
          },
        });
        const request = real.apply(this, args);
        if (abort) this.transaction.abort();
        return request;
      },
    });
  }
}

function inFolder(written: Written): Memory {
  const root = mkdtempSync(join(tmpdir(), "autodidact-faults-"));
  let disk = join(root, "0");
  let copies = 0;
  let store: FolderStore | null = null;
  const freeze = (): void => {
    const copy = join(root, String(++copies));
    cpSync(disk, copy, { recursive: true });
    disk = copy;
  };
  const before = (partly?: () => void): void => written({ freeze, ...(partly === undefined ? {} : { partly }) });
  const io = {
    openSync: ((path: string, ...rest: [never]) => {
      before();
      return fs.openSync(path, ...rest);
    }) as typeof fs.openSync,
    writeSync: ((file: number, bytes: Uint8Array, offset: number, length: number) => {
      before(() => fs.writeSync(file, bytes, offset, Math.floor(length / 2)));
      return fs.writeSync(file, bytes, offset, length);
    }) as typeof fs.writeSync,
    fsyncSync: (file: number) => {
      before();
      fs.fsyncSync(file);
    },
    renameSync: (from: fs.PathLike, to: fs.PathLike) => {
      before();
      fs.renameSync(from, to);
    },
  };
  return {
    kind: "folder",
    open(run) {
      store ??= openFolderStore(disk, { run, io });
      return store;
    },
    async reopen() {
      store?.close();
      store = null;
    },
    async leftovers() {
      const blobs = (): readonly string[] => fs.readdirSync(join(disk, "blobs"));
      const before = blobs();
      store?.sweep();
      const kept = new Set(blobs());
      return before.filter((name) => !kept.has(name));
    },
    async close() {
      store?.close();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

export function openMemory(kind: MemoryKind, written: Written): Promise<Memory> {
  return kind === "indexeddb" ? indexedDb(written) : Promise.resolve(inFolder(written));
}

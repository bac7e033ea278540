import type { IDBPDatabase } from "idb";
import { sha256Hex } from "../base/hash.ts";
import { quotaError } from "./errors.ts";
import type { Schema } from "./schema.ts";

/** Bytes by their SHA-256, which the caller has computed. Nothing here is ever changed in place. */
export interface Tensors {
  get(sha: string): Promise<Uint8Array | null>;
  /** Whole and flushed once it resolves; at once if these bytes are there already. */
  put(sha: string, bytes: Uint8Array): Promise<void>;
  names(): Promise<readonly string[]>;
  remove(shas: readonly string[]): Promise<void>;
}

/** Rows of the database, each written in a strict transaction of its own. */
export function rowTensors(db: IDBPDatabase<Schema>): Tensors {
  return {
    get: async (sha) => (await db.get("tensors", sha))?.bytes ?? null,
    async put(sha, bytes) {
      const tx = db.transaction("tensors", "readwrite", { durability: "strict" });
      const ended = tx.done.then(
        () => null,
        (error: unknown) => ({ error }),
      );
      if ((await tx.store.getKey(sha)) === undefined) await tx.store.put({ sha, bytes: bytes.slice() });
      const failed = await ended;
      if (failed !== null) throw tx.error ?? failed.error;
    },
    names: () => db.getAllKeys("tensors"),
    async remove(shas) {
      const tx = db.transaction("tensors", "readwrite");
      for (const sha of shas) await tx.store.delete(sha);
      await tx.done;
    },
  };
}

/** What is used of a directory of the origin private file system; handles for synchronous access exist in dedicated workers only. */
export interface Folder {
  getFileHandle(name: string, options?: { create?: boolean }): Promise<FolderFile>;
  removeEntry(name: string): Promise<void>;
  keys(): AsyncIterable<string>;
}

export interface FolderFile {
  getFile(): Promise<{ readonly size: number; arrayBuffer(): Promise<ArrayBuffer> }>;
  createSyncAccessHandle(): Promise<{
    truncate(size: number): void;
    write(bytes: Uint8Array, options: { at: number }): number;
    flush(): void;
    close(): void;
  }>;
}

/**
 * Files of a folder, named by their SHA-256. A write that was cut short leaves a file that does not match its name:
 * nothing refers to it yet, and the next `put` of these bytes writes it anew.
 */
export function fileTensors(folder: Folder): Tensors {
  const read = async (sha: string): Promise<Uint8Array | null> => {
    try {
      const file = await (await folder.getFileHandle(sha)).getFile();
      return new Uint8Array(await file.arrayBuffer());
    } catch (error) {
      if (isNotFound(error)) return null;
      throw error;
    }
  };
  return {
    get: read,
    async put(sha, bytes) {
      const there = await read(sha);
      if (there?.length === bytes.length && sha256Hex(there) === sha) return;
      const file = await folder.getFileHandle(sha, { create: true });
      const handle = await file.createSyncAccessHandle();
      try {
        handle.truncate(0);
        for (let at = 0; at < bytes.length; ) {
          const written = handle.write(bytes.subarray(at), { at });
          if (written === 0) throw quotaError(); // what a full disk looks like in some browsers
          at += written;
        }
        handle.flush();
      } finally {
        handle.close();
      }
    },
    async names() {
      const names: string[] = [];
      for await (const name of folder.keys()) names.push(name);
      return names;
    },
    async remove(shas) {
      for (const sha of shas) {
        await folder.removeEntry(sha).catch((error: unknown) => {
          if (!isNotFound(error)) throw error;
        });
      }
    },
  };
}

/** Tensors of at least this many bytes go to files, where there are any: structured clone would copy them several times. */
const fileBytes = 2 ** 22;

/** Small tensors in rows, large ones in files; both places are read, whatever was written where. */
export function sortedTensors(rows: Tensors, files: Tensors, threshold: number = fileBytes): Tensors {
  return {
    get: async (sha) => (await rows.get(sha)) ?? files.get(sha),
    put: (sha, bytes) => (bytes.length < threshold ? rows : files).put(sha, bytes),
    names: async () => [...new Set([...(await rows.names()), ...(await files.names())])],
    remove: async (shas) => {
      await rows.remove(shas);
      await files.remove(shas);
    },
  };
}

const isNotFound = (error: unknown): boolean =>
  typeof error === "object" && error !== null && "name" in error && error.name === "NotFoundError";

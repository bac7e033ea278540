import type { IDBPDatabase, IDBPTransaction } from "idb";
import { quotaError, StoreError } from "./errors.ts";
import { committedStores, type Schema } from "./schema.ts";

export type Db = IDBPDatabase<Schema>;
export type WriteTx = IDBPTransaction<Schema, (typeof committedStores)[number][], "readwrite">;

/** All keys of an index or store that begin with these parts: an array sorts after every number and text. */
export const prefix = (...parts: (string | number)[]): IDBKeyRange => IDBKeyRange.bound(parts, [...parts, []]);

/**
 * One transaction over all stores that a commit writes, durable once this resolves. Whatever throws in `body` – a
 * synchronous DataCloneError would not abort by itself – aborts it by hand: nothing of it is kept.
 */
export async function writing(db: Db, body: (tx: WriteTx) => Promise<void>): Promise<void> {
  await guarded(async () => {
    const tx = db.transaction([...committedStores], "readwrite", { durability: "strict" });
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
export async function guarded<T>(body: () => Promise<T>): Promise<T> {
  try {
    return await body();
  } catch (error) {
    throw storeError(error);
  }
}

export function storeError(error: unknown): unknown {
  const name = nameOf(error);
  if (name === "QuotaExceededError") return quotaError();
  if (name === "InvalidStateError")
    return new StoreError(
      "closed",
      "The store was closed, probably by a newer version of the page in another tab. Reload to go on; nothing that was saved is lost.",
    );
  return error;
}

export const nameOf = (error: unknown): string =>
  typeof error === "object" && error !== null && "name" in error ? String(error.name) : "";

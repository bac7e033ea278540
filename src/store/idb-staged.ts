import { StoreError } from "./errors.ts";
import { type Db, guarded, prefix, type WriteTx, writing } from "./idb-tx.ts";

/** Stores whose rows are laid out before an import is committed. A run is what has a row in `runs`. */
const staged = ["pairs", "contents", "events", "journal"] as const;

/** Throws a StoreError (refused) if the run is there. */
export async function mustBeNew(tx: WriteTx, run: string): Promise<void> {
  if ((await tx.objectStore("runs").getKey(run)) !== undefined)
    throw new StoreError(
      "refused",
      `There is already a run ${run} here, and an import never overwrites one. Delete it first, or keep it.`,
    );
}

/** Removes what was laid out for a run that is not there. */
export async function clear(tx: WriteTx, run: string): Promise<void> {
  await mustBeNew(tx, run);
  for (const store of staged) await tx.objectStore(store).delete(prefix(run));
}

/** Removes what interrupted imports have laid out. Only while nobody imports. */
export async function removeStaged(db: Db): Promise<void> {
  const orphans = await guarded(async () => {
    const tx = db.transaction(["runs", ...staged]);
    const runs = new Set(await tx.objectStore("runs").getAllKeys());
    const found = new Set<string>();
    // From each run straight to the next one: as many steps as there are runs.
    for (const store of staged)
      for (let from: IDBValidKey[] = []; ; ) {
        const cursor = await tx.objectStore(store).openKeyCursor(IDBKeyRange.lowerBound(from));
        if (cursor === null) break;
        const run = cursor.key[0];
        if (!runs.has(run)) found.add(run);
        from = [run, []];
      }
    return found;
  });
  for (const run of orphans) await writing(db, (tx) => clear(tx, run));
}

import { nothingTold, putEvent, putPair, tell, updated } from "./idb-rows.ts";
import { clear, mustBeNew } from "./idb-staged.ts";
import { type Db, type WriteTx, writing } from "./idb-tx.ts";
import { sumJournal } from "./journal.ts";
import { adapterBytes, batches, logBytes, type PreparedAdapter, prepareAdapter, type RunContents } from "./run.ts";
import type { AdapterRecord } from "./schema.ts";
import type { Vault } from "./vault.ts";

/** Pairs or events in one transaction. */
const batch = 64;

/**
 * A whole imported run. Tensors, pairs, events and journal are laid out in transactions of their own, so that no more
 * than a batch is in memory; the last transaction writes adapters, state and the run's row, and that is the commit.
 * Rows of a run without a row in `runs` are seen by nobody, and are removed here if something fails, and by the sweep
 * that follows an import that was cut short.
 */
export async function importContents(db: Db, vault: Vault, run: string, contents: RunContents): Promise<void> {
  await writing(db, (tx) => mustBeNew(tx, run));
  const adapters: AdapterRecord[] = [];
  async function* prepared(): AsyncGenerator<PreparedAdapter> {
    for await (const snapshot of contents.adapters()) {
      const one = prepareAdapter(snapshot);
      const { hash, config } = snapshot;
      adapters.push({ run, hash, config, digests: one.digests, bytes: adapterBytes(snapshot) });
      yield one;
    }
  }
  await vault.keep(prepared(), async () => {
    await writing(db, (tx) => clear(tx, run));
    try {
      const laid = await layOut(db, run, contents);
      await writing(db, async (tx) => {
        await mustBeNew(tx, run);
        for (const adapter of adapters) await tx.objectStore("adapters").put(adapter);
        await tx.objectStore("state").put({ run, state: contents.state });
        const bytes = laid.logBytes + laid.pairBytes + adapters.reduce((sum, adapter) => sum + adapter.bytes, 0);
        const grown = { bytes, pairBytes: laid.pairBytes };
        await tx.objectStore("runs").put(updated(undefined, contents.state, laid.told, grown, contents.title));
      });
    } catch (error) {
      // The failure is what matters; what cannot be removed now is swept at the next start.
      await writing(db, (tx) => clear(tx, run)).catch(() => undefined);
      throw error;
    }
  });
}

async function layOut(db: Db, run: string, contents: RunContents) {
  const known = sumJournal(contents.lines).pairs;
  const [sizes, told] = [{ pairBytes: 0, logBytes: 0 }, { now: nothingTold(contents.state.contour.world) }];
  const puts = async <T>(values: AsyncIterable<T> | Iterable<T>, put: (tx: WriteTx, value: T) => Promise<unknown>) => {
    for await (const some of batches(values, batch))
      await writing(db, async (tx) => {
        await mustBeNew(tx, run);
        for (const value of some) await put(tx, value);
      });
  };
  await puts(contents.pairs(), async (tx, pair) => {
    const { seq, place } = known.get(pair.id) ?? { seq: 0, place: 0 };
    sizes.pairBytes += await putPair(tx, run, { pair, seq, place });
  });
  await puts(contents.events(), async (tx, event) => {
    sizes.logBytes += logBytes([event], []);
    told.now = tell(told.now, event);
    await putEvent(tx, run, event);
  });
  await puts(contents.lines, async (tx, line) => {
    sizes.logBytes += logBytes([], [line]);
    await tx.objectStore("journal").put({ run, seq: line.seq, line });
  });
  return { ...sizes, told: told.now };
}

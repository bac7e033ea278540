import type { Pair } from "../base/records.ts";
import type { Commit } from "../loop/ports.ts";
import { StoreError, staleError } from "./errors.ts";
import { importContents } from "./idb-import.ts";
import { nothingTold, putEvent, putPair, tell, updated } from "./idb-rows.ts";
import { type Db, guarded, prefix, type WriteTx, writing } from "./idb-tx.ts";
import { genesis, type JournalHead, type JournalLine } from "./journal.ts";
import {
  adapterBytes,
  checkAdapter,
  type PairCursor,
  type PairFilter,
  type Prepared,
  prepareCommit,
  type RunStore,
} from "./run.ts";
import { FILTERS, indexOf, type PairRecord } from "./schema.ts";
import type { Vault } from "./vault.ts";

/** The memory of one run in the database of all runs. */
export function openRun(db: Db, vault: Vault, run: string): RunStore {
  const head = async (): Promise<JournalHead> => (await lastLine(db.transaction("journal"), run)) ?? genesis(run);

  /** The pairs of these records, in their order. */
  const whole = async (
    contents: { get(key: [string, string]): Promise<{ pair: Pair } | undefined> },
    records: readonly PairRecord[],
  ): Promise<Pair[]> => {
    const found = await Promise.all(records.map(({ id }) => contents.get([run, id])));
    return records.map(({ id, status }, i) => {
      const content = found[i];
      if (content === undefined) throw missingPair(id, run);
      return { ...content.pair, status };
    });
  };

  return {
    run,
    state: () => guarded(async () => (await db.get("state", run))?.state ?? null),

    async commit(change: Commit) {
      const before = await guarded(head);
      const prepared = prepareCommit(run, before, change);
      await vault.keep(prepared.adapters, () =>
        writing(db, async (tx) => {
          const now = (await lastLine(tx, run)) ?? genesis(run);
          if (now.hash !== before.hash) throw staleError(run, now.seq, prepared.events[0]?.seq ?? 0);
          await write(tx, run, prepared);
        }),
      );
    },

    restore: (contents) => importContents(db, vault, run, contents),

    pairs: ({ limit, ...filter }) =>
      guarded(async () => {
        const tx = db.transaction(["pairs", "contents"]);
        const { index, key } = rangeOf(run, filter);
        const found = await tx
          .objectStore("pairs")
          .index(index)
          .getAll(prefix(...key), limit);
        return whole(tx.objectStore("contents"), found);
      }),

    listPairs: ({ after = null, newestFirst = false, limit, ...filter }) =>
      guarded(async () => {
        const { index, key } = rangeOf(run, filter);
        const records = db.transaction("pairs").store.index(index);
        const range = following(key, after, newestFirst);
        // One record more than the page says whether there is a next one.
        const found = await (newestFirst ? lastOf(records, range, limit + 1) : records.getAll(range, limit + 1));
        const items = found.slice(0, limit);
        const last = items.at(-1);
        const next = found.length <= limit || last === undefined ? null : { seq: last.seq, place: last.place };
        return { items: items.map(({ run: _run, seq: _seq, place: _place, ...item }) => item), next };
      }),

    countPairs: (filter, atMost) =>
      guarded(async () => {
        const { index, key } = rangeOf(run, filter);
        const records = db.transaction("pairs").store.index(index);
        return (await records.getAllKeys(prefix(...key), atMost)).length;
      }),

    sources: () =>
      guarded(async () => {
        const records = db.transaction("pairs").store.index("source");
        const sources: string[] = [];
        // From each source straight to the next one: as many steps as there are sources.
        for (let from: IDBValidKey[] = [run]; ; ) {
          const cursor = await records.openKeyCursor(IDBKeyRange.bound(from, [run, []]));
          if (cursor === null) return sources;
          const source = (cursor.key as [string, string])[1];
          sources.push(source);
          from = [run, source, []];
        }
      }),

    bufferItems: ({ over }) =>
      guarded(async () => {
        const tx = db.transaction(["runs", "pairs"]);
        if (((await tx.objectStore("runs").get(run))?.pairBytes ?? 0) <= over) return [];
        const records = await tx.objectStore("pairs").index("order").getAll(prefix(run));
        return records.map(({ run: _run, seq: _seq, place: _place, ...item }) => item);
      }),

    hasPair: (id) => guarded(async () => (await db.getKey("pairs", [run, id])) !== undefined),

    pairsById: (ids) =>
      guarded(async () => {
        const tx = db.transaction(["pairs", "contents"]);
        const found = await Promise.all(ids.map((id) => tx.objectStore("pairs").get([run, id])));
        const records = found.map((record, i) => {
          if (record === undefined) throw missingPair(ids[i] as string, run);
          return record;
        });
        return whole(tx.objectStore("contents"), records);
      }),

    async adapter(hash) {
      const record = await guarded(() => db.get("adapters", [run, hash]));
      if (record === undefined) return null;
      const { config, digests } = record;
      const [adapter, optimizer] = [await vault.get(hash), await vault.get(digests.optimizer)];
      if (adapter === null || optimizer === null)
        throw new StoreError(
          "damaged",
          `The stored adapter ${hash} is not whole: its tensors are gone, perhaps because site data was deleted in part. Continue from an exported archive, or delete the run.`,
        );
      return checkAdapter({ hash, adapter, config, optimizer }, digests);
    },

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

interface PairCursorStep {
  readonly value: PairRecord;
  continue(): Promise<PairCursorStep | null>;
}

interface PairIndex {
  openCursor(range: IDBKeyRange, direction: "prev"): Promise<PairCursorStep | null>;
}

/** Which index answers a filter, and what its keys begin with. */
function rangeOf(run: string, filter: PairFilter): { index: string; key: (string | number)[] } {
  const fields = FILTERS.filter((field) => filter[field] !== undefined);
  return { index: indexOf(fields), key: [run, ...fields.map((field) => filter[field] as string | number)] };
}

/** The part of an index's range that comes after a page, in either direction. */
function following(key: (string | number)[], after: PairCursor | null, newestFirst: boolean): IDBKeyRange {
  if (after === null) return prefix(...key);
  const at = [...key, after.seq, after.place];
  return newestFirst ? IDBKeyRange.bound(key, at, false, true) : IDBKeyRange.bound(at, [...key, []], true, false);
}

/** Up to `count` records of a range, from its end; getAll only knows the other direction. */
async function lastOf(records: PairIndex, range: IDBKeyRange, count: number): Promise<PairRecord[]> {
  const found: PairRecord[] = [];
  let cursor = await records.openCursor(range, "prev");
  while (cursor !== null && found.length < count) {
    found.push(cursor.value);
    cursor = found.length < count ? await cursor.continue() : null;
  }
  return found;
}

const missingPair = (id: string, run: string): StoreError =>
  new StoreError("damaged", `The pair ${id} of run ${run} is not in the store.`);

/** Every write of a transaction. Requests are awaited, so that the first failure is the one that is reported. */
async function write(tx: WriteTx, run: string, prepared: Prepared): Promise<void> {
  const pairs = tx.objectStore("pairs");
  let pairBytes = 0;
  for (const place of prepared.pairs) {
    const before = (await pairs.get([run, place.pair.id]))?.bytes ?? 0;
    pairBytes += (await putPair(tx, run, place)) - before;
  }
  for (const { id, status } of prepared.status) {
    const record = await pairs.get([run, id]);
    if (record === undefined)
      throw new StoreError("refused", `The pair ${id} cannot become ${status}: it is not in the store.`);
    await pairs.put({ ...record, status });
  }
  for (const id of prepared.removed) {
    const record = await pairs.get([run, id]);
    if (record === undefined)
      throw new StoreError("refused", `The pair ${id} cannot be deleted: it is not in the store.`);
    pairBytes -= record.bytes;
    await pairs.delete([run, id]);
    await tx.objectStore("contents").delete([run, id]);
  }
  let bytes = prepared.logBytes + pairBytes;
  for (const { snapshot, digests } of prepared.adapters) {
    const adapters = tx.objectStore("adapters");
    const size = adapterBytes(snapshot);
    bytes += size - ((await adapters.get([run, snapshot.hash]))?.bytes ?? 0);
    await adapters.put({ run, hash: snapshot.hash, config: snapshot.config, digests, bytes: size });
  }
  for (const event of prepared.events) await putEvent(tx, run, event);
  for (const line of prepared.lines) await tx.objectStore("journal").put({ run, seq: line.seq, line });
  await tx.objectStore("state").put({ run, state: prepared.state });
  const runs = tx.objectStore("runs");
  const told = prepared.events.reduce(tell, nothingTold(prepared.state.contour.world));
  await runs.put(updated(await runs.get(run), prepared.state, told, { bytes, pairBytes }));
}

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

import type { DBSchema, IDBPDatabase, IDBPTransaction, StoreNames } from "idb";
import { type BufferItem, bufferItem } from "../base/buffer.ts";
import type { LoopEvent } from "../base/events.ts";
import type { Pair } from "../base/records.ts";
import type { LoopState } from "../loop/ports.ts";
import type { JournalLine } from "./journal.ts";

/** What the list of runs shows; kept up to date by every commit. */
export interface RunRecord {
  readonly run: string;
  /** The name a person gave it. */
  readonly title: string;
  /** Time of the first and last event, milliseconds since the epoch. */
  readonly startedAt: number;
  readonly updatedAt: number;
  readonly round: number;
  readonly rounds: number;
  readonly seed: number;
  /** SHA-256 of the base weights that every adapter of the run belongs to. */
  readonly base: string;
  readonly incumbent: string;
  /** Why the run ended, null while it can go on. */
  readonly finished: string | null;
  readonly events: number;
  readonly accepted: number;
  readonly rejected: number;
  /** Last held-out greedy score in the contour's world, null before the first. */
  readonly heldOut: number | null;
  /** Bytes of everything stored for it, and of its pairs alone. */
  readonly bytes: number;
  readonly pairBytes: number;
  readonly imported: boolean;
}

/** A pair without its contents, which stand in the store of that name. */
export interface PairRecord extends BufferItem {
  readonly run: string;
  /** Event that stored it and place in that commit: the order of the run. */
  readonly seq: number;
  readonly place: number;
}

/** An adapter without its tensors, which are kept under `hash` and `digests.optimizer`. */
export interface AdapterRecord {
  readonly run: string;
  readonly hash: string;
  readonly config: string;
  /** SHA-256 of config and optimizer, as the journal has them. */
  readonly digests: { readonly config: string; readonly optimizer: string };
  /** Of adapter and optimizer together. */
  readonly bytes: number;
}

/** What pairs may be filtered by. There is an index for every set of them, so that any filter is one range of one index. */
export const FILTERS = ["source", "round", "kind", "status"] as const;
export type Filter = (typeof FILTERS)[number];

/** Name of the index over these fields; within equal fields it is in the order of the run. */
export const indexOf = (fields: readonly Filter[]): string => (fields.length === 0 ? "order" : fields.join("+"));

export interface Schema extends DBSchema {
  runs: { key: string; value: RunRecord };
  pairs: { key: [string, string]; value: PairRecord; indexes: { [name: string]: IDBValidKey } };
  /** The pairs themselves; their status is the one in `pairs`. */
  contents: { key: [string, string]; value: { readonly run: string; readonly id: string; readonly pair: Pair } };
  adapters: { key: [string, string]; value: AdapterRecord };
  /** Tensors by their SHA-256, shared by all runs. Large ones may lie in files instead: see tensors.ts. */
  tensors: { key: string; value: { readonly sha: string; readonly bytes: Uint8Array } };
  events: { key: [string, number]; value: { readonly run: string; readonly seq: number; readonly event: LoopEvent } };
  journal: { key: [string, number]; value: { readonly run: string; readonly seq: number; readonly line: JournalLine } };
  state: { key: string; value: { readonly run: string; readonly state: LoopState } };
}

/** The stores that one commit writes. Tensors are written before it. */
export const committedStores = [
  "runs",
  "pairs",
  "contents",
  "adapters",
  "events",
  "journal",
  "state",
] as const satisfies readonly StoreNames<Schema>[];

type UpgradeTx = IDBPTransaction<Schema, StoreNames<Schema>[], "versionchange">;
type Upgrade = (db: IDBPDatabase<Schema>, tx: UpgradeTx) => void | Promise<void>;

/**
 * Step i leads from version i to version i + 1. Steps that have been released are never edited:
 * a change of the schema is a new step at the end, with a test that opens a database of the version before.
 */
export const migrations: readonly Upgrade[] = [
  (db) => {
    db.createObjectStore("runs", { keyPath: "run" });
    const pairs = db.createObjectStore("pairs", { keyPath: ["run", "id"] });
    pairs.createIndex("order", ["run", "seq", "place"]);
    pairs.createIndex("status", ["run", "status", "seq", "place"]);
    pairs.createIndex("round", ["run", "round", "seq", "place"]);
    pairs.createIndex("source", ["run", "source", "seq", "place"]);
    db.createObjectStore("adapters", { keyPath: ["run", "hash"] });
    db.createObjectStore("events", { keyPath: ["run", "seq"] });
    db.createObjectStore("journal", { keyPath: ["run", "seq"] });
    db.createObjectStore("state", { keyPath: "run" });
  },
  contentsApart,
];

/** Version 1 kept each pair and each adapter whole in its row. */
interface PairRecord1 {
  readonly run: string;
  readonly seq: number;
  readonly place: number;
  readonly pair: Pair;
}

interface AdapterRecord1 {
  readonly run: string;
  readonly hash: string;
  readonly adapter: Uint8Array;
  readonly config: string;
  readonly optimizer: Uint8Array;
  readonly digests: AdapterRecord["digests"];
}

/** 1 → 2: pictures and tensors leave the rows, an index for every filter, and each run knows its base and its pairs' bytes. */
async function contentsApart(db: IDBPDatabase<Schema>, tx: UpgradeTx): Promise<void> {
  const contents = db.createObjectStore("contents", { keyPath: ["run", "id"] });
  const tensors = db.createObjectStore("tensors", { keyPath: "sha" });
  const pairs = tx.objectStore("pairs");
  for (let set = 0; set < 2 ** FILTERS.length; set++) {
    const fields = FILTERS.filter((_, i) => (set & (1 << i)) !== 0);
    const name = indexOf(fields);
    if (!pairs.indexNames.contains(name)) pairs.createIndex(name, ["run", ...fields, "seq", "place"]);
  }
  const pairBytes = new Map<string, number>();
  for (let cursor = await pairs.openCursor(); cursor !== null; cursor = await cursor.continue()) {
    const { run, seq, place, pair } = cursor.value as unknown as PairRecord1;
    const record: PairRecord = { run, ...bufferItem(pair), seq, place };
    await contents.put({ run, id: pair.id, pair });
    await cursor.update(record);
    pairBytes.set(run, (pairBytes.get(run) ?? 0) + record.bytes);
  }
  for (let cursor = await tx.objectStore("adapters").openCursor(); cursor !== null; cursor = await cursor.continue()) {
    const { run, hash, adapter, config, optimizer, digests } = cursor.value as unknown as AdapterRecord1;
    await tensors.put({ sha: hash, bytes: adapter });
    await tensors.put({ sha: digests.optimizer, bytes: optimizer });
    await cursor.update({ run, hash, config, digests, bytes: adapter.length + optimizer.length });
  }
  for (let cursor = await tx.objectStore("runs").openCursor(); cursor !== null; cursor = await cursor.continue()) {
    const { run } = cursor.value;
    const started = (await tx.objectStore("events").get([run, 0]))?.event;
    const base = started?.type === "started" ? started.base : "";
    await cursor.update({ ...cursor.value, base, pairBytes: pairBytes.get(run) ?? 0 });
  }
}

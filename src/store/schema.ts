import type { DBSchema, IDBPDatabase, IDBPTransaction, StoreNames } from "idb";
import type { LoopEvent } from "../base/events.ts";
import type { Pair, PairStatus } from "../base/records.ts";
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
  readonly incumbent: string;
  /** Why the run ended, null while it can go on. */
  readonly finished: string | null;
  readonly events: number;
  readonly accepted: number;
  readonly rejected: number;
  /** Last held-out greedy score in the contour's world, null before the first. */
  readonly heldOut: number | null;
  /** Bytes of everything stored for it. */
  readonly bytes: number;
  readonly imported: boolean;
}

export interface PairRecord {
  readonly run: string;
  readonly id: string;
  readonly status: PairStatus;
  readonly round: number;
  readonly source: string;
  /** Event that stored it and place in that commit: the order of the run. */
  readonly seq: number;
  readonly place: number;
  readonly bytes: number;
  /** Its `status` is the one above. */
  readonly pair: Pair;
}

export interface AdapterRecord {
  readonly run: string;
  readonly hash: string;
  readonly adapter: Uint8Array;
  readonly config: string;
  readonly optimizer: Uint8Array;
  /** SHA-256 of config and optimizer, as the journal has them. */
  readonly digests: { readonly config: string; readonly optimizer: string };
}

export interface Schema extends DBSchema {
  runs: { key: string; value: RunRecord };
  pairs: {
    key: [string, string];
    value: PairRecord;
    indexes: {
      order: [string, number, number];
      status: [string, string, number, number];
      round: [string, number, number, number];
      source: [string, string, number, number];
    };
  };
  adapters: { key: [string, string]; value: AdapterRecord };
  events: { key: [string, number]; value: { readonly run: string; readonly seq: number; readonly event: LoopEvent } };
  journal: { key: [string, number]; value: { readonly run: string; readonly seq: number; readonly line: JournalLine } };
  state: { key: string; value: { readonly run: string; readonly state: LoopState } };
}

export const storeNames = [
  "runs",
  "pairs",
  "adapters",
  "events",
  "journal",
  "state",
] as const satisfies readonly StoreNames<Schema>[];

type Upgrade = (db: IDBPDatabase<Schema>, tx: IDBPTransaction<Schema, StoreNames<Schema>[], "versionchange">) => void;

/**
 * Step i leads from version i to version i + 1. Steps that have been released are never edited:
 * a change of the schema is a new step at the end.
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
];

/**
 * A database as version 1 of the schema made it: its own code, kept as it was, and the rows that it stored for two runs
 * (tests/store/fixtures.ts: all of "r", named "my first run", and the first three commits of "b").
 */
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { gunzipSync } from "node:zlib";
import { type IDBPDatabase, openDB } from "idb";
import { parseCanonical } from "../../../src/base/canonical.ts";
import type { LoopState } from "../../../src/loop/ports.ts";

type Upgrade = (db: IDBPDatabase) => void;

const migrations: readonly Upgrade[] = [
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

type Stores = Readonly<Record<string, readonly unknown[]>> & {
  readonly state: readonly [{ readonly state: LoopState }, ...unknown[]];
};

const rows = parseCanonical(
  gunzipSync(readFileSync(fileURLToPath(new URL("./v1.json.gz", import.meta.url)))).toString(),
) as { readonly version: number; readonly stores: Stores };

/** The contour of its runs. */
export const version1Contour = rows.stores.state[0].state.contour;

/** Makes the database `name` and closes it. */
export async function makeVersion1(name: string): Promise<void> {
  const db = await openDB(name, migrations.length, {
    upgrade(database, oldVersion) {
      for (const step of migrations.slice(oldVersion)) step(database);
    },
  });
  for (const [store, values] of Object.entries(rows.stores)) {
    const tx = db.transaction(store, "readwrite", { durability: "strict" });
    for (const value of values) await tx.store.put(value);
    await tx.done;
  }
  db.close();
}

import "fake-indexeddb/auto";
import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { deleteDB, openDB } from "idb";
import { afterEach, describe, expect, it, vi } from "vitest";
import { canonicalJson } from "../../src/base/canonical.ts";
import { sha256Hex } from "../../src/base/hash.ts";
import type { Commit } from "../../src/loop/ports.ts";
import { collect, exportRun } from "../../src/store/archive.ts";
import { openLibrary, type RunLibrary } from "../../src/store/idb.ts";
import { verifyJournal } from "../../src/store/journal.ts";
import { migrations } from "../../src/store/schema.ts";
import { importRun, verifyArchive } from "../../src/store/verify.ts";
import { dump } from "./conformance.ts";
import { adapterOf, demoRun, promptText, Script } from "./fixtures.ts";
import { makeVersion1, version1Contour } from "./old/v1.ts";

const demo = (run: string, seed: number): Commit[] => demoRun(run, seed, undefined, version1Contour);

/** The runs of the old database, committed anew by the code of today. */
async function expected(name: string): Promise<RunLibrary> {
  const library = await openLibrary({ name });
  for (const change of demo("r", 7)) await library.open("r").commit(change);
  for (const change of demo("b", 8).slice(0, 3)) await library.open("b").commit(change);
  await library.rename("r", "my first run");
  return library;
}

const keysOf = async (name: string): Promise<Record<string, unknown>> => {
  const db = await openDB(name);
  const keys: Record<string, unknown> = {};
  for (const store of [...db.objectStoreNames].sort()) keys[store] = await db.getAllKeys(store);
  keys.indexes = [...db.transaction("pairs").store.indexNames].sort();
  db.close();
  return keys;
};

describe("a database of version 1", () => {
  afterEach(async () => {
    vi.restoreAllMocks();
    for (const name of ["old", "new"]) await deleteDB(name);
  });

  it("opens with everything in it, as if the code of today had written it", async () => {
    await makeVersion1("old");
    const [old, fresh] = [await openLibrary({ name: "old" }), await expected("new")];
    expect(await old.list()).toEqual(await fresh.list());
    for (const run of ["r", "b"]) {
      expect(sha256Hex(await dump(old.open(run)))).toBe(sha256Hex(await dump(fresh.open(run))));
      expect(verifyJournal((await old.open(run).snapshot()).lines, { run }).ok).toBe(true);
    }
    const { items } = await old.open("r").listPairs({ source: "visitor", kind: "describe", limit: 9 });
    expect(items.map(({ id }) => id)).toEqual(
      demoRun("r")
        .at(-1)
        ?.putPairs.map(({ id }) => id),
    );
    old.close();
    fresh.close();
    expect(await keysOf("old")).toEqual(await keysOf("new"));
  });

  it("exports an archive that verifies, and goes on", async () => {
    await makeVersion1("old");
    const library = await openLibrary({ name: "old" });
    const store = library.open("b");
    expect(await verifyArchive(await collect(exportRun(store, { promptText })))).toMatchObject({ ok: true, pairs: 3 });
    for (const change of demo("b", 8).slice(3)) await store.commit(change);
    expect(await verifyArchive(await collect(exportRun(store, { promptText })))).toMatchObject({ ok: true, pairs: 10 });
    library.close();
  });

  it("stays whole, in version 1, when there is no room to bring it up to date", async () => {
    await makeVersion1("old");
    const real = IDBObjectStore.prototype.put;
    let puts = 0;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (
      this: IDBObjectStore,
      ...args: Parameters<typeof real>
    ) {
      if (puts++ === 7) throw new DOMException("injected", "QuotaExceededError");
      return real.apply(this, args);
    });
    await expect(openLibrary({ name: "old" })).rejects.toMatchObject({ code: "quota" });
    vi.restoreAllMocks();
    const db = await openDB("old");
    expect([db.version, [...db.objectStoreNames].sort()]).toEqual([
      1,
      ["adapters", "events", "journal", "pairs", "runs", "state"],
    ]);
    expect((await db.get("adapters", ["r", adapterOf("7/1").hash])).adapter).toEqual(adapterOf("7/1").adapter);
    db.close();
    const library = await openLibrary({ name: "old" });
    expect((await library.open("r").pairs({})).length).toBe(10);
    library.close();
  });

  it("has archives that are still read", async () => {
    const archive = readFileSync(fileURLToPath(new URL("./old/v1-run.zip", import.meta.url)));
    expect(await verifyArchive(archive)).toMatchObject({
      ok: true,
      run: "r",
      lines: 18,
      pairs: 10,
      adapters: 3,
      sealed: true,
    });
    const [library, fresh] = [await openLibrary({ name: "old" }), await expected("new")];
    await importRun(archive, library.open);
    expect(sha256Hex(await dump(library.open("r")))).toBe(sha256Hex(await dump(fresh.open("r"))));
    library.close();
    fresh.close();
  });
});

describe("a database of a newer version", () => {
  it("is refused with what to do, and left as it is", async () => {
    const library = await openLibrary({ name: "newer" });
    const script = new Script("r");
    await library.open("r").commit(script.commit({ events: [{ type: "error", code: "x", message: "" }] }));
    library.close();
    const newer = await openDB("newer", migrations.length + 1, {
      upgrade: (db) => void db.createObjectStore("later", { keyPath: "key" }),
    });
    await newer.put("later", { key: "a row of a later version" });
    newer.close();
    const content = async (): Promise<string> => {
      const db = await openDB("newer");
      const all = await Promise.all([...db.objectStoreNames].map((name) => db.getAll(name)));
      db.close();
      return canonicalJson({ version: db.version, all });
    };
    const before = await content();
    await expect(openLibrary({ name: "newer" })).rejects.toMatchObject({
      code: "version",
      message: expect.stringMatching(/newer version.*format 3.*up to 2.*Nothing was changed.*Reload/),
    });
    expect(await content()).toBe(before);
    await deleteDB("newer");
  });
});

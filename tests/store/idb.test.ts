import "fake-indexeddb/auto";
import { deleteDB, openDB } from "idb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Commit, LoopState } from "../../src/loop/ports.ts";
import { storeFailure } from "../../src/store/errors.ts";
import { openLibrary, type RunLibrary } from "../../src/store/idb.ts";
import type { RunContents } from "../../src/store/run.ts";
import { migrations } from "../../src/store/schema.ts";
import { conformance, dump } from "./conformance.ts";
import { adapterOf, demoRun, pairOf } from "./fixtures.ts";

conformance("IndexedDB", () => {
  let libraries: RunLibrary[] = [];
  return {
    async open(run) {
      const library = await openLibrary({ name: "conformance" });
      libraries.push(library);
      return library.open(run);
    },
    async clear() {
      for (const library of libraries) library.close();
      libraries = [];
      await deleteDB("conformance");
    },
  };
});

describe("IndexedDB: the library of runs", () => {
  let library: RunLibrary;
  const commits = demoRun("r");
  beforeEach(async () => {
    library = await openLibrary({ name: "library", estimate: async () => ({ usage: 5, quota: 100 }) });
  });
  afterEach(async () => {
    vi.restoreAllMocks();
    library.close();
    await deleteDB("library");
  });
  const fill = async (run: string, count = commits.length, seed = 7): Promise<void> => {
    for (const change of demoRun(run, seed).slice(0, count)) await library.open(run).commit(change);
  };

  it("lists runs with what they came to, renames and deletes them", async () => {
    await fill("a");
    await fill("b", 3, 8);
    await library.rename("a", "my first run");
    const [a, b] = [...(await library.list())].sort((x, y) => (x.run < y.run ? -1 : 1));
    expect(a).toMatchObject({
      run: "a",
      title: "my first run",
      seed: 7,
      round: 3,
      rounds: 40,
      accepted: 2,
      rejected: 1,
      events: 18,
      finished: null,
      imported: false,
    });
    expect(b).toMatchObject({ run: "b", title: "b", seed: 8, accepted: 0, events: 5 });
    expect(a?.bytes).toBeGreaterThan(b?.bytes ?? Infinity);
    const kept = await dump(library.open("b"));
    await library.delete("a");
    expect((await library.list()).map((run) => run.run)).toEqual(["b"]);
    expect(await library.open("a").state()).toBeNull();
    expect(await library.open("a").pairs({})).toEqual([]);
    expect(await dump(library.open("b"))).toBe(kept);
    await expect(library.rename("a", "x")).rejects.toMatchObject({ code: "refused" });
    expect(await library.estimate()).toEqual({ usage: 5, quota: 100 });
  });

  it("sweeps up what an import that was cut short has laid out, and keeps the other runs", async () => {
    await fill("a");
    const kept = await dump(library.open("a"));
    const [state, { lines }] = [demoRun("b").at(-1)?.state as LoopState, await library.open("a").snapshot()];
    let cut: (error: Error) => void = () => {};
    const contents: RunContents = {
      title: "b",
      state,
      lines,
      events: async function* () {},
      async *pairs() {
        for (let i = 0; i < 70; i++) yield pairOf(`b ${i}`, 0); // more than one transaction's
        await new Promise((_, reject) => {
          cut = reject;
          laid();
        });
      },
      adapters: async function* () {
        yield adapterOf("b");
      },
    };
    let laid: () => void = () => {};
    const laidOut = new Promise<void>((resolve) => {
      laid = resolve;
    });
    const interrupted = library.open("b").restore(contents);
    await laidOut;
    expect(await library.open("b").hasPair(pairOf("b 0", 0).id)).toBe(true);
    expect((await library.list()).map(({ run }) => run)).toEqual(["a"]);

    const again = await openLibrary({ name: "library" }); // as after the end of the process
    expect(await again.open("b").pairs({})).toEqual([]);
    expect(await dump(again.open("a"))).toBe(kept);
    again.close();
    cut(new Error("the process is gone"));
    await expect(interrupted).rejects.toThrow("the process is gone");
    expect(await dump(library.open("a"))).toBe(kept);
  });

  it("counts the bytes of a pair once, however often its status changes", async () => {
    await fill("a", 2);
    const before = await library.open("a").bytes();
    const adapter = commits[2]?.putAdapters[0];
    await library.open("a").commit(demoRun("a")[2] as Commit);
    const grown = (await library.open("a").bytes()) - before;
    const blobs = (adapter?.adapter.length ?? 0) + (adapter?.optimizer.length ?? 0);
    expect(grown).toBeGreaterThan(blobs);
    expect(grown).toBeLessThan(blobs + 3000);
  });

  /** Lets the n-th put of the next transactions throw, at once (as DataCloneError does) or as a failed request. */
  const failPut = (n: number, name: string): { count: () => number } => {
    let calls = 0;
    const real = IDBObjectStore.prototype.put;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (
      this: IDBObjectStore,
      ...args: Parameters<typeof real>
    ) {
      if (calls++ === n) throw new DOMException("injected", name);
      return real.apply(this, args);
    });
    return { count: () => calls };
  };

  it("leaves all or nothing when any single write of a commit throws, data and journal line together", async () => {
    const last = commits.findIndex((change) => change.putAdapters.length > 0);
    const change: Commit = { ...(commits[last] as Commit), putPairs: demoRun("r", 9)[1]?.putPairs ?? [] };
    await fill("r", last);
    const before = await dump(library.open("r"));
    let n = 0;
    for (; ; n++) {
      const put = failPut(n, "DataCloneError");
      const result = await library
        .open("r")
        .commit(change)
        .then(
          () => "done",
          (error: Error) => error.name,
        );
      vi.restoreAllMocks();
      if (put.count() <= n) break; // no write was left to fail
      expect(result).toBe("DataCloneError");
      expect(await dump(library.open("r"))).toBe(before);
    }
    expect(n).toBe(2 + 2 * 3 + 3 + 1 + 1 + 1 + 1 + 1); // tensors, pairs with contents, statuses, adapter, event, journal, state, run
    expect((await library.open("r").state())?.seq).toBe(change.state.seq);
  });

  it("leaves nothing when the transaction aborts after its last write", async () => {
    await fill("r", 2);
    const before = await dump(library.open("r"));
    const real = IDBObjectStore.prototype.put;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (
      this: IDBObjectStore,
      ...args: Parameters<typeof real>
    ) {
      const request = real.apply(this, args);
      if (this.name === "runs") this.transaction.abort();
      return request;
    });
    await expect(library.open("r").commit(commits[2] as Commit)).rejects.toThrow();
    vi.restoreAllMocks();
    expect(await dump(library.open("r"))).toBe(before);
    await library.open("r").commit(commits[2] as Commit);
  });

  it("turns a spent quota into a value in plain words, keeps the last commit whole and goes on afterwards", async () => {
    await fill("r", 2);
    const before = await dump(library.open("r"));
    failPut(1, "QuotaExceededError");
    const error: unknown = await library
      .open("r")
      .commit(commits[2] as Commit)
      .catch((reason: unknown) => reason);
    vi.restoreAllMocks();
    expect(storeFailure(error)).toEqual({
      ok: false,
      code: "quota",
      message: expect.stringContaining("Delete old runs"),
    });
    expect(await dump(library.open("r"))).toBe(before);
    await library.open("r").commit(commits[2] as Commit);
    expect((await library.open("r").state())?.seq).toBe(5);
    expect(storeFailure(new Error("a bug"))).toBeNull();
  });

  it("asks for strict durability, in one transaction over all stores", async () => {
    const spy = vi.spyOn(IDBDatabase.prototype, "transaction");
    await library.open("r").commit(commits[0] as Commit);
    const writes = spy.mock.calls.filter(([, mode]) => mode === "readwrite");
    expect(writes).toEqual([
      [["runs", "pairs", "contents", "adapters", "events", "journal", "state"], "readwrite", { durability: "strict" }],
    ]);
  });

  it("refuses a database of a newer version, and a closed connection, in words", async () => {
    (await openDB("newer", migrations.length + 1)).close();
    await expect(openLibrary({ name: "newer" })).rejects.toMatchObject({
      code: "version",
      message: expect.stringContaining("Reload"),
    });
    await deleteDB("newer");
    const other = await openLibrary({ name: "library" });
    other.close();
    await expect(other.list()).rejects.toMatchObject({ code: "closed" });
  });

  it("steps aside when a newer page changes the schema", async () => {
    const closed = vi.fn();
    const old = await openLibrary({ name: "upgraded", onClosed: closed });
    const newer = await openDB("upgraded", migrations.length + 1);
    expect(closed).toHaveBeenCalledOnce();
    await expect(old.open("r").state()).rejects.toMatchObject({ code: "closed" });
    newer.close();
    await deleteDB("upgraded");
  });
});

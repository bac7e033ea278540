import "fake-indexeddb/auto";
import { deleteDB } from "idb";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import type { Commit } from "../../src/loop/ports.ts";
import { openLibrary, type RunLibrary } from "../../src/store/idb.ts";
import type { Folder } from "../../src/store/tensors.ts";
import type { Locks } from "../../src/store/vault.ts";
import { dump } from "./conformance.ts";
import { adapterOf, demoRun, Script } from "./fixtures.ts";

/** A folder of the origin private file system, in memory; `fault` is asked before every write. */
function memoryFolder(fault: (written: number) => void = () => undefined) {
  const files = new Map<string, Uint8Array>();
  const missing = (): DOMException => new DOMException("no such file", "NotFoundError");
  const folder: Folder = {
    async getFileHandle(name, { create = false } = {}) {
      if (!files.has(name) && !create) throw missing();
      if (!files.has(name)) files.set(name, new Uint8Array(0));
      return {
        getFile: async () => {
          const bytes = files.get(name) ?? new Uint8Array(0);
          return { size: bytes.length, arrayBuffer: async () => bytes.slice().buffer };
        },
        createSyncAccessHandle: async () => ({
          truncate: (size) => void files.set(name, (files.get(name) ?? new Uint8Array(0)).slice(0, size)),
          write(bytes, { at }) {
            fault(at);
            const part = bytes.subarray(0, 100); // a file may take less than it is given
            const before = files.get(name) ?? new Uint8Array(0);
            const after = new Uint8Array(Math.max(before.length, at + part.length));
            after.set(before);
            after.set(part, at);
            files.set(name, after);
            return part.length;
          },
          flush: () => undefined,
          close: () => undefined,
        }),
      };
    },
    async removeEntry(name) {
      if (!files.delete(name)) throw missing();
    },
    async *keys() {
      yield* [...files.keys()];
    },
  };
  return { folder, files };
}

const commits = demoRun("r");
const training = commits.findIndex((change) => change.putAdapters.length > 0);
const adapter = adapterOf("7/0");

describe("tensors outside of the rows", () => {
  let library: RunLibrary;
  const open = async (options: Parameters<typeof openLibrary>[0] = {}): Promise<RunLibrary> => {
    library = await openLibrary({ name: "tensors", ...options });
    return library;
  };
  beforeEach(() => open());
  afterEach(async () => {
    vi.restoreAllMocks();
    library.close();
    await deleteDB("tensors");
  });
  const fill = async (count: number, run = "r"): Promise<void> => {
    for (const change of demoRun(run).slice(0, count)) await library.open(run).commit(change);
  };

  it("lie in rows named by their SHA-256, once for all runs, until no run refers to them", async () => {
    await fill(commits.length);
    await fill(commits.length, "copy");
    expect(await library.sweep()).toBe(0);
    await library.delete("r");
    expect(await library.open("copy").adapter(adapter.hash)).toEqual(adapter);
    await library.delete("copy");
    await fill(commits.length);
    expect(await library.open("r").adapter(adapter.hash)).toEqual(adapter);
  });

  it("lie in files from a size on, and both places are read", async () => {
    await fill(training + 1);
    library.close();
    const { folder, files } = memoryFolder();
    await open({ folder, fileBytes: 300 });
    for (const change of commits.slice(training + 1)) await library.open("r").commit(change);
    expect(files.size).toBe(2); // the optimizers of two adapters; 256 bytes of weights stay in rows
    for (const label of ["7/0", "7/1", "7/2"])
      expect(await library.open("r").adapter(adapterOf(label).hash)).toEqual(adapterOf(label));
    await library.delete("r");
    expect(files.size).toBe(0);
  });

  it("are swept at the start when a commit was cut short before it referred to them", async () => {
    const { folder, files } = memoryFolder();
    library.close();
    await open({ folder, fileBytes: 0 });
    await fill(training);
    files.set("a".repeat(64), Uint8Array.of(1));
    files.set(adapter.hash, adapter.adapter.slice(0, 100)); // a write that ended in the middle
    await library.open("r").commit(commits[training] as Commit);
    expect(files.get(adapter.hash)).toEqual(adapter.adapter);
    library.close();
    await open({ folder, fileBytes: 0 });
    expect([...files.keys()].sort()).toHaveLength(2);
    expect(await library.open("r").adapter(adapter.hash)).toEqual(adapter);
  });

  it("leave nothing behind when the commit fails, at whichever write of a file", async () => {
    let broken = -1;
    let writes = 0;
    const { folder, files } = memoryFolder(() => {
      if (writes++ === broken) throw new DOMException("full", "QuotaExceededError");
    });
    library.close();
    await open({ folder, fileBytes: 0 });
    await fill(training);
    const before = await dump(library.open("r"));
    const change = commits[training] as Commit;
    for (broken = 0; ; broken++) {
      writes = 0;
      const failed = await library
        .open("r")
        .commit(change)
        .then(
          () => null,
          (error: unknown) => error,
        );
      if (failed === null) break;
      expect(failed).toMatchObject({ code: "quota", message: expect.stringContaining("everything before it is safe") });
      expect(await dump(library.open("r"))).toBe(before);
      expect(files.size).toBe(0);
    }
    expect(broken).toBe(3 + 6); // 256 and 512 bytes in bites of 100
    expect(await library.open("r").adapter(adapter.hash)).toEqual(adapter);
  });

  it("are written before the transaction that refers to them, and removed again when it fails", async () => {
    await fill(training);
    const order: string[] = [];
    const real = IDBObjectStore.prototype.put;
    vi.spyOn(IDBObjectStore.prototype, "put").mockImplementation(function (
      this: IDBObjectStore,
      ...args: Parameters<typeof real>
    ) {
      order.push(this.name);
      if (this.name === "state") throw new DOMException("full", "QuotaExceededError");
      return real.apply(this, args);
    });
    await expect(library.open("r").commit(commits[training] as Commit)).rejects.toMatchObject({ code: "quota" });
    expect(order.slice(0, 3)).toEqual(["tensors", "tensors", "pairs"]);
    vi.restoreAllMocks();
    expect(await library.sweep()).toBe(0);
    await library.open("r").commit(commits[training] as Commit);
  });

  it("that another tab is just writing are not swept", async () => {
    /** Web Locks of two tabs, as far as they are used here. */
    let held = false;
    const locks = {
      request: async (_name: string, ...rest: unknown[]) => {
        const body = rest.at(-1) as (lock: unknown) => unknown;
        const ifAvailable = rest.length === 2;
        if (held && ifAvailable) return body(null);
        held = true;
        try {
          return await body({});
        } finally {
          held = false;
        }
      },
    } as unknown as Locks;
    library.close();
    await open({ locks });
    await fill(training);
    let swept: Promise<number> | null = null;
    const real = IDBDatabase.prototype.transaction;
    vi.spyOn(IDBDatabase.prototype, "transaction").mockImplementation(function (this: IDBDatabase, ...args) {
      if (Array.isArray(args[0]) && args[1] === "readwrite") swept ??= library.sweep(); // the other tab starts now
      return real.apply(this, args);
    });
    await library.open("r").commit(commits[training] as Commit);
    expect(await swept).toBe(0);
    expect(await library.open("r").adapter(adapter.hash)).toEqual(adapter);
  });

  it("that are gone or changed are named, with what to do", async () => {
    const { folder, files } = memoryFolder();
    library.close();
    await open({ folder, fileBytes: 0 });
    await fill(training + 1);
    files.set(adapter.hash, Uint8Array.of(1, 2, 3));
    await expect(library.open("r").adapter(adapter.hash)).rejects.toMatchObject({
      code: "damaged",
      message: expect.stringContaining("bytes have changed"),
    });
    files.delete(adapter.hash);
    await expect(library.open("r").adapter(adapter.hash)).rejects.toMatchObject({
      code: "damaged",
      message: expect.stringContaining("exported archive"),
    });
  });

  it("do not matter to a commit without adapters", async () => {
    const script = new Script("s");
    await library.open("s").commit(script.commit({ events: [{ type: "error", code: "x", message: "" }] }));
    expect(await library.open("s").adapter(adapter.hash)).toBeNull();
  });
});

import * as fs from "node:fs";
import {
  appendFileSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { canonicalDigest, canonicalJson, parseCanonical } from "../../src/base/canonical.ts";
import type { Commit } from "../../src/loop/ports.ts";
import { type FolderStore, openFolderStore } from "../../src/store/folder.ts";
import type { FolderIo } from "../../src/store/folder-disk.ts";
import type { PairRow } from "../../src/store/folder-index.ts";
import { conformance, dump } from "./conformance.ts";
import { adapterOf, demoRun, pairOf, Script } from "./fixtures.ts";

conformance("run directory", () => {
  let root = mkdtempSync(join(tmpdir(), "store-"));
  let stores: FolderStore[] = [];
  return {
    async open(run) {
      const store = openFolderStore(join(root, run), { run });
      stores.push(store);
      return store;
    },
    async clear() {
      for (const store of stores) store.close();
      stores = [];
      rmSync(root, { recursive: true });
      root = mkdtempSync(join(tmpdir(), "store-"));
    },
  };
});

describe("run directory: faults", () => {
  let root = "";
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), "store-"));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  const commits = demoRun("r");
  const fill = async (dir: string, count: number): Promise<FolderStore> => {
    const store = openFolderStore(dir, { run: "r" });
    for (const change of commits.slice(0, count)) await store.commit(change);
    return store;
  };

  /** A disk whose n-th operation fails: before it does anything, or after half of a write. */
  const failing = (n: number, error: Error, half: boolean): { io: FolderIo; count: () => number } => {
    let calls = 0;
    const step =
      <A extends unknown[], R>(real: (...args: A) => R) =>
      (...args: A): R => {
        if (calls++ === n) {
          if (half && real === (fs.writeSync as unknown))
            fs.writeSync(
              args[0] as number,
              args[1] as Uint8Array,
              args[2] as number,
              Math.floor((args[3] as number) / 2),
            );
          throw error;
        }
        return real(...args);
      };
    const io = {
      openSync: step(fs.openSync),
      writeSync: step(fs.writeSync as never),
      fsyncSync: step(fs.fsyncSync),
      renameSync: step(fs.renameSync),
    } as unknown as FolderIo;
    return { io, count: () => calls };
  };

  it("leaves all or nothing when any single operation of a commit fails", async () => {
    const last = commits.findIndex((change) => change.putAdapters.length > 0);
    const change: Commit = { ...(commits[last] as Commit), putPairs: demoRun("r", 9)[1]?.putPairs ?? [] };
    (await fill(join(root, "clean"), last)).close();
    let steps = 0;
    for (let n = 0; ; n++) {
      for (const half of [false, true]) {
        const dir = join(root, `fault-${n}-${half}`);
        const store = await fill(dir, last);
        const before = await dump(store);
        store.close();
        const disk = failing(n, Object.assign(new Error("injected"), { code: "EIO" }), half);
        let broken: FolderStore | null = null;
        let failed = false;
        try {
          broken = openFolderStore(dir, { io: disk.io });
          await broken.commit(change);
        } catch (error) {
          expect((error as Error).message).toBe("injected");
          failed = true;
        }
        if (broken !== null && failed) expect(await dump(broken)).toBe(before);
        broken?.close();
        const again = openFolderStore(dir);
        if (failed) {
          expect(await dump(again)).toBe(before);
          await again.commit(change); // and the same commit succeeds afterwards
        }
        expect((await again.state())?.seq).toBe(change.state.seq);
        again.sweep();
        await dump(again);
        again.close();
        if (!failed) {
          steps = n;
          break;
        }
      }
      if (steps > 0) break;
    }
    expect(steps).toBeGreaterThan(15); // blobs, their renames, the line and its sync were all hit
  });

  it("says in plain words that the disk is full, and goes on when there is space", async () => {
    const dir = join(root, "full");
    (await fill(dir, 3)).close();
    let full = true;
    const io: FolderIo = {
      openSync: fs.openSync,
      fsyncSync: fs.fsyncSync,
      renameSync: fs.renameSync,
      writeSync: ((...args: Parameters<typeof fs.writeSync>) => {
        if (full) throw Object.assign(new Error("ENOSPC"), { code: "ENOSPC" });
        return fs.writeSync(...args);
      }) as typeof fs.writeSync,
    };
    const store = openFolderStore(dir, { io });
    const before = await dump(store);
    await expect(store.commit(commits[3] as Commit)).rejects.toMatchObject({
      code: "quota",
      message: expect.stringContaining("no storage space left"),
    });
    expect(await dump(store)).toBe(before);
    full = false;
    await store.commit(commits[3] as Commit);
    store.close();
  });

  it("refuses the commit when another writer commits while its blobs are being written", async () => {
    const dir = join(root, "race");
    (await fill(dir, 1)).close();
    const other = openFolderStore(dir);
    let first = true;
    const io: FolderIo = {
      openSync: fs.openSync,
      fsyncSync: fs.fsyncSync,
      writeSync: fs.writeSync,
      renameSync: (from, to) => {
        fs.renameSync(from, to);
        if (first) void other.commit(commits[1] as Commit);
        first = false;
      },
    };
    const store = openFolderStore(dir, { io });
    await expect(store.commit(commits[1] as Commit)).rejects.toMatchObject({ code: "stale" });
    expect((await store.events({ since: 0 })).length).toBe(4);
    expect(await dump(store)).toBe(await dump(other));
    store.close();
    other.close();
  });

  it("drops a torn last line at every length, and goes on from the commit before", async () => {
    const dir = join(root, "torn");
    const store = await fill(dir, 3);
    const before = await dump(store);
    const path = join(dir, "commits.jsonl");
    const whole = statSync(path).size;
    await store.commit(commits[3] as Commit);
    store.close();
    const bytes = readFileSync(path);
    for (const length of [
      whole + 1,
      whole + 2,
      Math.floor((whole + bytes.length) / 2),
      bytes.length - 2,
      bytes.length - 1,
    ]) {
      writeFileSync(path, bytes.subarray(0, length));
      const again = openFolderStore(dir);
      expect(again.repaired).toContain("unfinished commit");
      expect(await dump(again)).toBe(before);
      expect(statSync(path).size).toBe(whole);
      again.close();
    }
    appendFileSync(path, Buffer.concat([Buffer.alloc(300), Buffer.from("}\n")])); // holes, as after a power cut
    const again = openFolderStore(dir);
    expect(await dump(again)).toBe(before);
    await again.commit(commits[3] as Commit);
    expect(openFolderStore(dir).repaired).toBeNull();
    again.close();
  });

  it("refuses a directory in which a committed byte has changed, naming the file", async () => {
    const dir = join(root, "rotten");
    const store = await fill(dir, commits.length);
    store.close();
    const path = join(dir, "commits.jsonl");
    const bytes = readFileSync(path);
    for (let i = 0; i < 60; i++) {
      const at = Math.floor((i * (bytes.length - 1)) / 60); // all but the last line feed
      const changed = Buffer.from(bytes);
      changed[at] = (changed[at] as number) ^ 1;
      writeFileSync(path, changed);
      expect(() => openFolderStore(dir), `byte ${at}`).toThrow(/commits\.jsonl/);
    }
    truncateSync(path, 0);
    writeFileSync(path, bytes);
    const [blob] = readdirSync(join(dir, "blobs")).filter((name) => name === adapterOf("7/0").hash);
    writeFileSync(join(dir, "blobs", blob as string), "other");
    const again = openFolderStore(dir);
    await expect(again.adapter(blob as string)).rejects.toMatchObject({ code: "damaged" });
    again.close();
  });

  it("sweeps what no commit refers to, and nothing else", async () => {
    const dir = join(root, "sweep");
    const store = await fill(dir, commits.length);
    const before = await dump(store);
    writeFileSync(join(dir, "blobs", "a".repeat(64)), "orphan");
    writeFileSync(join(dir, "blobs", "b.tmp"), "half");
    expect(store.sweep()).toBe(2);
    expect(store.sweep()).toBe(0);
    expect(await dump(store)).toBe(before);
    expect(await store.bytes()).toBeGreaterThan(1000);
    store.close();
    await expect(store.state()).rejects.toMatchObject({ code: "closed" });
  });

  it("sweeps at the opening what is older than the last commit: newer files may be another writer's", async () => {
    const dir = join(root, "start");
    (await fill(dir, commits.length)).close();
    const [old, fresh] = ["a".repeat(64), "b".repeat(64)].map((name) => join(dir, "blobs", name)) as [string, string];
    for (const path of [old, fresh]) writeFileSync(path, "orphan");
    const { mtimeMs } = statSync(join(dir, "commits.jsonl"));
    fs.utimesSync(old, mtimeMs / 1000 - 1, mtimeMs / 1000 - 1);
    fs.utimesSync(fresh, mtimeMs / 1000 + 1, mtimeMs / 1000 + 1);
    openFolderStore(dir).close();
    expect([fs.existsSync(old), fs.existsSync(fresh)]).toEqual([false, true]);
  });

  it("leaves nothing of a deleted pair on disk, even when the blanking was cut short", async () => {
    const dir = join(root, "deleted");
    const store = await fill(dir, commits.length);
    const script = new Script("r");
    script.state = (await store.state()) as typeof script.state;
    const [gone, kept] = [pairOf("7/0/0", 0), pairOf("7/0/1", 0)];
    const onDisk = (text: string): boolean =>
      readdirSync(join(dir, "blobs")).some((name) => readFileSync(join(dir, "blobs", name)).includes(text));
    const picture = (pair: typeof gone): string => Buffer.from(pair.task.picture?.rgb ?? []).toString("base64");
    expect(onDisk(picture(gone))).toBe(true);
    const blobs = fs
      .readdirSync(join(dir, "blobs"))
      .map((name) => [name, readFileSync(join(dir, "blobs", name))] as const);
    await store.commit(
      script.commit({
        events: [{ type: "deleted", pairs: [gone.id], reason: "request", bytes: 1, detail: "" }],
        removePairs: [gone.id],
      }),
    );
    store.close();
    expect([onDisk(picture(gone)), onDisk(picture(kept))]).toEqual([false, true]);
    for (const [name, bytes] of blobs) writeFileSync(join(dir, "blobs", name), bytes); // as if it had died before
    const again = openFolderStore(dir);
    expect([onDisk(picture(gone)), onDisk(picture(kept))]).toEqual([false, true]);
    expect((await again.pairs({})).length).toBe(9);

    // The same pairs put once more lie in a blob of the same name: they are there, and stay there.
    await again.commit(
      script.commit({
        events: [{ type: "error", code: "x", message: "" }],
        putPairs: [...(commits[1]?.putPairs ?? [])],
      }),
    );
    again.close();
    const last = openFolderStore(dir);
    expect(await last.pairsById([gone.id, kept.id])).toEqual([gone, kept]);
    last.close();
  });

  it("lists the pairs of a folder whose rows do not say all that lists show", async () => {
    const dir = join(root, "first");
    const store = await fill(dir, 2);
    const { items } = await store.listPairs({ kind: "describe", limit: 5 });
    store.close();
    const path = join(dir, "commits.jsonl");
    const lines = readFileSync(path, "utf8").trimEnd().split("\n");
    const old = lines.map((text) => {
      const { sha256: _, ...line } = parseCanonical(text) as { sha256: string; pairs: { rows: PairRow[] } | null };
      const rows = line.pairs?.rows.map(({ id, status, round, offset, length }) => ({
        id,
        status,
        round,
        offset,
        length,
      }));
      const bare = rows === undefined ? line : { ...line, pairs: { ...line.pairs, rows } };
      return `${canonicalJson({ ...bare, sha256: canonicalDigest(bare) })}\n`;
    });
    writeFileSync(path, old.join(""));
    const again = openFolderStore(dir);
    expect((await again.listPairs({ kind: "describe", limit: 5 })).items).toEqual(items);
    expect(items).toHaveLength(3);
    again.close();
  });

  it("refuses directories that are not this run, in words", async () => {
    const dir = join(root, "a");
    expect(() => openFolderStore(dir)).toThrow("There is no run in");
    openFolderStore(dir, { run: "r" }).close();
    expect(() => openFolderStore(dir, { run: "other" })).toThrow("holds the run r");
    writeFileSync(join(dir, "run.json"), '{"format":"autodidact-run-folder","run":"r","version":2}\n');
    expect(() => openFolderStore(dir)).toThrow("version 2");
    writeFileSync(join(dir, "run.json"), "{");
    expect(() => openFolderStore(dir)).toThrow("not JSON");
    rmSync(join(dir, "run.json"));
    expect(() => openFolderStore(dir, { run: "r" })).toThrow("run.json is missing");
  });
});

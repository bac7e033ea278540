import "fake-indexeddb/auto";
import { closeSync, mkdtempSync, openSync, rmSync, writeSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { deflateSync, unzipSync, type Zippable, zipSync } from "fflate";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { canonicalJson } from "../../src/base/canonical.ts";
import type { EventBody, LoopEvent } from "../../src/base/events.ts";
import { sha256Hex } from "../../src/base/hash.ts";
import type { Pair } from "../../src/base/records.ts";
import { rngFor } from "../../src/base/rng.ts";
import { openBytes } from "../../src/cli/files.ts";
import { adopted } from "../../src/store/adopt.ts";
import { collect, exportRun } from "../../src/store/archive.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { openLibrary, type RunLibrary } from "../../src/store/idb.ts";
import { type Manifest, readManifest, writeManifest } from "../../src/store/manifest.ts";
import { pairOfRow, rowOfPair } from "../../src/store/rows.ts";
import type { RunStore } from "../../src/store/run.ts";
import { importRun, verifyArchive } from "../../src/store/verify.ts";
import { type ByteSource, crc32, readZip } from "../../src/store/zip.ts";
import { dump } from "./conformance.ts";
import { adapterOf, demoRun, pairOf, picture, promptText, Script } from "./fixtures.ts";

let library: RunLibrary;
let archive: Uint8Array;
const root = mkdtempSync(join(tmpdir(), "archive-"));
beforeAll(async () => {
  library = await openLibrary({ name: "archive" });
  const store = library.open("r");
  for (const change of demoRun("r")) await store.commit(change);
  archive = await collect(exportRun(store, { title: "a run", promptText }));
}, 60_000);
afterAll(() => {
  library.close();
  rmSync(root, { recursive: true });
});

const text = (bytes: Uint8Array | undefined): string => new TextDecoder().decode(bytes);
const utf8 = (value: string): Uint8Array => new TextEncoder().encode(value);
const problems = async (bytes: Uint8Array): Promise<string> => {
  const verdict = await verifyArchive(bytes);
  return verdict.ok ? "" : verdict.problems.map(({ where, message }) => `${where}: ${message}`).join("\n");
};
/** The archive packed again, as a person with any zip tool would, after `change`. */
const repacked = (change: (files: Record<string, Uint8Array>) => void): Uint8Array => {
  const files = unzipSync(archive);
  change(files);
  return zipSync(files as Zippable);
};
/** The same with a manifest made to fit: listed hashes and its own. */
const forged = (
  change: (files: Record<string, Uint8Array>) => void,
  more: (manifest: Manifest) => object = () => ({}),
): Uint8Array =>
  repacked((files) => {
    const { sha256: _, ...manifest } = readManifest(files["manifest.json"] as Uint8Array);
    change(files);
    const listed = Object.entries(files).filter(([path]) => path !== "manifest.json");
    const entries = listed.map(([path, bytes]) => ({ path, bytes: bytes.length, sha256: sha256Hex(bytes) }));
    files["manifest.json"] = writeManifest({ ...manifest, files: entries, ...more(manifest as Manifest) });
  });
const editLine = (
  files: Record<string, Uint8Array>,
  path: string,
  n: number,
  edit: (line: string) => string | null,
): void => {
  const lines = text(files[path]).trimEnd().split("\n");
  const line = edit(lines[n] as string);
  if (line === null) lines.splice(n, 1);
  else lines[n] = line;
  files[path] = utf8(`${lines.join("\n")}\n`);
};

describe("the archive of a run", () => {
  it("verifies, and says what it holds", async () => {
    expect(await verifyArchive(archive)).toEqual({
      ok: true,
      run: "r",
      lines: 18,
      pairs: 10,
      adapters: 3,
      head: expect.stringMatching(/^[0-9a-f]{64}$/),
      sealed: true,
      says: "18 events with times, settings and the name of the GPU; 10 preference pairs with pictures and texts, 1 of them a visitor's own pictures and words; 3 adapters with optimizer states. The base weights are not in it.",
    });
    const files = unzipSync(archive); // an independent reader
    expect(
      Object.keys(files)
        .filter((path) => !path.startsWith("adapters/"))
        .sort(),
    ).toEqual(["events.jsonl", "journal.jsonl", "manifest.json", "replay.jsonl"]);
    const manifest = readManifest(files["manifest.json"] as Uint8Array);
    expect(manifest).toMatchObject({
      run: "r",
      title: "a run",
      seed: 7,
      contains: { events: 18, pairs: 10, visitorPairs: 1, adapters: 3, deleted: 0 },
    });
    expect(JSON.parse(text(files["events.jsonl"]).split("\n")[0] as string)).toMatchObject({ seq: 0, type: "started" });
    const adapter = adapterOf("7/1");
    expect(files[`adapters/${adapter.hash}/adapter_model.safetensors`]).toEqual(adapter.adapter);
    expect(text(files[`adapters/${adapter.hash}/adapter_config.json`])).toBe(adapter.config);
  });

  it("writes rows that TRL reads: prompt, chosen, rejected, as texts and ids", () => {
    const row = JSON.parse(text(unzipSync(archive)["replay.jsonl"]).split("\n")[0] as string) as Record<
      string,
      unknown
    >;
    expect(row).toMatchObject({
      prompt: "w1 w5 w9",
      chosen: "red square",
      rejected: "blue",
      prompt_ids: [1, 5, 9],
      chosen_ids: [7, 10, 2],
      source: "camera:B",
      round: 0,
      status: "accepted",
      chosen_details: { scores: { pixels: 0.75 } },
    });
    expect(Buffer.from((row.image as { rgb: { $bytes: string } }).rgb.$bytes, "base64")).toEqual(
      Buffer.from(picture("7/0/0").rgb),
    );
    for (const pair of [pairOf("x", 3), { ...pairOf("y", 1), task: { ...pairOf("y", 1).task, picture: null } }]) {
      expect(pairOfRow(rowOfPair(pair, "words"))).toEqual(pair);
    }
  });

  it("is the same bytes from both kinds of store, and comes in pieces", async () => {
    const folder = openFolderStore(join(root, "same"), { run: "r" });
    for (const change of demoRun("r")) await folder.commit(change);
    const pieces: Uint8Array[] = [];
    for await (const piece of exportRun(folder, { title: "a run", promptText })) pieces.push(piece);
    folder.close();
    expect(pieces.length).toBeGreaterThan(10);
    expect(Buffer.concat(pieces).equals(archive)).toBe(true);
  });

  it("exports the run as it stood when the export began, even if it goes on meanwhile", async () => {
    const store = library.open("busy");
    const commits = demoRun("busy");
    for (const change of commits.slice(0, 3)) await store.commit(change);
    const stream = exportRun(store, { promptText });
    const first = await stream.next();
    await store.commit(commits[3] as (typeof commits)[0]);
    const rest = await collect(stream);
    const whole = Buffer.concat([first.value as Uint8Array, rest]);
    expect(await verifyArchive(new Uint8Array(whole))).toMatchObject({ ok: true, lines: 5, pairs: 3, adapters: 1 });
  });

  it("says so when the run replaces a pair of the export meanwhile, or when the store is damaged", async () => {
    const store = library.open("replaced");
    const commits = demoRun("replaced");
    for (const change of commits) await store.commit(change);
    const stream = exportRun(store, { promptText });
    await stream.next();
    const script = new Script("replaced");
    script.state = commits.at(-1)?.state ?? script.state;
    const replaced = { ...pairOf("7/0/0", 0), margin: 0.9 };
    await store.commit(script.commit({ events: [{ type: "error", code: "x", message: "" }], putPairs: [replaced] }));
    await expect(collect(stream)).rejects.toMatchObject({
      code: "stale",
      message: expect.stringContaining("Pause the run"),
    });
    const rotten: RunStore = {
      ...store,
      pairsById: async (ids) => (await store.pairsById(ids)).map((pair) => ({ ...pair, margin: 1 })),
    };
    await expect(collect(exportRun(rotten, { promptText }))).rejects.toMatchObject({ code: "damaged" });
  });

  it("tells of deleted pairs without holding them, and is refused if its events do not", async () => {
    const store = library.open("forgetful");
    const commits = demoRun("forgetful");
    for (const change of commits) await store.commit(change);
    const script = new Script("forgetful");
    script.state = commits.at(-1)?.state ?? script.state;
    const gone = pairOf("7/visitor", 2, "visitor");
    await store.commit(
      script.commit({
        events: [{ type: "deleted", pairs: [gone.id], reason: "request", bytes: 1, detail: "" }],
        removePairs: [gone.id],
      }),
    );
    const bytes = await collect(exportRun(store, { promptText }));
    expect(await verifyArchive(bytes)).toMatchObject({
      ok: true,
      pairs: 9,
      says: expect.stringContaining("1 deleted pair left"),
    });
    const image = Buffer.from(gone.task.picture?.rgb ?? []).toString("base64");
    for (const [path, file] of Object.entries(unzipSync(bytes))) expect(text(file), path).not.toContain(image);
    const imported = openFolderStore(join(root, "forgetful"), { run: "forgetful" });
    await importRun(bytes, () => imported);
    expect(await dump(imported)).toBe(await dump(store));
    imported.close();
  });

  it("streams: of sixteen adapters, 16 MB in all, never more than one is ahead of the reader, nor 4 MB in memory", async () => {
    const store = library.open("large");
    const script = new Script("large");
    const putAdapters = Array.from({ length: 16 }, (_, i) => adapterOf(`large ${i}`, 16));
    const started = demoRun("large")[0]?.events[0] as LoopEvent;
    await store.commit(script.commit({ events: [started], putAdapters }));
    const part = 2 ** 19;
    let [read, written] = [0, 0];
    const grown: RunStore = {
      ...store,
      adapter: async (hash) => {
        expect(read * 2 * part - written).toBeLessThan(part); // all that was read before has been written
        read++;
        return { hash, config: "{}", adapter: new Uint8Array(part), optimizer: new Uint8Array(part) };
      },
    };
    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const held = async (): Promise<number> => {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 20)); // buffers are freed beside the main thread
      return process.memoryUsage().arrayBuffers;
    };
    const before = await held();
    let after = 0;
    for await (const piece of exportRun(grown, { promptText })) {
      written += piece.length;
      if (read === 16 && after === 0) after = await held();
    }
    expect(written).toBeGreaterThan(32 * part);
    expect(after - before).toBeLessThan(8 * part);
  }, 240_000);

  it("imports by slices: of an archive of 40 MB on disk, never more than 8 MB in memory, and never a slice of 1 MB", async () => {
    const path = join(root, "large.zip");
    const source = openFolderStore(join(root, "large"), { run: "large" });
    const script = new Script("large");
    const started = demoRun("large")[0]?.events[0] as LoopEvent;
    await source.commit(script.commit({ events: [started] }));
    const part = 2 ** 19;
    const words = new Uint32Array(part / 4);
    const big = (n: number): Uint8Array => {
      const rng = rngFor(n, "tensor");
      return new Uint8Array(words.map(() => rng.int(2 ** 32)).buffer);
    };
    for (let n = 0; n < 16; n++) {
      const [adapter, optimizer] = [big(2 * n), big(2 * n + 1)];
      const snapshot = { hash: sha256Hex(adapter), adapter, config: "{}", optimizer };
      const putPairs = Array.from({ length: 20 }, (_, i): Pair => {
        const pair = pairOf(`${n}/${i}`, n);
        const rgb = big(1000 + 20 * n + i).slice(0, 96 * 96 * 3);
        return { ...pair, task: { ...pair.task, picture: { size: 96, rgb } } };
      });
      const events = [{ type: "error", code: "x", message: "" } as const];
      await source.commit(script.commit({ events, putPairs, putAdapters: [snapshot] }));
    }
    const file = openSync(path, "w");
    for await (const piece of exportRun(source, { promptText })) writeSync(file, piece);
    closeSync(file);

    setFlagsFromString("--expose-gc");
    const gc = runInNewContext("gc") as () => void;
    const held = async (): Promise<number> => {
      gc();
      await new Promise((resolve) => setTimeout(resolve, 5)); // buffers are freed beside the main thread
      const { arrayBuffers, heapUsed } = process.memoryUsage();
      return arrayBuffers + heapUsed;
    };
    const onDisk = await openBytes(path);
    expect(onDisk.size).toBeGreaterThan(25e6);
    const before = await held();
    let [reads, peak, largest] = [0, 0, 0];
    const watched: ByteSource = {
      size: onDisk.size,
      async read(from, to) {
        largest = Math.max(largest, to - from);
        if (reads++ % 20 === 0) peak = Math.max(peak, (await held()) - before);
        return onDisk.read(from, to);
      },
    };
    const target = openFolderStore(join(root, "large again"), { run: "large" });
    await importRun(watched, () => ({
      restore: async (read) => target.restore(await adopted(read, { at: 1, include: true })),
    }));
    expect(reads).toBeGreaterThan(300);
    expect(largest).toBeLessThan(2 ** 20);
    expect(peak).toBeLessThan(8e6);
    expect(await target.countPairs({}, 999)).toBe(320);
    const [one] = await target.pairs({ limit: 1 });
    expect(one?.task.picture).toEqual({ size: 96, rgb: big(1000).slice(0, 96 * 96 * 3) });
    await onDisk.close();
    source.close();
    target.close();
  }, 240_000);

  it("is refused, and leaves nothing, if its file changes between the check and the import", async () => {
    for (const name of ["events.jsonl", "replay.jsonl", "adapter_model.safetensors"]) {
      const files = zipSync(unzipSync(archive) as Zippable, { level: 0 });
      const at = Buffer.from(files).indexOf(name) + 100;
      let checked = false;
      const source: ByteSource = {
        size: files.length,
        async read(from, to) {
          const bytes = files.slice(from, to);
          if (checked && from <= at && at < to) bytes[at - from] = (bytes[at - from] as number) ^ 1;
          return bytes;
        },
      };
      const other = await openLibrary({ name: `changing ${name}` });
      const store = other.open("r");
      const opened = () => {
        checked = true;
        return store;
      };
      await expect(importRun(source, opened)).rejects.toMatchObject({
        code: "refused",
        message: expect.stringContaining("changed while it was read"),
      });
      expect(await other.list()).toEqual([]);
      expect(await store.pairs({})).toEqual([]);
      expect(await store.events({ since: 0 })).toEqual([]);
      checked = false;
      await importRun(source, () => store);
      expect((await other.list()).length).toBe(1);
      other.close();
    }
  });

  it("refuses to export a run that has not begun", async () => {
    await expect(collect(exportRun(library.open("nothing"), { promptText }))).rejects.toMatchObject({
      code: "refused",
    });
  });

  it("survives the round trip: exported, imported elsewhere, equal in everything, and it goes on", async () => {
    const folder = openFolderStore(join(root, "imported"), { run: "r" });
    await importRun(archive, () => folder);
    expect(await dump(folder)).toBe(await dump(library.open("r")));
    expect(Buffer.from(await collect(exportRun(folder, { title: "a run", promptText }))).equals(archive)).toBe(true);
    folder.close();
    const other = await openLibrary({ name: "other" });
    const contents = await importRun(archive, other.open);
    expect(contents.title).toBe("a run");
    expect((await other.list())[0]).toMatchObject({
      run: "r",
      title: "a run",
      imported: true,
      accepted: 2,
      rejected: 1,
      round: 3,
    });
    expect(await dump(other.open("r"))).toBe(await dump(library.open("r")));
    other.close();
  });

  it("never overwrites a run", async () => {
    const before = await dump(library.open("r"));
    await expect(importRun(archive, library.open)).rejects.toMatchObject({
      code: "refused",
      message: expect.stringContaining("never overwrites"),
    });
    expect(await dump(library.open("r"))).toBe(before);
  });
});

describe("a changed archive", () => {
  it("is refused when any single byte differs: 400 random positions and each of the last 300 bytes", async () => {
    const rng = rngFor(9, "flips");
    const positions = [
      ...Array.from({ length: 400 }, () => rng.int(archive.length)),
      ...Array.from({ length: 300 }, (_, i) => archive.length - 1 - i),
    ];
    for (const position of positions) {
      const changed = archive.slice();
      changed[position] = (changed[position] as number) ^ (1 << rng.int(8));
      expect((await verifyArchive(changed)).ok, `byte ${position}`).toBe(false);
    }
  });

  it("is refused when cut off or lengthened anywhere, and never hangs or throws on noise", async () => {
    const rng = rngFor(9, "cuts");
    for (let i = 0; i < 60; i++)
      expect((await verifyArchive(archive.subarray(0, rng.int(archive.length)))).ok).toBe(false);
    expect((await verifyArchive(Uint8Array.from([...archive, 0]))).ok).toBe(false);
    expect((await verifyArchive(Uint8Array.from([0, ...archive]))).ok).toBe(false);
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), async (noise) => !(await verifyArchive(noise)).ok),
      { numRuns: 200, seed: 1 },
    );
  });

  it("is accepted unchanged after another tool has packed it again, and said to be so", async () => {
    expect(await verifyArchive(repacked(() => undefined))).toMatchObject({ ok: true, sealed: false });
  });

  it("is refused when any byte of any file differs, after packing again: 200 random positions", async () => {
    const rng = rngFor(9, "inner");
    const names = Object.keys(unzipSync(archive));
    for (let i = 0; i < 200; i++) {
      const name = names[i % names.length] as string;
      const changed = repacked((files) => {
        const bytes = (files[name] as Uint8Array).slice();
        const position = rng.int(bytes.length);
        bytes[position] = (bytes[position] as number) ^ (1 << rng.int(8));
        files[name] = bytes;
      });
      expect(await problems(changed), name).toContain(name);
    }
  });

  const cases: [string, (files: Record<string, Uint8Array>) => void, RegExp][] = [
    [
      "an event's text",
      (files) => editLine(files, "events.jsonl", 17, (line) => line.replace("drawn", "painted")),
      /events\.jsonl, line 18: event 17 was changed/,
    ],
    [
      "an event's time",
      (files) => editLine(files, "events.jsonl", 3, (line) => line.replace(/"at":\d+/, '"at":1')),
      /line 4: event 3 was changed/,
    ],
    ["a missing event", (files) => editLine(files, "events.jsonl", 17, () => null), /line 18: event 17 is missing/],
    [
      "an event twice",
      (files) => editLine(files, "events.jsonl", 17, (line) => `${line}\n${line}`),
      /line 19: event 17 was added/,
    ],
    [
      "a journal line",
      (files) => editLine(files, "journal.jsonl", 4, (line) => line.replace('"round":0', '"round":1')),
      /line 5 \(event 4\) was changed/,
    ],
    ["a missing journal line", (files) => editLine(files, "journal.jsonl", 17, () => null), /event 17 is missing/],
    [
      "a chosen answer",
      (files) =>
        editLine(files, "replay.jsonl", 2, (line) => line.replace('"chosen":"red square"', '"chosen":"red circle"')),
      /replay\.jsonl, line 3: the pair \w+ was changed/,
    ],
    [
      "a score",
      (files) => editLine(files, "replay.jsonl", 2, (line) => line.replace('"pixels":0.75', '"pixels":0.76')),
      /replay\.jsonl, line 3: the pair \w+ was changed/,
    ],
    [
      "a pair's status",
      (files) => editLine(files, "replay.jsonl", 4, (line) => line.replace("quarantined", "accepted")),
      /is accepted here, but quarantined in the journal/,
    ],
    ["a missing pair", (files) => editLine(files, "replay.jsonl", 4, () => null), /the pair \w+ is missing/],
    [
      "a pair twice",
      (files) => editLine(files, "replay.jsonl", 4, (line) => `${line}\n${line}`),
      /not in its place, or stands twice/,
    ],
    [
      "a line that is not canonical",
      (files) => editLine(files, "replay.jsonl", 4, (line) => line.replace("{", "{ ")),
      /line 5: .*canonical/,
    ],
    [
      "a swapped adapter",
      (files) => {
        files[`adapters/${adapterOf("7/0").hash}/adapter_model.safetensors`] = adapterOf("7/2").adapter;
      },
      /the adapter was changed/,
    ],
    [
      "a changed optimizer",
      (files) => {
        files[`adapters/${adapterOf("7/0").hash}/optimizer.safetensors`] = new Uint8Array(3);
      },
      /the adapter was changed/,
    ],
    [
      "an adapter that was added",
      (files) => {
        for (const name of ["adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"])
          files[`adapters/${"a".repeat(64)}/${name}`] = utf8("x");
      },
      /was added: the journal does not know this adapter/,
    ],
    [
      "an adapter without its optimizer",
      (files) => {
        delete files[`adapters/${adapterOf("7/0").hash}/optimizer.safetensors`];
      },
      /missing, or not whole/,
    ],
  ];
  for (const [what, change, message] of cases) {
    it(`is refused for ${what}, although its manifest was made to fit`, async () =>
      expect(await problems(forged(change))).toMatch(message));
  }

  it("is refused when manifest and run disagree, although the manifest's hash was made to fit", async () => {
    const none = (): void => undefined;
    expect(await problems(forged(none, () => ({ seed: 8 })))).toContain("its seed is not that of");
    expect(await problems(forged(none, () => ({ run: "s" })))).toContain("does not start the journal of this run");
    expect(
      await problems(forged(none, ({ state }) => ({ state: { ...state, incumbent: adapterOf("7/0").hash } }))),
    ).toContain("its state is not the one");
    expect(await problems(forged(none, ({ contains }) => ({ contains: { ...contains, visitorPairs: 0 } })))).toContain(
      "contains something else",
    );
    expect(await problems(forged(none, ({ head }) => ({ head: { ...head, seq: 16 } })))).toContain("was added");
  });

  it("is refused with the reason when it is of another version or no run archive", async () => {
    expect(
      await problems(
        forged(
          () => undefined,
          () => ({ version: 3 }),
        ),
      ),
    ).toContain("format version 3");
    expect(
      await problems(
        forged(
          () => undefined,
          () => ({ format: "other" }),
        ),
      ),
    ).toContain("not that of a run archive");
    expect(await problems(zipSync({ "readme.txt": utf8("hello") }))).toContain("does not belong to a run archive");
    expect(await problems(repacked((files) => delete files["manifest.json"]))).toContain("this is not a run archive");
  });

  it("is refused with the reason, and leaves nothing, when a newer version's run has an event that is unknown here", async () => {
    const store = library.open("newer");
    const [start] = demoRun(store.run);
    const script = new Script(store.run);
    const later = { type: "distilled", pairs: ["a"], detail: "" } as unknown as EventBody;
    await store.commit(script.commit({ events: [...(start?.events ?? []), later] }));
    const bytes = await collect(exportRun(store, { promptText }));
    const at = (start?.events ?? []).length + 1;
    expect(await problems(bytes)).toContain(`events.jsonl, line ${at}: event.type should be one that this version`);

    const other = await openLibrary({ name: "older" });
    await expect(importRun(bytes, (run) => other.open(run))).rejects.toMatchObject({
      code: "refused",
      message: expect.stringMatching(/not imported.*a newer one wrote the run: update this one.*"distilled"/),
    });
    expect(await other.list()).toEqual([]);
    other.close();
  });

  it("is refused when a gate's key is not the one that was sealed before it, even in a run recorded so", async () => {
    for (const [key, message] of [
      ["another key", "does not match its hash"],
      [sha256Hex("unsealed"), "was not sealed before"],
    ] as const) {
      const store = library.open(`seal ${key}`);
      const [start, , , gate] = demoRun(store.run);
      const script = new Script(store.run);
      const bodies = (gate?.events ?? []).map((event): LoopEvent => {
        if (event.type !== "gated") return event;
        const keyHash = key === "another key" ? event.report.keyHash : sha256Hex(key);
        return { ...event, report: { ...event.report, key, keyHash } };
      });
      await store.commit(script.commit({ events: [...(start?.events ?? []), ...bodies] }));
      expect(await problems(await collect(exportRun(store, { promptText })))).toContain(message);
    }
  });

  it("touches no store when it is refused", async () => {
    const opened: string[] = [];
    const bad = repacked((files) => {
      files["replay.jsonl"] = utf8("{}\n");
    });
    const open = (run: string) => {
      opened.push(run);
      return library.open(run);
    };
    await expect(importRun(bad, open)).rejects.toMatchObject({
      code: "refused",
      message: expect.stringContaining("replay.jsonl"),
    });
    expect(opened).toEqual([]);
  });
});

describe("a hostile zip", () => {
  const zipOf = async (files: Zippable): Promise<string> => {
    try {
      for (const entry of (await readZip(zipSync(files))).entries) await entry.read();
      return "";
    } catch (error) {
      return (error as Error).message;
    }
  };

  it("cannot name a path outside", async () => {
    for (const path of [
      "../evil",
      "a/../../evil",
      "/etc/passwd",
      "..\\evil",
      "C:/evil",
      `adapters/${"a".repeat(64)}/../x`,
    ]) {
      expect(
        await problems(
          repacked((files) => {
            files[path] = utf8("x");
          }),
        ),
        path,
      ).toContain("leads out of the archive");
    }
    for (const path of [
      "adapters/x/optimizer.safetensors",
      "notes.txt",
      "events.jsonl/",
      `adapters/${"A".repeat(64)}/adapter_config.json`,
    ]) {
      expect(
        await problems(
          repacked((files) => {
            files[path] = new Uint8Array(0);
          }),
        ),
        path,
      ).toContain("does not belong to a run archive");
    }
  });

  it("cannot be a bomb: by declared size, by ratio, by count", async () => {
    const limits = { entries: 10, bytes: 1000, ratio: 100 };
    const zeros = zipSync({ "events.jsonl": new Uint8Array(5000) });
    expect(await verifyArchive(zeros, limits)).toMatchObject({
      ok: false,
      problems: [{ message: expect.stringContaining("zip bomb") }],
    });
    expect(await zipOf({ "events.jsonl": new Uint8Array(80 * 2 ** 20) })).toContain("zip bomb");
    const many = zipSync(Object.fromEntries(Array.from({ length: 11 }, (_, i) => [`f${i}`, new Uint8Array(1)])));
    expect(await verifyArchive(many, limits)).toMatchObject({
      ok: false,
      problems: [{ message: expect.stringContaining("at most 10") }],
    });
  });

  it("cannot unpack to more than it declares", async () => {
    const packed = deflateSync(new Uint8Array(40 * 2 ** 20));
    const small = new Uint8Array(100);
    const bomb = oneEntry("events.jsonl", packed, small.length, crc32(small));
    await expect(readFirst(bomb)).rejects.toThrow("more than the 100 bytes that it declares");
    await expect(readFirst(oneEntry("events.jsonl", deflateSync(small), 101, 0))).rejects.toThrow(
      "unpacks to 100 bytes",
    );
    await expect(readFirst(oneEntry("events.jsonl", new Uint8Array([255, 1, 2]), 101, 0))).rejects.toThrow("damaged");
    const padded = new Uint8Array(600_000);
    padded.set(deflateSync(small));
    await expect(readFirst(oneEntry("events.jsonl", padded, 100, crc32(small)))).rejects.toThrow(
      "goes on after its end",
    );
  });

  it("cannot hide entries: twice the same name, overlaps, gaps, other names inside", async () => {
    const one = oneEntry("events.jsonl", deflateSync(utf8("x")), 1, crc32(utf8("x")));
    expect(text(await readFirst(one))).toBe("x");
    const renamed = one.slice();
    renamed[30] = 0x45;
    await expect(readZip(renamed)).rejects.toThrow("another name");
    const shifted = Uint8Array.from([0, ...one]);
    await expect(readZip(shifted)).rejects.toThrow();
    await expect(readZip(twice(one))).rejects.toThrow(/overlaps/);
    const encrypted = one.slice();
    const directory = new DataView(one.buffer).getUint32(one.length - 6, true);
    encrypted[directory + 8] = 1;
    await expect(readZip(encrypted)).rejects.toThrow("encrypted");
    encrypted[directory + 8] = 0;
    encrypted[directory + 10] = 12;
    await expect(readZip(encrypted)).rejects.toThrow("method 12");
  });

  it("knows the CRC-32 of the standard's check value", () => {
    expect(crc32(utf8("123456789"))).toBe(0xcbf43926);
    expect(canonicalJson(null)).toBe("null");
  });
});

/** What the first entry unpacks to. */
const readFirst = async (file: Uint8Array): Promise<Uint8Array | undefined> => (await readZip(file)).entries[0]?.read();

/** A zip of one deflated entry with any declared size and CRC. */
function oneEntry(path: string, packed: Uint8Array, bytes: number, crc: number): Uint8Array {
  const name = utf8(path);
  const out = new Uint8Array(30 + name.length + packed.length + 46 + name.length + 22);
  const view = new DataView(out.buffer);
  const directory = 30 + name.length + packed.length;
  const common = (at: number): void => {
    view.setUint16(at, 20, true);
    view.setUint16(at + 4, 8, true);
    view.setUint32(at + 10, crc, true);
    view.setUint32(at + 14, packed.length, true);
    view.setUint32(at + 18, bytes, true);
    view.setUint16(at + 22, name.length, true);
  };
  view.setUint32(0, 0x04034b50, true);
  common(4);
  out.set(name, 30);
  out.set(packed, 30 + name.length);
  view.setUint32(directory, 0x02014b50, true);
  common(directory + 6);
  out.set(name, directory + 46);
  const end = directory + 46 + name.length;
  view.setUint32(end, 0x06054b50, true);
  view.setUint16(end + 8, 1, true);
  view.setUint16(end + 10, 1, true);
  view.setUint32(end + 12, end - directory, true);
  view.setUint32(end + 16, directory, true);
  return out;
}

/** The same zip with its directory entry listed twice: both share one body. */
function twice(one: Uint8Array): Uint8Array {
  const directory = new DataView(one.buffer).getUint32(one.length - 6, true);
  const header = one.subarray(directory, one.length - 22);
  const out = Uint8Array.from([...one.subarray(0, directory), ...header, ...header, ...one.subarray(one.length - 22)]);
  const view = new DataView(out.buffer);
  view.setUint16(out.length - 14, 2, true);
  view.setUint16(out.length - 12, 2, true);
  view.setUint32(out.length - 10, 2 * header.length, true);
  return out;
}

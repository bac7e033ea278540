/** What a person decides about pairs of a stored run: forgotten for good, or imported ones let train. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { forget, include } from "../../src/loop/curate.ts";
import { createLoop } from "../../src/loop/cycle.ts";
import type { LoopState } from "../../src/loop/ports.ts";
import { adopted } from "../../src/store/adopt.ts";
import { collect, exportRun } from "../../src/store/archive.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { sumJournal } from "../../src/store/journal.ts";
import { importRun, verifyArchive } from "../../src/store/verify.ts";
import { fakeContour, fakePorts, only } from "./fakes.ts";

const root = mkdtempSync(join(tmpdir(), "curate-"));
afterAll(() => rmSync(root, { recursive: true }));

const contour = { ...fakeContour, rounds: 3, gate: { ...fakeContour.gate, period: 1 } };

test("pairs of an imported run are forgotten or let train, each with its event, and the run goes on and verifies", async () => {
  const theirs = openFolderStore(join(root, "theirs"), { run: "r" });
  const first = createLoop({ ...fakePorts(), store: theirs });
  await first.start({ run: "r", contour, seed: 3 });
  await first.advance();
  const archive = await collect(exportRun(theirs, { promptText: () => "describe" }));
  theirs.close();
  const store = openFolderStore(join(root, "ours"), { run: "r" });
  await importRun(archive, () => ({
    restore: async (read) => store.restore(await adopted(read, { at: 1, include: false })),
  }));
  const ports = { store, now: () => 7, emit: () => undefined };
  const state = async (): Promise<LoopState> => {
    const now = await store.state();
    if (now === null) throw new Error("no state");
    return now;
  };
  const ids = (await store.pairs({})).map(({ id }) => id);
  const [gone, wanted] = [ids.slice(0, 1), ids.slice(1, 3)];
  expect(wanted.length).toBe(2);

  await forget(ports, await state(), { pairs: gone, detail: "not mine" });
  await expect(forget(ports, await state(), { pairs: gone, detail: "" })).rejects.toMatchObject({ code: "damaged" });
  await include(ports, await state(), { pairs: wanted, detail: "looked at" });
  await expect(include(ports, await state(), { pairs: wanted, detail: "" })).rejects.toThrow("is not an imported one");
  expect((await store.pairs({ status: "fresh" })).map(({ id, task }) => [id, task.source])).toEqual(
    wanted.map((id) => [id, expect.stringMatching(/^imported:/)]),
  );
  expect(sumJournal((await store.snapshot()).lines).removed.has(gone[0] as string)).toBe(true);

  const loop = createLoop({ ...fakePorts(), store });
  await loop.resume();
  await loop.run();
  const events = await store.events({ since: 0 });
  expect(only(events, "included")).toMatchObject([{ pairs: wanted, detail: "looked at" }]);
  expect(only(events, "deleted")).toMatchObject([{ pairs: gone, reason: "request" }]);
  const trained = only(events, "trained").flatMap(({ pairs }) => pairs);
  expect(trained.filter((id) => ids.includes(id)).sort()).toEqual([...wanted].sort());
  await expect(include(ports, await state(), { pairs: wanted, detail: "" })).rejects.toThrow("has ended");
  await forget(ports, await state(), { pairs: wanted, detail: "" });
  expect(await verifyArchive(await collect(exportRun(store, { promptText: () => "describe" })))).toMatchObject({
    ok: true,
  });
  store.close();
}, 120_000);

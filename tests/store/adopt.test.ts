/** Archives that somebody made to do harm: what of them reaches this machine's training, gate and page. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { adopted } from "../../src/store/adopt.ts";
import { collect, exportRun } from "../../src/store/archive.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { verifyJournal } from "../../src/store/journal.ts";
import { listed, type RunContents, type RunStore } from "../../src/store/run.ts";
import { importRun, verifyArchive } from "../../src/store/verify.ts";
import { promptText } from "./fixtures.ts";
import { POISON_KEY, poisonedArchive } from "./poison.ts";

const root = mkdtempSync(join(tmpdir(), "adopt-"));
afterAll(() => rmSync(root, { recursive: true }));
let folders = 0;
const folder = (run: string) => openFolderStore(join(root, String(folders++)), { run });

let archive: Uint8Array;
beforeAll(async () => {
  archive = await poisonedArchive(join(root, "poison"));
}, 120_000);

async function imported(include: boolean): Promise<{ store: RunStore; contents: RunContents }> {
  const store = await folder("poison");
  const plain = await folder("poison");
  const read = await importRun(archive, () => plain);
  const contents = await adopted(read, { at: 5, include });
  await store.restore(contents);
  return { store, contents };
}

test("the poison is well made: it verifies, and a plain copy of it would train and judge by its rules", async () => {
  expect(await verifyArchive(archive)).toMatchObject({ ok: true });
  const store = await folder("poison");
  const { state } = await importRun(archive, () => store);
  expect(state).toMatchObject({ phase: "gate", gate: { key: POISON_KEY }, contour: { gate: { on: false } } });
  expect((await store.pairs({ status: "fresh" })).length).toBe(2);
});

describe("adopted, it", () => {
  test("trains nothing: no pair is fresh, trained or accepted, and each says where it is from", async () => {
    const { store } = await imported(false);
    for (const status of ["fresh", "trained", "accepted"] as const) expect(await store.pairs({ status })).toEqual([]);
    const pairs = await store.pairs({});
    expect(pairs.length).toBe(11);
    for (const { task } of pairs) expect(task.source).toMatch(/^imported:(camera:B|visitor)$/);
  });

  test("has no say in the gate: key and candidate are gone, thresholds are the default's, the round begins anew", async () => {
    const state = await (await imported(false)).store.state();
    expect(state).toMatchObject({
      phase: "collect",
      round: 4,
      candidate: null,
      gate: { key: "", keyHash: "" },
      contour: { gate: { on: true, epsilonA: 0.03, epsilonB: 0.03 } },
    });
  });

  test("says so in one line more, and the journal still verifies", async () => {
    const { store, contents } = await imported(false);
    const { lines } = await store.snapshot();
    expect(verifyJournal(lines, { run: "poison" })).toMatchObject({ ok: true });
    expect((await listed(contents.events())).at(-1)).toMatchObject({
      type: "restored",
      reason: expect.stringContaining("11 pairs are marked, 8 of them taken out of training"),
    });
    const again = await collect(exportRun(store, { promptText }));
    expect(await verifyArchive(again)).toMatchObject({ ok: true, pairs: 11 });
  });

  test("trains where the visitor includes it, marked all the same, with a gate key of this machine", async () => {
    const { store } = await imported(true);
    const fresh = await store.pairs({ status: "fresh" });
    expect(fresh.length).toBe(2);
    for (const { task } of fresh) expect(task.source).toMatch(/^imported:/);
    expect(await store.state()).toMatchObject({ gate: { key: "" }, contour: { gate: { on: false } } });
  });

  test("marks once, however often it goes around", async () => {
    const { contents } = await imported(false);
    const twice = await adopted(contents, { at: 6, include: false });
    const sources = async (run: RunContents) => (await listed(run.pairs())).map(({ task }) => task.source);
    expect(await sources(twice)).toEqual(await sources(contents));
  });

  test("is refused when its contour would fill the memory", async () => {
    const { contents } = await imported(false);
    const contour = { ...contents.state.contour, propose: { tasks: 1e9 } };
    await expect(
      adopted({ ...contents, state: { ...contents.state, contour } }, { at: 7, include: true }),
    ).rejects.toThrow("the archive's contour: propose.tasks must be from 1 to 4096");
  });
});

/** The loop goes on with an imported run: what came in the archive neither trains nor opens the gate. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { createLoop } from "../../src/loop/cycle.ts";
import type { StorePort } from "../../src/loop/ports.ts";
import { adopted } from "../../src/store/adopt.ts";
import { collect, exportRun } from "../../src/store/archive.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { listed } from "../../src/store/run.ts";
import { importRun } from "../../src/store/verify.ts";
import { fakeContour, fakePorts, fakeSealed, only } from "./fakes.ts";

const root = mkdtempSync(join(tmpdir(), "imported-"));
afterAll(() => rmSync(root, { recursive: true }));

const THEIRS = "aa".repeat(32);
const OURS = "cd".repeat(32);
const contour = { ...fakeContour, rounds: 3, gate: { ...fakeContour.gate, period: 1 } };
const portsWith = (store: StorePort, key: string) => ({
  ...fakePorts(),
  store,
  sealed: { ...fakeSealed(), newKey: () => key },
});

test("imported pairs train only where they are included, and the gate opens with a key of this machine", async () => {
  // Their run stops after it has collected: fresh pairs lie in the buffer, and the gate's key is drawn.
  const theirs = await openFolderStore(join(root, "theirs"), { run: "r" });
  const first = createLoop(portsWith(theirs, THEIRS));
  await first.start({ run: "r", contour, seed: 3 });
  await first.advance();
  expect(await theirs.state()).toMatchObject({ phase: "train", gate: { key: THEIRS } });
  const archive = await collect(exportRun(theirs, { promptText: () => "describe" }));
  theirs.close();

  for (const include of [false, true]) {
    const ours = await openFolderStore(join(root, String(include)), { run: "r" });
    const contents = await importRun(archive, () => ({
      restore: async (read) => ours.restore(await adopted(read, { at: 1, include })),
    }));
    const pairs = await listed(contents.pairs());
    expect(pairs.length).toBeGreaterThan(0);
    const imported = new Set(pairs.map(({ id }) => id));
    const loop = createLoop(portsWith(ours, OURS));
    await loop.resume();
    await loop.run();

    const events = await ours.events({ since: 0 });
    const trained = only(events, "trained").flatMap((event) => event.pairs);
    expect(trained.length).toBeGreaterThan(0);
    expect(trained.some((id) => imported.has(id))).toBe(include);
    for (const { task } of await ours.pairsById([...imported])) expect(task.source).toMatch(/^imported:/);
    const keys = only(events, "gated").map(({ report }) => report.key);
    expect(keys.length).toBeGreaterThan(0);
    expect(keys).not.toContain(THEIRS);
    expect(keys).toContain(OURS);
    ours.close();
  }
}, 120_000);

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Contour } from "../../src/base/contour.ts";
import { deviceBefore, replayRound } from "../../src/cli/replay.ts";
import { createLoop, type Loop } from "../../src/loop/cycle.ts";
import { stateBeforeRound } from "../../src/loop/history.ts";
import type { LoopState, StorePort } from "../../src/loop/ports.ts";
import { collect, exportRun } from "../../src/store/archive.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { stateDigest } from "../../src/store/journal.ts";
import { type WholeRun, wholeRun } from "../../src/store/run.ts";
import { readArchive } from "../../src/store/verify.ts";
import { type FakeOptions, fakeContour, fakePorts } from "../loop/fakes.ts";

const root = mkdtempSync(join(tmpdir(), "replay-"));
afterAll(() => rmSync(root, { recursive: true }));

/** Updates are accepted, and every fifth call of the trainer forgets the base world, which is rejected. */
const eventful: FakeOptions = { teach: (skill, call) => (call % 5 === 0 ? { ...skill, a: skill.a - 0.3 } : skill) };
const contour: Contour = {
  ...fakeContour,
  rounds: 9,
  train: { ...fakeContour.train, replayPairs: 0.5 },
};

const loopOn = (store: StorePort, options: FakeOptions): Loop => createLoop({ ...fakePorts(options), store });

/** A run as its archive gives it back; `during` may act between two phases. */
async function played(
  name: string,
  options: FakeOptions = eventful,
  settings: Contour = contour,
  during: (loop: Loop, store: StorePort) => Promise<unknown> = async () => undefined,
): Promise<WholeRun> {
  const store = openFolderStore(join(root, name), { run: name });
  const loop = loopOn(store, options);
  await loop.start({ run: name, contour: settings, seed: 5 });
  while ((await loop.advance()).finished === null) await during(loop, store);
  const read = await readArchive(await collect(exportRun(store, { promptText: (ids) => ids.join(" ") })));
  store.close();
  if (!read.ok) throw new Error(read.problems.map(({ message }) => message).join("; "));
  return wholeRun(read.contents);
}

describe("a round that is repeated from its journal", () => {
  let contents: WholeRun;
  beforeAll(async () => {
    contents = await played("eventful");
  });
  const replay = (run: WholeRun, round: number, options: FakeOptions = eventful) =>
    replayRound(run, round, (store) => loopOn(store, options));

  it("begins in the state that the journal has, whatever happened before", async () => {
    const deferred = await played("deferred", eventful, { ...contour, gate: { ...contour.gate, maxItems: 100 } });
    const kinds = [contents, deferred].flatMap(({ events }) => events.map(({ type }) => type));
    expect(kinds).toEqual(expect.arrayContaining(["committed", "rejected", "deferred"]));
    for (const run of [contents, deferred])
      for (let round = 1; round <= 9; round++) {
        const state = stateBeforeRound(run.events, round, run.state);
        expect(run.lines[state.seq - 1]?.data?.state, `round ${round}`).toBe(stateDigest(state));
      }
    expect(() => stateBeforeRound(contents.events, 10, contents.state)).toThrow("no round 10");
  });

  it("has the same pairs and the same update, every round", async () => {
    for (let round = 1; round <= 9; round++) {
      const { pairs, update } = await replay(contents, round);
      expect(pairs, `round ${round}`).toMatchObject({ kind: "same" });
      expect(update, `round ${round}`).toMatchObject({ kind: "same" });
    }
  });

  it("differs where the engine answers or learns otherwise", async () => {
    const learner = await replay(contents, 1, { ...eventful, gain: 0.07 });
    expect([learner.pairs.kind, learner.update.kind]).toEqual(["same", "different"]);
    const answerer = await replay(contents, 1, { ...eventful, unfinished: () => 0.5 });
    expect([answerer.pairs.kind, answerer.update.kind]).toEqual(["different", "different"]);
  });

  it("has the kernels that it began with, of a run that moved in between", async () => {
    const name = "moved";
    const [first, second] = ["tile-64x64", "tile-32x32"].map(
      (choice): FakeOptions => ({
        ...eventful,
        device: { variants: { matmul: "tile", "nn 64x64x64": choice } },
      }),
    ) as [FakeOptions, FakeOptions];
    const store = openFolderStore(join(root, name), { run: name });
    const before = loopOn(store, first);
    await before.start({ run: name, contour: { ...contour, rounds: 3 }, seed: 5 });
    while (before.state()?.round !== 2) await before.advance();
    await before.advance(); // the second round has collected; its training comes after the move
    const after = loopOn(store, second);
    await after.resume();
    await after.run();
    const events = await store.events({ since: 0 });
    const state = (await store.state()) as LoopState;
    store.close();
    expect(events.filter(({ type }) => type === "restored")).toHaveLength(1);
    const kernel = (round: number): string | undefined =>
      deviceBefore({ events, state }, round)?.variants["nn 64x64x64"];
    expect([1, 2, 3].map(kernel)).toEqual(["tile-64x64", "tile-64x64", "tile-32x32"]);
    expect(() => kernel(4)).toThrow("no round 4");
  });

  it("is not repeated on other base weights, and says what to do", async () => {
    await expect(replay(contents, 2, { ...eventful, base: { a: 0.5, b: 0.5 } })).rejects.toThrow(/base weights/);
  });

  it("says which line deleted a pair that its training needs, and that its own pairs are the same", async () => {
    let forgotten = "";
    const run = await played("deleted", eventful, contour, async (loop, store) => {
      if (loop.state()?.round !== 8 || forgotten !== "") return;
      forgotten = (await store.pairs({ status: "accepted" }))[0]?.id ?? "";
      await loop.forget({ pairs: [forgotten], detail: "my own" });
    });
    const seq = run.events.findIndex(({ type }) => type === "deleted");
    const { pairs, update } = await replay(run, 6); // it draws from accepted pairs, this one among them
    expect(pairs.kind).toBe("same");
    expect(update).toEqual({
      kind: "deleted",
      pair: forgotten,
      seq,
      detail: `the pair ${forgotten} was deleted by line ${seq + 1} of the journal (event ${seq})`,
    });
    // The round that made it makes it again: nothing is missing there.
    expect((await replay(run, 1)).pairs.kind).toBe("same");
  });

  it("has the pairs of a full buffer too, and what was not trained is said to be so", async () => {
    const bounded: Contour = {
      ...contour,
      rounds: 4,
      buffer: { ...(contour.buffer as NonNullable<Contour["buffer"]>), capacity: 60_000 },
      train: { ...contour.train, replayPairs: 0 },
    };
    const run = await played("bounded", eventful, bounded);
    expect(run.events.some(({ type }) => type === "deleted")).toBe(true);
    for (const round of [1, 4]) {
      const { pairs, update } = await replay(run, round);
      expect([pairs.kind, update.kind]).toEqual(["same", "same"]);
    }
    const idle = await played("idle", eventful, { ...contour, rounds: 1, train: { ...contour.train, minPairs: 999 } });
    expect((await replay(idle, 1)).update).toMatchObject({ kind: "none", detail: expect.stringContaining("skipped") });
  });
});

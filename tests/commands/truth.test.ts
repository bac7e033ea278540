/** The real loop on the bundled model: what it learns from does not depend on what is true, and a seed reproduces it. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { defaultContour } from "../../src/base/contour.ts";
import type { LoopEvent } from "../../src/base/events.ts";
import { folder } from "../../src/cli/files.ts";
import { loadModel } from "../../src/model/hf.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { Engine } from "../../src/train/engine.ts";
import { decode } from "../../src/world/vocabulary.ts";
import { openTestGpu } from "../gpu/open.ts";

/** Small, but every stage has something to do. Judges that need no other model file. */
const contour = {
  ...defaultContour,
  rounds: 2,
  propose: { tasks: 16 },
  sample: { ...defaultContour.sample, k: 6 },
  judge: { rule: "pixels" as const, record: ["pixels" as const, "self" as const] },
  train: { ...defaultContour.train, minPairs: 2, batchSize: 4, replayA: { perStep: 4, weight: 0.5 } },
  gate: { ...defaultContour.gate, period: 2, maxItems: 50 },
  evaluate: { every: 10, items: 12, worlds: ["B" as const] },
};

afterEach(() => {
  vi.doUnmock("../../src/world/truth.ts");
  vi.resetModules();
});

/** Events of a whole run, in a module graph of its own so that the mock reaches every importer of the truth. */
async function run(): Promise<readonly LoopEvent[]> {
  vi.resetModules();
  const { composeLoop } = await import("../../src/worker/compose.ts");
  const directory = mkdtempSync(join(tmpdir(), "autodidact-truth-"));
  const gpu = await openTestGpu();
  const model = await loadModel(folder("public/models/policy"));
  const engine = await Engine.create({
    runtime: gpu.runtime(gpu.variants.at(-1) ?? "plain"),
    gpu,
    model,
    decode,
  });
  try {
    const store = await openFolderStore(directory, { run: "truth" });
    const loop = composeLoop({ engine, store, now: () => 0, emit: () => {}, progress: () => {} }, { contour, seed: 3 });
    await loop.start({ run: "truth", contour, seed: 3 });
    await loop.run();
    const events = await store.events({ since: 0 });
    store.close();
    return events;
  } finally {
    await engine.destroy();
    gpu.destroy();
    rmSync(directory, { recursive: true });
  }
}

/** Everything that a run did before its first gate. */
const beforeTheGate = (events: readonly LoopEvent[]): readonly LoopEvent[] =>
  events
    .slice(
      0,
      events.findIndex((event) => event.type === "gated"),
    )
    .filter((event) => event.type !== "evaluated");

test("scrambling the truth changes no pair and no update before the gate, and a seed gives the same run bit for bit", async () => {
  const honest = await run();
  const again = await run();
  expect(again).toEqual(honest);

  vi.doMock("../../src/world/truth.ts", async (original) => {
    const real = await original<typeof import("../../src/world/truth.ts")>();
    return {
      ...real,
      truthItem: (...args: Parameters<typeof real.truthItem>) => ({
        ...real.truthItem(...args),
        truth: [4, 8, 11, 16, 2],
      }),
      isCorrect: (...args: Parameters<typeof real.isCorrect>) => !real.isCorrect(...args),
    };
  });
  const scrambled = await run();

  const trained = honest.filter((event) => event.type === "trained");
  expect(trained.some((event) => event.outcome.kind === "trained" && event.outcome.steps.length > 0)).toBe(true);
  expect(beforeTheGate(honest).length).toBeGreaterThan(8);
  expect(beforeTheGate(scrambled)).toEqual(beforeTheGate(honest));
  // The scrambling was real: the evaluator saw it.
  const scores = (events: readonly LoopEvent[]) =>
    events.flatMap((event) => (event.type === "evaluated" ? [event.heldOut.greedy.value] : []));
  expect(scores(scrambled)).not.toEqual(scores(honest));
}, 300_000);

/** A thousand optimizer steps, with new candidates, rollbacks, answers and read-backs between them, take no more GPU memory at the end than at the beginning. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { fragile } from "../../src/cli/faults/device.ts";
import { presets } from "../../src/cli/faults/preset.ts";
import { readInputs } from "../../src/cli/model.ts";
import { type NodeRuntime, openNodeRuntime } from "../../src/cli/runtime.ts";
import { BASE, Engine } from "../../src/train/engine.ts";
import { createCamera } from "../../src/world/camera.ts";
import { decode } from "../../src/world/vocabulary.ts";

const STEPS = 1000;
const STEPS_A_ROUND = 10;

let node: NodeRuntime;
beforeAll(async () => {
  node = await openNodeRuntime();
});
afterAll(() => node.gpu.destroy());

test("1,000 steps keep the number and the bytes of GPU buffers flat, and closing the engine leaves none", async () => {
  const { model } = await readInputs({ model: "public/models/policy", adapter: null });
  const { device, buffers } = fragile(node.runtime.device, () => undefined);
  const runtime = { ...node.runtime, device };
  const engine = await Engine.create({ runtime, gpu: node.gpu, model, decode: (tokens) => decode(tokens) });
  const camera = createCamera();
  const contour = presets[0]?.contour.train;
  if (!contour) throw new Error("there is no preset");
  const used = () => ({ count: buffers.size, bytes: [...buffers].reduce((sum, { size }) => sum + size, 0) });

  const readings: ReturnType<typeof used>[] = [];
  let adapter = BASE;
  for (let round = 0; round < STEPS / STEPS_A_ROUND; round++) {
    const replay = await camera.replayA({ count: 2, seed: rngFor("leaks", round).int(2 ** 31), round });
    const batches = Array.from({ length: STEPS_A_ROUND }, () => ({ pairs: [], replay }));
    await engine.begin({ adapter, seed: round, loraR: 4, loraAlpha: 8 });
    const { diverged } = await engine.train({ batches, contour, learningRate: 1e-5 });
    expect(diverged).toBeNull();
    const snapshot = await engine.snapshot();
    if (round % 3 === 2) adapter = snapshot.hash;
    await engine.load(snapshot); // as a rollback does
    await engine.greedy([(replay[0] as (typeof replay)[0]).task], { adapter: snapshot.hash, maxNewTokens: 6 });
    engine.keep(new Set([adapter]));
    readings.push(used());
  }
  const most = (of: typeof readings) => ({
    count: Math.max(...of.map(({ count }) => count)),
    bytes: Math.max(...of.map(({ bytes }) => bytes)),
  });
  const half = readings.length / 2;
  const [first, second] = [most(readings.slice(0, half)), most(readings.slice(half))];
  expect(second.count).toBeLessThanOrEqual(first.count);
  expect(second.bytes).toBeLessThanOrEqual(first.bytes);
  await engine.destroy();
  expect(used()).toEqual({ count: 0, bytes: 0 });
}, 600_000);

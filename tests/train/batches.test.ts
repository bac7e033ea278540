import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { shapeFor } from "../../src/model/packing.ts";
import { FlatTensors, ModelWeights, type Runtime } from "../../src/model/weights.ts";
import { AdapterTraining } from "../../src/train/adapter.ts";
import { activationBytes, type Budget, budgetOf, largestTensor, splitRows, tooLarge } from "../../src/train/batches.ts";
import type { Group } from "../../src/train/groups.ts";
import { Scorer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { hyper, modelOn } from "./engine.ts";
import { randomAdapter, randomTensors, randomTokens, tinyConfig } from "./models.ts";

const gpu = await openTestGpu();
const runtime = gpu.runtime("plain");
const config = tinyConfig();
const rng = rngFor(1, "rows");
const rows = Array.from({ length: 8 }, () => {
  const tokens = () => randomTokens(rng, config.vocab_size, 1 + rng.int(9));
  return { row: { picture: null, prompt: tokens(), answers: [tokens(), tokens()] } };
});

test("rows are split in order, within the budget", () => {
  expect(splitRows(config, rows, budgetOf(gpu.device))).toEqual([rows]);
  const whole = shapeFor(
    config,
    rows.map(({ row }) => row),
  );
  for (const budget of [
    { tensor: largestTensor(config, whole) / 2, activations: 2 ** 30, rows: 64 },
    { tensor: 2 ** 30, activations: activationBytes(config, whole) / 3, rows: 64 },
    { tensor: 2 ** 30, activations: 2 ** 30, rows: 3 },
  ] satisfies Budget[]) {
    const groups = splitRows(config, rows, budget);
    expect(groups.flat()).toEqual(rows);
    expect(groups.length).toBeGreaterThan(1);
    for (const group of groups) {
      const shape = shapeFor(
        config,
        group.map(({ row }) => row),
      );
      expect(largestTensor(config, shape)).toBeLessThanOrEqual(budget.tensor);
      expect(activationBytes(config, shape)).toBeLessThanOrEqual(budget.activations);
      expect(group.length).toBeLessThanOrEqual(budget.rows);
    }
  }
});

test("a row that no plan can hold is refused with the reason", () => {
  const row = { picture: null, prompt: [3], answers: [Array(70).fill(4)] };
  expect(tooLarge(config, row, budgetOf(gpu.device))).toBe("71 tokens exceed the model's 64 positions");
  const short = { picture: null, prompt: [3], answers: [[4]] };
  expect(tooLarge(config, short, budgetOf(gpu.device))).toBeNull();
  expect(tooLarge(config, short, { ...budgetOf(gpu.device), tensor: 1024 })).toMatch(
    /^2 tokens need a tensor of 1 MiB, but this GPU binds at most/,
  );
});

test("micro-batches of 1 × 8 follow the trajectory of 8 × 1", async () => {
  const groups = (size: number): Group[] =>
    splitRows(config, rows, { tensor: 2 ** 30, activations: 2 ** 30, rows: size }).map((group) => ({
      rows: group.map(({ row }) => row),
      pairs: group.length,
      reference: group.flatMap(() => [-9, -11]),
      sft: group.flatMap(() => [0.01, 0]),
      weight: 1 / rows.length,
    }));
  const weights = await modelOn(runtime, config, randomTensors(config, 1));
  const trajectory = async (size: number) => {
    const training = new AdapterTraining(runtime, weights, randomAdapter(config, 2));
    const results = [];
    for (let s = 0; s < 3; s++) {
      const { step: _, ...rest } = hyper(1);
      results.push(
        await gpu.checked(() => training.step([groups(size)], { type: "sigmoid", beta: 0.1, labelSmoothing: 0 }, rest)),
      );
    }
    expect(training.steps).toBe(3);
    await training.destroy();
    return results;
  };
  const [whole, single] = [await trajectory(8), await trajectory(1)];
  for (const [s, result] of whole.entries()) {
    expect(single[s]?.loss).toBeCloseTo(result.loss, 5);
    expect((single[s]?.gradNorm as number) / result.gradNorm).toBeCloseTo(1, 5);
    expect(single[s]?.sums.flat()).toHaveLength(16);
  }
  expect(whole[2]?.loss).not.toBeCloseTo(whole[0]?.loss as number, 3);
});

/** The device with lower limits: WebGPU itself lets nobody ask for less than its defaults. */
function limited(limits: Partial<Record<"maxBufferSize" | "maxStorageBufferBindingSize", number>>): Runtime {
  const { device } = runtime;
  const own = {
    maxBufferSize: device.limits.maxBufferSize,
    maxStorageBufferBindingSize: device.limits.maxStorageBufferBindingSize,
    ...limits,
  };
  return {
    ...runtime,
    device: new Proxy(device, { get: (target, key) => (key === "limits" ? own : bound(target, key)) }),
  };
}

const bound = (target: object, key: string | symbol): unknown => {
  const value = Reflect.get(target, key, target) as unknown;
  return typeof value === "function" ? value.bind(target) : value;
};

test("weights larger than one buffer lie in several and give the same log-probs", async () => {
  const small = limited({ maxBufferSize: 5120 });
  const tensors = randomTensors(config, 1);
  const [one, several] = [await modelOn(runtime, config, tensors), new ModelWeights(small, config, tensors)];
  await several.refresh();
  expect(one.values.buffers).toHaveLength(1);
  expect(several.values.buffers.length).toBeGreaterThan(3);
  expect(several.values.buffers.every(({ size }) => size <= 5120)).toBe(true);
  const score = (weights: ModelWeights) =>
    gpu.checked(() => new Scorer(runtime, weights, {}).tokens(rows.map(({ row }) => row)));
  expect(await score(several)).toEqual(await score(one));
});

test("what no GPU of these limits can hold is said in plain words", () => {
  const shapes = new Map([
    ["big", [40, 64]],
    ["more", [40, 64]],
  ]);
  expect(() => new FlatTensors(limited({ maxStorageBufferBindingSize: 4096 }).device, "weights", shapes)).toThrow(
    /^tensor big takes 1 MiB, but this GPU binds at most 1 MiB/,
  );
  const split = new FlatTensors(limited({ maxBufferSize: 12_000 }).device, "weights", shapes);
  expect(() => split.buffer).toThrow(/"weights" takes 1 MiB, more than one buffer of this GPU may hold/);
});

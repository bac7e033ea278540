import { afterAll, expect, test } from "vitest";
import { Graph } from "../../src/gpu/graph.ts";
import { compile, Pace } from "../../src/gpu/plan.ts";
import { addResidual, swiglu } from "../../src/ops/elementwise.ts";
import { openTestGpu } from "./open.ts";

const gpu = await openTestGpu();
afterAll(() => gpu.destroy());
const runtime = gpu.runtime("plain");
const { device, pipelines } = runtime;

test("what runs while recording is on is a span with its kernels, and computes the same", async () => {
  const g = new Graph();
  const ctx = { g, variants: runtime.variants };
  const n = 1024;
  const [a, b, y] = [g.input("a", [n]), g.input("b", [n]), g.output("y", [n])];
  const sum = addResidual(ctx, swiglu(ctx, a, b), addResidual(ctx, a, b));
  g.dispatch({
    ...g.dispatches.at(-1)!,
    bindings: [
      { tensor: sum, access: "read" },
      { tensor: a, access: "read" },
      { tensor: y, access: "write" },
    ],
  });
  const plan = await compile("traced", g, device, pipelines);
  const data = (seed: number) => Float32Array.from({ length: n }, (_, i) => Math.sin(seed * i));
  plan.write(a, data(1));
  plan.write(b, data(2));
  const values = async () => {
    const { results } = await plan.start({ pace: new Pace(0.001), read: [y] });
    const [read] = await results;
    await device.queue.onSubmittedWorkDone();
    return [...(read as Float32Array)];
  };
  const plain = await values();
  expect(pipelines.trace.spans).toEqual([]);
  pipelines.trace.on = true;
  const before = performance.timeOrigin + performance.now();
  expect(await values()).toEqual(plain);
  while (pipelines.trace.spans.length === 0) await new Promise((resolve) => setTimeout(resolve, 5));
  pipelines.trace.on = false;
  await values();
  const [span, ...others] = pipelines.trace.spans;
  expect(others).toEqual([]);
  expect(span?.label).toBe("traced");
  expect(span?.start).toBeGreaterThanOrEqual(before - 1);
  expect(span?.end).toBeGreaterThanOrEqual(span?.start ?? Number.NaN);
  const counted = span?.kernels.reduce((total, { count }) => total + count, 0);
  expect(counted).toBe(device.features.has("timestamp-query") ? plan.dispatches : 0);
  for (const { ms } of span?.kernels ?? []) expect(ms).toBeGreaterThanOrEqual(0);
  pipelines.trace.on = true; // forgets
  expect(pipelines.trace.spans).toEqual([]);

  // Whole passes: one a submit, and the next run takes what the last one has used.
  pipelines.trace.passes = true;
  for (const runs of [1, 2]) {
    expect(await values()).toEqual(plain);
    while (pipelines.trace.pending > 0) await new Promise((resolve) => setTimeout(resolve, 5));
    expect(pipelines.trace.spans).toHaveLength(runs);
  }
  const submits = { shader: "pass", count: 3, ms: expect.any(Number) }; // the two additions are one
  for (const { kernels } of pipelines.trace.spans)
    expect(kernels).toEqual(device.features.has("timestamp-query") ? [submits] : []);
  pipelines.trace.passes = false;
  pipelines.trace.on = false;
  plan.destroy();
});

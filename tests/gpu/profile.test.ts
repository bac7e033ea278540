import { afterAll, expect, test } from "vitest";
import { kernelsOf, outsideKernels, profileText, type RunProfile } from "../../src/cli/bench-profile.ts";
import { countCalls } from "../../src/gpu/counts.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { profileSteps } from "../../src/gpu/profile.ts";
import { addResidual } from "../../src/ops/elementwise.ts";
import { matmulNN } from "../../src/ops/matmul.ts";
import { openTestGpu } from "./open.ts";

const gpu = await openTestGpu();
const runtime = gpu.runtime("plain");
const { device } = runtime;
afterAll(() => gpu.destroy());

/** y = a b, three times, then two sums: what a profile must tell apart. */
async function plan() {
  const g = new Graph();
  const ctx = { g, variants: runtime.variants };
  const n = 64;
  const [a, b] = [g.input("a", [n, n]), g.input("b", [n, n])];
  const y = [0, 1, 2].map((i) => g.output(`y${i}`, [n, n]));
  for (const product of y) matmulNN(ctx, a, b, product);
  addResidual(ctx, addResidual(ctx, y[0]!, y[1]!), y[2]!);
  return compile("profiled", g, device, runtime.pipelines);
}

test("a profile has every dispatch in order and every kernel once, with its operations and bytes", async () => {
  const profiled = await plan();
  const { kernels, dispatches, timer } = await profiled.profile(2);
  expect(timer).toBe(device.features.has("timestamp-query") ? "timestamps" : "submits");
  expect(dispatches).toHaveLength(profiled.dispatches);
  expect(kernels.reduce((sum, { count }) => sum + count, 0)).toBe(profiled.dispatches);
  expect(kernels.reduce((sum, { flops }) => sum + flops, 0)).toBe(profiled.flops);
  const product = kernels.find(({ shader }) => shader.startsWith("matmul"));
  expect(product).toMatchObject({ count: 3, flops: 3 * 2 * 64 ** 3, bytes: 3 * 3 * 64 * 64 * 4 });
  expect(kernels.reduce((sum, { ms }) => sum + ms, 0)).toBeGreaterThan(0);
  expect([...kernels].sort((x, y) => y.ms - x.ms)).toEqual(kernels);
  profiled.destroy();
});

test("without timestamps one submit a dispatch is timed", async () => {
  const pipeline = await runtime.pipelines.get("transpose", {});
  const buffer = () => device.createBuffer({ size: 64, usage: 0x80 | 0x40 }); // STORAGE | UNIFORM
  const entries = [buffer(), buffer(), buffer()].map((resource, binding) => ({
    binding,
    resource: { buffer: resource },
  }));
  const group = device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries });
  const step = { pipeline, group, workgroups: [1, 1, 1] as const, flops: 7, bytes: 128, shader: "transpose" };
  const plain = { features: new Set(), queue: device.queue, createCommandEncoder: () => device.createCommandEncoder() };
  const { timer, kernels } = await profileSteps(plain as unknown as GPUDevice, [step, step], 3);
  expect(timer).toBe("submits");
  expect(kernels).toMatchObject([{ shader: "transpose", count: 2, flops: 14, bytes: 256 }]);
  expect(kernels[0]?.ms).toBeGreaterThan(0);
});

test("calls are counted, whoever makes them; a running plan makes no bind group and no buffer", async () => {
  const counter = countCalls();
  const counted = await plan();
  expect(counter.take().bindGroups).toBe(counted.dispatches);
  await counted.run(undefined, 3);
  await device.queue.onSubmittedWorkDone();
  expect(counter.take()).toEqual({ dispatches: 3 * counted.dispatches, submits: 1, bindGroups: 0, buffers: 0 });
  expect(counted.runs).toBe(3);
  counted.destroy();
});

test("kernels of several plans are added up, weighted by their runs; the rest of the wall time is outside", () => {
  const kernel = { shader: "matmul_nn", count: 2, ms: 3, flops: 6e6, bytes: 3e6 };
  const profile = { timer: "timestamps" as const, kernels: [kernel], dispatches: [] };
  const run: RunProfile = {
    wallMs: 20,
    busyMs: null,
    calls: { dispatches: 8, submits: 2, bindGroups: 0, buffers: 0 },
    plans: [
      { label: "prompt", dispatches: 2, runs: 1, profile },
      { label: "token", dispatches: 2, runs: 3, profile },
    ],
  };
  expect(kernelsOf(run)).toEqual([{ shader: "matmul_nn", count: 8, ms: 12, flops: 24e6, bytes: 12e6 }]);
  expect(outsideKernels(run)).toBeCloseTo(0.4, 12);
  expect(outsideKernels({ ...run, busyMs: 19 })).toBeCloseTo(0.05, 12);
  const text = profileText(run, { gflops: 20, copyGBs: 10 });
  expect(text).toContain("40% of the wall time outside kernels");
  expect(text).toContain("2.0 GFLOP/s (10%)");
  expect(text).toContain("1.00 GB/s (10%)");
});

import { expect, test } from "vitest";
import { measurePeak } from "../../src/ops/peak.ts";
import { openTestGpu } from "../gpu/open.ts";

test("the peak of an adapter is a rate that a machine can have, and all memory is given back", async () => {
  const gpu = await openTestGpu();
  const peak = await measurePeak(gpu, 3);
  expect(peak.gflops).toBeGreaterThan(0.1);
  expect(peak.gflops).toBeLessThan(1e6);
  expect(peak.copyGBs).toBeGreaterThan(0.01);
  expect(peak.copyGBs).toBeLessThan(1e5);
  expect(gpu.pipelines.plans.size).toBe(0);
});

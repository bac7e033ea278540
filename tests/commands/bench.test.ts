/** `bench` as it is run: what it counts and times, and what it leaves. Times themselves are no test. */
import { readdir, readFile } from "node:fs/promises";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import type { KernelTime } from "../../src/gpu/profile.ts";
import { run, temporary } from "./run.ts";

afterEach(() => vi.unstubAllEnvs());

test("the bundled model's DPO step: every kernel timed, few dispatches, one submit, nothing new on the GPU", async () => {
  const ran = await run("bench", "--only", "dpo", "--profile", "--json");
  expect(ran.code, ran.err).toBe(0);
  const [report] = ran.lines() as unknown as {
    peak: { gflops: number; copyGBs: number };
    results: {
      name: string;
      profile: {
        wallMs: number;
        busyMs: number;
        calls: Record<string, number>;
        plans: { dispatches: number; profile: { kernels: KernelTime[] } }[];
      };
    }[];
  }[];
  const [dpo] = report?.results ?? [];
  expect(dpo?.name).toBe("dpo");
  // jax-js makes 488 for a smaller model here (docs/BENCHMARKS.md), 464 on another machine.
  expect(dpo?.profile.calls.dispatches).toBeLessThanOrEqual(464 / 3);
  expect(dpo?.profile.calls).toMatchObject({ submits: 1, bindGroups: 0, buffers: 0 });
  expect(dpo?.profile.busyMs).toBeGreaterThan(0);
  expect(dpo?.profile.busyMs).toBeLessThanOrEqual(dpo?.profile.wallMs ?? 0);
  const [plan] = dpo?.profile.plans ?? [];
  const kernels = plan?.profile.kernels ?? [];
  expect(kernels.reduce((sum, { count }) => sum + count, 0)).toBe(plan?.dispatches);
  for (const { shader, ms, bytes } of kernels) {
    expect(ms, shader).toBeGreaterThan(0);
    expect(bytes, shader).toBeGreaterThan(0);
  }
  expect(report?.peak.gflops).toBeGreaterThan(0);
  expect(report?.peak.copyGBs).toBeGreaterThan(0);
});

test("--tune prints every candidate of a shape and keeps the winners where later commands look", async () => {
  const cache = await temporary();
  vi.stubEnv("XDG_CACHE_HOME", cache);
  const ran = await run("bench", "--tune", "--tune-seconds", 1);
  expect(ran.code).toBe(0);
  expect(ran.out).toMatch(/^.*; peak \d+\.\d GFLOP\/s, copy \d+\.\d GB\/s; load average/);
  expect(ran.out).toMatch(/nn 2048x64x64 +\S+ +\d+\.\d GFLOP\/s +\d+%/);
  expect(ran.out).toMatch(/winner/);
  expect(ran.out).toMatch(/default$/m);
  const folder = join(cache, "autodidact", "tuning");
  const [file, ...more] = await readdir(folder);
  expect(more).toEqual([]);
  const table = JSON.parse(await readFile(join(folder, file as string), "utf8")) as Record<string, string>;
  expect(Object.keys(table)).toContain("nn 2048x64x64");
});

/** When the engine's worker tunes, and what: with a fake clock, a fake GPU and a fake run. */
import { expect, test } from "vitest";
import type { DeviceSummary } from "../../src/base/events.ts";
import type { ProductShape } from "../../src/ops/context.ts";
import { tunedChoices } from "../../src/train/pinned.ts";
import { Tuner } from "../../src/worker/tuner.ts";

/** A tuner whose every measurement takes 10 ms, `each` of them a shape, of a list of shapes that never ends. */
function fake(each = 20) {
  let clock = 0;
  const rests: { readonly at: number; readonly go: () => void }[] = [];
  const state = { idle: true, measured: 0, began: 0, tuned: 0, shapes: [] as readonly ProductShape[] };
  const tuner = new Tuner({
    idle: () => state.idle,
    tune: async (shapes, another, goOn) => {
      state.began++;
      state.shapes = shapes;
      for (; another(); state.tuned++)
        for (let i = 0; i < each; i++) {
          if (!(await goOn())) return;
          state.measured++;
          clock += 10;
        }
    },
    now: () => clock,
    rest: (ms) => new Promise((go) => rests.push({ at: clock + ms, go })),
  });
  /** Lets `ms` go by. */
  const pass = async (ms: number): Promise<void> => {
    const until = clock + ms;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 0));
      rests.sort((a, b) => a.at - b.at);
      const next = rests[0];
      if (!next || next.at > until) break;
      rests.shift();
      clock = Math.max(clock, next.at);
      next.go();
    }
    clock = Math.max(clock, until);
  };
  return { tuner, state, pass };
}

test("it begins after a while of quiet, rests between measurements, and ends after a few seconds", async () => {
  const { tuner, state, pass } = fake();
  tuner.wake();
  await pass(2900);
  expect(state.began).toBe(0);
  await pass(200);
  expect(state.began).toBe(1);
  await pass(60_000);
  expect(state.began).toBe(1);
  expect(state.measured).toBeGreaterThan(50);
  expect(state.measured).toBeLessThanOrEqual(4000 / 35 + 20);
});

test("on a machine where a shape takes longer than that, the first one is finished and no other begun", async () => {
  const { tuner, state, pass } = fake(500);
  tuner.wake();
  await pass(60_000);
  expect(state).toMatchObject({ began: 1, tuned: 1, measured: 500 });
});

test("never while a run is open or the page is hidden", async () => {
  const { tuner, state, pass } = fake();
  state.idle = false;
  tuner.wake();
  await pass(10_000);
  expect(state.began).toBe(0);
  state.idle = true;
  tuner.hide(true);
  tuner.wake();
  await pass(10_000);
  expect(state.began).toBe(0);
  tuner.hide(false);
  await pass(4000);
  expect(state.began).toBe(1);
});

test("a call to the engine ends it within one measurement; it begins anew when the call is done", async () => {
  const { tuner, state, pass } = fake();
  tuner.wake();
  await pass(3500);
  const before = state.measured;
  expect(before).toBeGreaterThan(0);
  const way = tuner.makeWay();
  await pass(30);
  await way;
  await pass(10_000);
  expect(state.measured).toBe(before);
  tuner.wake();
  await pass(4000);
  expect(state.began).toBe(2);
  state.idle = false;
  await pass(30);
  const ended = state.measured;
  await pass(10_000);
  expect(state.measured).toBe(ended);
});

test("the shapes with the most work come first, and rows of one key are tuned at their largest", async () => {
  const { tuner, state, pass } = fake();
  tuner.asked({ product: "nn", R: 1500, K: 64, N: 64 });
  tuner.asked({ product: "nn", R: 1900, K: 64, N: 64 });
  tuner.asked({ product: "nn", R: 1200, K: 64, N: 64 });
  tuner.asked({ product: "tn", R: 2000, K: 64, N: 176 });
  tuner.asked({ product: "nt", R: 16, K: 64, N: 8 });
  tuner.wake();
  await pass(3500);
  expect(state.shapes).toEqual([
    { product: "tn", R: 2000, K: 64, N: 176 },
    { product: "nn", R: 1900, K: 64, N: 64 },
    { product: "nt", R: 16, K: 64, N: 8 },
  ]);
});

test("a stored run goes on with its own kernels on its own adapter, and on no other", () => {
  const here = { vendor: "v", architecture: "a", description: "d" };
  const device = (variants: Record<string, string>): DeviceSummary => ({
    ...here,
    fallback: false,
    features: [],
    variants,
  });
  const table = { "nn 64x64x64": "tile-32x32" };
  const can = { lanes: 0, threads: 128 };
  const choices = (variants: Record<string, string>, name = here) => tunedChoices(device(variants), name, can);
  expect(choices({ matmul: "tile", ...table })).toEqual(table);
  expect(choices({ matmul: "tile" })).toEqual({});
  expect(choices({ matmul: "tile", ...table }, { ...here, description: "another" })).toBeNull();
  // Kernels that this version lacks, or that this adapter cannot run, whatever an archive says.
  for (const choice of ["gone-1", "sg8-16", "tile-64x128", "plain-8/1000000"])
    expect(choices({ matmul: "tile", ...table, "nn 8x64x64": choice })).toBeNull();
  expect(tunedChoices(undefined, here, can)).toBeNull();
});

/**
 * How plans are cut into submits and where they rest: on a fake GPU with a fake clock, for which a workgroup is a MFLOP.
 * That results stay the same: on a real one.
 */
import { afterEach, expect, test, vi } from "vitest";
import { Patience } from "../../src/gpu/patience.ts";
import { Pace, Plan } from "../../src/gpu/plan.ts";
import { Trace } from "../../src/gpu/trace.ts";
import { stepsAhead } from "../../src/train/ahead.ts";
import { type StepResult, Trainer } from "../../src/train/step.ts";
import { hyper, loraOn, modelOn, trainableOf } from "../train/engine.ts";
import { randomAdapter, randomTensors, tinyConfig } from "../train/models.ts";
import { openTestGpu } from "./open.ts";

const gpu = await openTestGpu();

afterEach(() => {
  vi.restoreAllMocks();
  vi.unstubAllGlobals();
});

/** An adapter of `rate` GFLOP/s that does one submit after the other; who waits for it hears of the end `latency` ms late. */
function fake(rate: number, latency = 0.5) {
  const start = 1000;
  let now = start;
  let free = start;
  const speed = { rate };
  /** Work in ms of each submit, and how long the GPU had been idle before it. */
  const submits: { readonly ms: number; readonly idle: number }[] = [];
  let waits = 0;
  vi.spyOn(performance, "now").mockImplementation(() => now);
  vi.stubGlobal("setTimeout", (go: () => void, ms: number) => {
    now += ms;
    queueMicrotask(go);
  });
  const createCommandEncoder = () => {
    let megaflops = 0;
    const pass = {
      setPipeline: () => undefined,
      setBindGroup: () => undefined,
      dispatchWorkgroups: (x: number) => {
        megaflops += x;
      },
      end: () => undefined,
    };
    return { beginComputePass: () => pass, finish: () => megaflops };
  };
  const queue = {
    submit: (buffers: readonly number[]) => {
      const ms = buffers.reduce((sum, megaflops) => sum + megaflops, 0) / speed.rate;
      submits.push({ ms, idle: Math.max(0, now - free) });
      free = Math.max(now, free) + ms;
    },
    onSubmittedWorkDone: async () => {
      waits++;
      now = Math.max(now, free) + latency;
    },
  };
  const device = { createCommandEncoder, queue } as unknown as GPUDevice;
  const plan = (dispatches: number, megaflops = 1): Plan => {
    const step = { workgroups: [megaflops, 1, 1] as const, flops: megaflops * 1e6, bytes: 0, shader: "fake" };
    const steps = Array.from({ length: dispatches }, () => ({
      ...step,
      pipeline: {} as GPUComputePipeline,
      group: {} as GPUBindGroup,
    }));
    return new Plan("fake", device, steps, [], new Map(), new Patience(null), new Trace(), () => undefined);
  };
  return {
    plan,
    submits,
    speed,
    waits: () => waits,
    /** Time in which the host is busy with something else. */
    pass: (ms: number) => {
      now += ms;
    },
    /** Until the last submit is done, which a caller would read back. */
    read: () => {
      now = Math.max(now, free);
    },
  };
}

const gentle = (rate?: number): Pace => Object.assign(new Pace(25, rate), { restMs: 25 });

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0);

/** Rest as a share of the work of all submits but the first ones; the longest work without 5 ms of rest. */
function rhythm(submits: ReturnType<typeof fake>["submits"], skip = 0) {
  const [, ...later] = submits.slice(skip);
  let stretch = 0;
  let longest = 0;
  for (const { ms, idle } of later) {
    stretch = idle >= 5 ? ms : stretch + ms;
    longest = Math.max(longest, stretch);
  }
  return { share: sum(later.map(({ idle }) => idle)) / sum(later.map(({ ms }) => ms)), longest };
}

test.each([
  ["a slow adapter, too much at first", 0.2, 100],
  ["a fast one, too little at first", 500, 25],
])("%s: submits come near the target", async (_, rate, targetMs) => {
  const { plan, submits } = fake(rate);
  await plan(60 * targetMs, rate).run(new Pace(targetMs));
  const cut = submits.slice(-11, -1).map(({ ms }) => ms); // the end of the plan is as long as it is
  expect(cut).toHaveLength(10);
  for (const ms of cut) expect(Math.abs(ms / targetMs - 1)).toBeLessThan(0.15);
});

test("an adapter a tenth as fast as was believed: the first submit alone is far over the target", async () => {
  const { plan, submits } = fake(0.2);
  await plan(400).run(new Pace());
  const [first, ...rest] = submits.map(({ ms }) => ms);
  expect(first).toBeGreaterThan(900);
  for (const ms of rest) expect(ms).toBeLessThan(115);
});

test("without gentle mode a plan within the budget is submitted before run returns, and nobody waits", async () => {
  const { plan, submits, waits, read } = fake(0.5);
  const pace = new Pace();
  const small = plan(200);
  for (let runs = 1; runs <= 20; runs++) {
    const running = small.run(pace);
    expect(submits).toHaveLength(runs);
    await running;
  }
  expect(rhythm(submits)).toMatchObject({ share: 0 });
  read();
  await plan(250).run(pace);
  expect([submits.length, waits()]).toEqual([22, 1]);
});

test.each([
  ["a slow adapter", 0.5],
  ["a fast one", 100],
])("gentle mode: a long plan on %s rests as long as it works", async (_, rate) => {
  const { plan, submits } = fake(rate);
  await plan(4000, rate).run(gentle());
  const { share, longest } = rhythm(submits, 15);
  expect(share).toBeGreaterThan(0.9);
  expect(share).toBeLessThan(1.2);
  expect(longest).toBeLessThan(40);
});

test.each([1, 5, 20])("gentle mode: so do many plans of %i ms, each read back or not", async (ms) => {
  for (const reads of [false, true]) {
    const { plan, submits, read } = fake(1);
    const short = plan(ms);
    const pace = gentle(1);
    for (let runs = 0; runs < 400; runs++) {
      await short.run(pace);
      if (reads) read();
    }
    const { share, longest } = rhythm(submits);
    expect(submits).toHaveLength(400);
    expect(share).toBeGreaterThan(0.9);
    expect(share).toBeLessThan(1.2 + 1 / ms); // the waits count as work, and as rest here
    expect(longest).toBeLessThan(40);
  }
});

test("gentle mode: plans that are longer than a pace from another kind of work lets them seem are cut in time", async () => {
  const { plan, submits } = fake(1);
  const pace = gentle(100);
  for (let runs = 0; runs < 40; runs++) await plan(200).run(pace);
  expect(submits[0]?.ms).toBe(200);
  const { share, longest } = rhythm(submits, 40);
  expect(share).toBeGreaterThan(0.9);
  expect(longest).toBeLessThan(40);
});

test("gentle mode: short plans do not make the adapter seem slow", async () => {
  const { plan } = fake(500, 2);
  const pace = gentle(500);
  for (let runs = 0; runs < 100; runs++) await plan(10).run(pace);
  expect(pace.budget).toBe(500e6 * 25);
});

test("gentle mode: time between plans is rest, and what came before it was turned on or off asks for none", async () => {
  const { plan, submits, pass, waits } = fake(1);
  const pace = gentle(1);
  const short = plan(20);
  for (let runs = 0; runs < 10; runs++) {
    await short.run(pace);
    pass(30);
  }
  for (const { idle } of submits.slice(1)) expect(idle).toBeCloseTo(30.5);
  await short.run(pace);
  const before = waits();
  pace.restMs = 0;
  await short.run(pace);
  expect([submits.at(-1)?.idle, waits()]).toEqual([0.5, before]);
});

test("gentle mode: a GPU that was away for an hour is not rested from for another", async () => {
  const { plan, submits, speed } = fake(1);
  const pace = gentle(1);
  speed.rate = 20 / 3_600_000;
  await plan(20).run(pace);
  await plan(20).run(pace);
  expect(submits.at(-1)?.idle).toBeLessThan(1100);
});

test("gentle mode: steps that are submitted ahead, in slices, give the bits of steps without a pace", async () => {
  const runtime = gpu.runtime("plain");
  const config = tinyConfig({ layers: 1 });
  const weights = await modelOn(runtime, config, randomTensors(config, 1));
  const trained = async (pace?: Pace) => {
    const trainable = trainableOf(weights, loraOn(runtime, config, randomAdapter(config, 2, { b: 0 }), true));
    const trainer = new Trainer(runtime, weights, trainable, pace);
    const results: StepResult[] = [];
    const row = { picture: null, prompt: [3, 1, 2], answers: [[4, 5], [6]] };
    await stepsAhead({
      count: 6,
      prepare: (index) => [{ rows: [row], pairs: 1, reference: [-9, -8 - index], sft: [0.01, 0.01], weight: 1 }],
      submit: (groups, index) =>
        trainer.step(groups, { type: "sigmoid", beta: 0.1, labelSmoothing: 0 }, hyper(1 + index)),
      seen: (result) => results.push(result) > 0,
    });
    const values = [...(await trainable.values.read())];
    await trainer.destroy();
    return { results, values };
  };
  const sliced = Object.assign(new Pace(2, 0.01), { restMs: 2 });
  expect(await gpu.checked(() => trained(sliced))).toEqual(await trained());
});

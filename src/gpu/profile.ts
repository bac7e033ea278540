/**
 * How long the kernels of a plan take: by timestamps around each dispatch where the device has them, else by submitting
 * one dispatch at a time. For profiles only: kernels run several times, so what they add up to is not the plan's result.
 */

/** What is measured of a dispatch. */
export interface Dispatched {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
  readonly flops: number;
  /** Of all bound tensors: what a kernel moves at least if it reads and writes each once. */
  readonly bytes: number;
  readonly shader: string;
}

/** All dispatches of one shader in one run of a plan. */
export interface KernelTime {
  readonly shader: string;
  readonly count: number;
  readonly ms: number;
  readonly flops: number;
  readonly bytes: number;
}

export interface Profile {
  /** How it was timed: "submits" counts a submit's own cost to each kernel. */
  readonly timer: "timestamps" | "submits";
  /** Longest first. */
  readonly kernels: readonly KernelTime[];
  /** Milliseconds of each dispatch, in order. */
  readonly dispatches: readonly { readonly shader: string; readonly ms: number }[];
}

/** Passes of one submit: few, so that a slow adapter stays under the watchdog. */
const PASSES = 16;
/** Browsers round timestamps to 0.1 ms: a shorter kernel runs often enough to take this long. */
const LEAST_MS = 2;
const MOST_REPEATS = 50;

export async function profileSteps(device: GPUDevice, steps: readonly Dispatched[], repeat: number): Promise<Profile> {
  const stamps = device.features.has("timestamp-query") ? new Stamps(device) : null;
  const times = stamps ? await stamps.measure(steps, repeat) : await bySubmits(device, steps, repeat);
  stamps?.destroy();
  const rows = new Map<string, KernelTime>();
  for (const [i, { shader, flops, bytes }] of steps.entries()) {
    const row = rows.get(shader) ?? { shader, count: 0, ms: 0, flops: 0, bytes: 0 };
    rows.set(shader, {
      shader,
      count: row.count + 1,
      ms: row.ms + (times[i] as number),
      flops: row.flops + flops,
      bytes: row.bytes + bytes,
    });
  }
  return {
    timer: stamps ? "timestamps" : "submits",
    kernels: [...rows.values()].sort((a, b) => b.ms - a.ms),
    dispatches: steps.map(({ shader }, i) => ({ shader, ms: times[i] as number })),
  };
}

function dispatch(pass: GPUComputePassEncoder, step: Dispatched, times: number): void {
  pass.setPipeline(step.pipeline);
  pass.setBindGroup(0, step.group);
  for (let i = 0; i < times; i++) pass.dispatchWorkgroups(...step.workgroups);
}

async function bySubmits(device: GPUDevice, steps: readonly Dispatched[], repeat: number): Promise<number[]> {
  const times: number[] = [];
  for (const step of steps) {
    await device.queue.onSubmittedWorkDone();
    const began = performance.now();
    for (let i = 0; i < repeat; i++) {
      const encoder = device.createCommandEncoder();
      const pass = encoder.beginComputePass();
      dispatch(pass, step, 1);
      pass.end();
      device.queue.submit([encoder.finish()]);
    }
    await device.queue.onSubmittedWorkDone();
    times.push((performance.now() - began) / repeat);
  }
  return times;
}

class Stamps {
  private readonly device: GPUDevice;
  private readonly queries: GPUQuerySet;
  private readonly resolved: GPUBuffer;
  private readonly mapped: GPUBuffer;

  constructor(device: GPUDevice) {
    this.device = device;
    const size = 2 * PASSES * 8;
    this.queries = device.createQuerySet({ type: "timestamp", count: 2 * PASSES });
    this.resolved = device.createBuffer({ label: "timestamps", size, usage: 0x200 | 0x4 }); // QUERY_RESOLVE | COPY_SRC
    this.mapped = device.createBuffer({ label: "timestamps read", size, usage: 0x1 | 0x8 }); // MAP_READ | COPY_DST
  }

  /** Milliseconds of each step: once, then short ones again, as often as the clock's steps ask for. */
  async measure(steps: readonly Dispatched[], repeat: number): Promise<number[]> {
    const once = await this.passes(steps.map((step) => ({ step, times: 1 })));
    const often = once.map((ms) => Math.min(MOST_REPEATS, Math.max(repeat, Math.ceil(LEAST_MS / Math.max(ms, 0.01)))));
    return this.passes(steps.map((step, i) => ({ step, times: often[i] as number })));
  }

  private async passes(work: readonly { readonly step: Dispatched; readonly times: number }[]): Promise<number[]> {
    const { device, queries, resolved, mapped } = this;
    const result: number[] = [];
    for (let from = 0; from < work.length; from += PASSES) {
      const part = work.slice(from, from + PASSES);
      const encoder = device.createCommandEncoder({ label: "profile" });
      for (const [i, { step, times }] of part.entries()) {
        const pass = encoder.beginComputePass({
          timestampWrites: { querySet: queries, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
        });
        dispatch(pass, step, times);
        pass.end();
      }
      encoder.resolveQuerySet(queries, 0, 2 * part.length, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, mapped, 0, 2 * part.length * 8);
      device.queue.submit([encoder.finish()]);
      await mapped.mapAsync(1);
      const stamps = new BigInt64Array(mapped.getMappedRange().slice(0));
      mapped.unmap();
      for (const [i, { times }] of part.entries()) {
        const nanoseconds = Number((stamps[2 * i + 1] as bigint) - (stamps[2 * i] as bigint));
        result.push(Math.max(0, nanoseconds) / 1e6 / times);
      }
    }
    return result;
  }

  destroy(): void {
    this.queries.destroy();
    this.resolved.destroy();
    this.mapped.destroy();
  }
}

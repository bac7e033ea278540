/**
 * Records what runs while it is on: a span for each run of a plan, with the time of its kernels by timestamps. Results
 * stay the same; each dispatch becomes a pass of its own, so that it runs slower than without.
 */
import type { PlanSpan } from "../base/spans.ts";

/** Timestamps of one query set at most (WebGPU's limit); later dispatches of a long run are not timed. */
const MOST_STAMPS = 4096;
/** Spans that are kept; the oldest go. */
const MOST_SPANS = 2000;

const now = (): number => performance.timeOrigin + performance.now();

export class Trace {
  private active = false;
  private recorded: PlanSpan[] = [];

  get on(): boolean {
    return this.active;
  }

  /** Turning it on forgets what was recorded before. */
  set on(value: boolean) {
    if (value && !this.active) this.recorded = [];
    this.active = value;
  }

  /** Oldest first. */
  get spans(): readonly PlanSpan[] {
    return this.recorded;
  }

  /** For one run of a plan; null while recording is off. */
  begin(device: GPUDevice, label: string, dispatches: number): Recording | null {
    if (!this.active) return null;
    return new Recording(device, label, dispatches, (span) => {
      this.recorded = [...this.recorded, span].slice(-MOST_SPANS);
    });
  }
}

interface Queries {
  readonly set: GPUQuerySet;
  readonly resolved: GPUBuffer;
  readonly mapped: GPUBuffer;
}

/** One run of a plan that is being recorded. */
export class Recording {
  private readonly device: GPUDevice;
  private readonly label: string;
  private readonly capacity: number;
  private readonly queries: Queries | null;
  private readonly done: (span: PlanSpan) => void;
  private readonly shaders: string[] = [];
  private readonly start = now();

  constructor(device: GPUDevice, label: string, dispatches: number, done: (span: PlanSpan) => void) {
    this.device = device;
    this.label = label;
    this.done = done;
    this.capacity = Math.min(2 * dispatches, MOST_STAMPS);
    this.queries = device.features.has("timestamp-query") ? this.create() : null;
  }

  private create(): Queries {
    const { device, capacity } = this;
    const size = capacity * 8;
    return {
      set: device.createQuerySet({ label: "trace", type: "timestamp", count: capacity }),
      resolved: device.createBuffer({ label: "trace", size, usage: 0x200 | 0x4 }), // QUERY_RESOLVE | COPY_SRC
      mapped: device.createBuffer({ label: "trace read", size, usage: 0x1 | 0x8 }), // MAP_READ | COPY_DST
    };
  }

  /** Where the pass of the next dispatch writes its timestamps; null if it is not timed. */
  next(shader: string): GPUComputePassTimestampWrites | null {
    const at = 2 * this.shaders.length;
    if (!this.queries || at + 2 > this.capacity) return null;
    this.shaders.push(shader);
    return { querySet: this.queries.set, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
  }

  /** Appended behind the last dispatch. */
  resolve(encoder: GPUCommandEncoder): void {
    const count = 2 * this.shaders.length;
    if (!this.queries || count === 0) return;
    encoder.resolveQuerySet(this.queries.set, 0, count, this.queries.resolved, 0);
    encoder.copyBufferToBuffer(this.queries.resolved, 0, this.queries.mapped, 0, 8 * count);
  }

  /** After the last submit: waits for the GPU and hands the span over. A lost device ends it without one. */
  async collect(): Promise<void> {
    const { queries, shaders, label, start } = this;
    try {
      const kernels = new Map<string, { shader: string; count: number; ms: number }>();
      if (queries && shaders.length > 0) {
        await queries.mapped.mapAsync(1);
        const stamps = new BigInt64Array(queries.mapped.getMappedRange());
        for (const [i, shader] of shaders.entries()) {
          const ms = Math.max(0, Number((stamps[2 * i + 1] as bigint) - (stamps[2 * i] as bigint)) / 1e6);
          const row = kernels.get(shader) ?? { shader, count: 0, ms: 0 };
          kernels.set(shader, { shader, count: row.count + 1, ms: row.ms + ms });
        }
      } else await this.device.queue.onSubmittedWorkDone();
      this.done({ label, start, end: now(), kernels: [...kernels.values()] });
    } catch {
      return; // the device is gone, and whoever runs the plan learns of that
    } finally {
      queries?.set.destroy();
      queries?.resolved.destroy();
      queries?.mapped.destroy();
    }
  }
}

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
  /**
   * Whole passes are timed instead of kernels, under the name "pass": dispatches stay together, and the time is that of a
   * run without recording.
   */
  passes = false;
  private active = false;
  private recorded: PlanSpan[] = [];
  private idle: Queries[] = [];
  private underWay = 0;

  get on(): boolean {
    return this.active;
  }

  /** Turning it on forgets what was recorded before. */
  set on(value: boolean) {
    if (value && !this.active) this.recorded = [];
    this.active = value;
    if (value) return;
    for (const queries of this.idle) destroy(queries);
    this.idle = [];
  }

  /** Runs that have begun and are in no span yet. */
  get pending(): number {
    return this.underWay;
  }

  /** Oldest first. */
  get spans(): readonly PlanSpan[] {
    return this.recorded;
  }

  /** For one run of a plan; null while recording is off. */
  begin(device: GPUDevice, label: string, dispatches: number): Recording | null {
    if (!this.active) return null;
    this.underWay++;
    const timed = device.features.has("timestamp-query");
    return new Recording(label, timed ? this.take(device, 2 * dispatches) : null, !this.passes, (span, queries) => {
      this.underWay--;
      if (span) this.recorded = [...this.recorded, span].slice(-MOST_SPANS);
      if (queries && span && this.active) this.idle.push(queries);
      else if (queries) destroy(queries);
    });
  }

  /** Room for at most so many timestamps: that of an earlier run, or new. */
  private take(device: GPUDevice, stamps: number): Queries {
    const capacity = Math.min(stamps, MOST_STAMPS);
    const at = this.idle.findIndex(({ set }) => set.count >= capacity);
    const [free] = at < 0 ? [] : this.idle.splice(at, 1);
    if (free) return free;
    const size = capacity * 8;
    return {
      set: device.createQuerySet({ label: "trace", type: "timestamp", count: capacity }),
      resolved: device.createBuffer({ label: "trace", size, usage: 0x200 | 0x4 }), // QUERY_RESOLVE | COPY_SRC
      mapped: device.createBuffer({ label: "trace read", size, usage: 0x1 | 0x8 }), // MAP_READ | COPY_DST
    };
  }
}

interface Queries {
  readonly set: GPUQuerySet;
  readonly resolved: GPUBuffer;
  readonly mapped: GPUBuffer;
}

function destroy({ set, resolved, mapped }: Queries): void {
  for (const object of [set, resolved, mapped]) object.destroy();
}

/** One run of a plan that is being recorded. */
export class Recording {
  private readonly label: string;
  private readonly queries: Queries | null;
  /** A pass of its own for each dispatch? */
  readonly single: boolean;
  private readonly done: (span: PlanSpan | null, queries: Queries | null) => void;
  private readonly shaders: string[] = [];
  private readonly start = now();

  /** `done` gets the queries back, and the span unless the device was lost. */
  constructor(
    label: string,
    queries: Queries | null,
    single: boolean,
    done: (span: PlanSpan | null, queries: Queries | null) => void,
  ) {
    this.label = label;
    this.queries = queries;
    this.single = single;
    this.done = done;
  }

  /** Where the pass of the next dispatch writes its timestamps, if that `opens` one; null if it is not timed. */
  next(shader: string, opens: boolean): GPUComputePassTimestampWrites | null {
    if (!opens) return null;
    const at = 2 * this.shaders.length;
    if (!this.queries || at + 2 > this.queries.set.count) return null;
    this.shaders.push(this.single ? shader : "pass");
    return { querySet: this.queries.set, beginningOfPassWriteIndex: at, endOfPassWriteIndex: at + 1 };
  }

  /** Appended behind the last dispatch. */
  resolve(encoder: GPUCommandEncoder): void {
    const count = 2 * this.shaders.length;
    if (!this.queries || count === 0) return;
    encoder.resolveQuerySet(this.queries.set, 0, count, this.queries.resolved, 0);
    encoder.copyBufferToBuffer(this.queries.resolved, 0, this.queries.mapped, 0, 8 * count);
  }

  /** After the last submit: waits for the GPU and hands the span over. */
  async collect(device: GPUDevice): Promise<void> {
    const { queries, shaders, label, start } = this;
    const kernels = new Map<string, { shader: string; count: number; ms: number }>();
    try {
      if (queries && shaders.length > 0) {
        await queries.mapped.mapAsync(1);
        const stamps = new BigInt64Array(queries.mapped.getMappedRange());
        for (const [i, shader] of shaders.entries()) {
          const ms = Math.max(0, Number((stamps[2 * i + 1] as bigint) - (stamps[2 * i] as bigint)) / 1e6);
          const row = kernels.get(shader) ?? { shader, count: 0, ms: 0 };
          kernels.set(shader, { shader, count: row.count + 1, ms: row.ms + ms });
        }
        queries.mapped.unmap();
      } else await device.queue.onSubmittedWorkDone();
    } catch {
      this.done(null, queries); // the device is gone, and whoever runs the plan learns of that
      return;
    }
    this.done({ label, start, end: now(), kernels: [...kernels.values()] }, queries);
  }
}

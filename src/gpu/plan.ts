/**
 * A compiled graph: a flat list of dispatches with pre-built bind groups. A step writes its inputs, encodes the list
 * (in slices that stay under the watchdog on slow adapters), submits, and reads back asynchronously.
 */
import type { Tensor } from "./graph.ts";
import { align, layoutOf, rootOf, type Traced } from "./layout.ts";
import type { Patience } from "./patience.ts";
import type { Pipelines } from "./pipelines.ts";
import { type Dispatched, type Profile, profileSteps } from "./profile.ts";
import type { Trace } from "./trace.ts";

const STORAGE_RW = 0x80 | 0x8 | 0x4; // STORAGE | COPY_DST | COPY_SRC: GPUBufferUsage does not exist in every worker scope
const UNIFORM = 0x40 | 0x8;
const MAP_READ = 0x1 | 0x8;

interface Staging {
  readonly buffer: GPUBuffer;
  readonly size: number;
  busy: boolean;
}

/** Bytes of the buffer through which tensors are read back. */
export const readbackBytes = (tensors: readonly Tensor[]): number =>
  tensors.reduce((sum, tensor) => sum + align(tensor.size * 4), 0);

/** A machine that slept while the GPU worked owes no more rest than this. */
const LONGEST_REST_MS = 1000;

/**
 * Splits a long plan into submits near `targetMs`, from the measured speed of the last ones. In gentle mode the end of
 * every plan is waited for too, and work is followed by rest in the proportion of `restMs` to `targetMs`, whether it is
 * one long plan or many short ones.
 */
export class Pace {
  /** Estimated GFLOP/s of this adapter on our plans; grows and shrinks with what is measured. */
  private rate: number;
  /** Milliseconds of work in one submit. */
  targetMs: number;
  /** Rest after `targetMs` of work, for a machine whose screen shares the GPU; 0 is not gentle. */
  restMs = 0;
  /** Rest that was due at `ended`, the end of the last work waited for. */
  private owed = 0;
  private ended = 0;

  constructor(targetMs = 100, rate = 2) {
    this.targetMs = targetMs;
    this.rate = rate;
  }

  get gentle(): boolean {
    return this.restMs > 0;
  }

  get budget(): number {
    return this.rate * 1e6 * this.targetMs;
  }

  measured(flops: number, ms: number): void {
    if (flops < 1e6) return;
    const rate = flops / (Math.max(ms, 0.1) * 1e6);
    // What took more than twice as long is believed at once: a browser's watchdog waits for no mean.
    this.rate = rate < this.rate / 2 ? rate : 0.7 * this.rate + 0.3 * Math.min(rate, this.rate * 8);
  }

  /**
   * Waits until a submit is done. Nothing is learnt from a small and short one: its time is more the wait's than the
   * adapter's.
   */
  async follow(flops: number, done: () => Promise<unknown>): Promise<void> {
    const full = flops > this.budget;
    const began = performance.now();
    await done();
    this.ended = performance.now();
    const ms = this.ended - began;
    if (full || ms > this.targetMs) this.measured(flops, ms);
    this.owed = Math.min(this.owed + (ms * this.restMs) / this.targetMs, LONGEST_REST_MS);
  }

  /** Before more is submitted: sleeps if half of `restMs` or more is due. Time in which the host was busy counts as rest. */
  async rest(): Promise<void> {
    const now = performance.now();
    this.owed = Math.max(0, this.owed - (now - this.ended));
    this.ended = now;
    if (this.owed < this.restMs / 2) return;
    await new Promise((resolve) => setTimeout(resolve, this.owed));
    this.owed = 0;
  }
}

export class Plan {
  readonly label: string;
  readonly bytes: number;
  private readonly work: number;
  private readonly device: GPUDevice;
  private readonly steps: readonly Dispatched[];
  private readonly owned: readonly GPUBuffer[];
  private readonly kept: ReadonlyMap<number, GPUBuffer>;
  private readonly onDestroy: () => void;
  private readonly patience: Patience;
  private readonly recorder: Trace;
  private staging: Staging[] = [];
  private destroyed = false;
  /** How often it has run. */
  runs = 0;

  constructor(
    label: string,
    device: GPUDevice,
    steps: readonly Dispatched[],
    owned: readonly GPUBuffer[],
    kept: ReadonlyMap<number, GPUBuffer>,
    patience: Patience,
    recorder: Trace,
    onDestroy: () => void,
  ) {
    this.patience = patience;
    this.recorder = recorder;
    this.label = label;
    this.onDestroy = onDestroy;
    this.device = device;
    this.steps = steps;
    this.owned = owned;
    this.kept = kept;
    this.work = steps.reduce((sum, step) => sum + step.flops, 0);
    this.bytes = owned.reduce((sum, buffer) => sum + buffer.size, 0);
  }

  get dispatches(): number {
    return this.steps.length;
  }

  /** Floating-point operations of one run. */
  get flops(): number {
    return this.work;
  }

  bufferOf(tensor: Tensor): { buffer: GPUBuffer; offset: number } {
    const { storage } = tensor;
    if (storage.kind === "bound") return { buffer: storage.buffer, offset: storage.offset };
    const buffer = this.kept.get(rootOf(tensor).id);
    if (!buffer) throw new Error(`plan ${this.label}: ${tensor.name} is a temporary, it has no bytes outside a step`);
    return { buffer, offset: storage.kind === "view" ? storage.offset : 0 };
  }

  write(tensor: Tensor, data: Float32Array | Uint32Array): void {
    if (data.length !== tensor.size)
      throw new Error(`plan ${this.label}: ${tensor.name} takes ${tensor.size} elements, got ${data.length}`);
    const { buffer, offset } = this.bufferOf(tensor);
    this.device.queue.writeBuffer(buffer, offset, data.buffer, data.byteOffset, data.byteLength);
  }

  /**
   * Encodes all dispatches `times` times and submits; more than one submit if the estimated work exceeds the pace. A
   * gentle pace also waits until all is done.
   */
  async run(pace?: Pace, times = 1): Promise<void> {
    await this.submit(pace, times);
  }

  /**
   * One run that clears buffers first and copies `read` out last, all in the submits of the run itself. Resolves when
   * everything is submitted, with a gentle pace when it is done; `results` when the GPU has done it. The next run may
   * begin before that: results are copies, and no run disturbs those of another.
   */
  async start(options: {
    readonly pace?: Pace | undefined;
    readonly clear?: readonly GPUBuffer[];
    readonly read?: readonly Tensor[];
  }): Promise<{ readonly results: Promise<(Float32Array | Uint32Array)[]> }> {
    const { pace, clear = [], read = [] } = options;
    const slot = this.stage(read);
    await this.submit(
      pace,
      1,
      (encoder) => {
        for (const buffer of clear) encoder.clearBuffer(buffer);
      },
      (encoder) => this.copy(encoder, read, slot),
    );
    const results = this.collect(read, slot);
    results.catch(() => {}); // whoever awaits it learns of it; nobody has to
    return { results };
  }

  /** Reads tensors back in one copy and one map. */
  async read(...tensors: readonly Tensor[]): Promise<(Float32Array | Uint32Array)[]> {
    const slot = this.stage(tensors);
    const encoder = this.device.createCommandEncoder();
    this.copy(encoder, tensors, slot);
    this.device.queue.submit([encoder.finish()]);
    return this.collect(tensors, slot);
  }

  private async submit(
    pace: Pace | undefined,
    times: number,
    before?: (encoder: GPUCommandEncoder) => void,
    after?: (encoder: GPUCommandEncoder) => void,
  ): Promise<void> {
    if (pace?.gentle) await pace.rest();
    const { device, steps } = this;
    const done = () => this.patience.around(() => device.queue.onSubmittedWorkDone());
    const begin = () => device.createCommandEncoder({ label: this.label });
    let encoder: GPUCommandEncoder | null = begin();
    let pass: GPUComputePassEncoder | null = null;
    let flops = 0;
    before?.(encoder);
    const recording = this.recorder.begin(device, this.label, times * steps.length);
    const flush = () => {
      pass?.end();
      if (encoder) device.queue.submit([encoder.finish()]);
      encoder = null;
      pass = null;
    };
    const total = times * steps.length;
    for (let i = 0; i < total; i++) {
      const step = steps[i % steps.length] as Dispatched;
      encoder ??= begin();
      const timestampWrites: GPUComputePassTimestampWrites | null | undefined = recording?.next(
        step.shader,
        pass === null,
      );
      pass ??= encoder.beginComputePass({ label: this.label, ...(timestampWrites ? { timestampWrites } : {}) });
      pass.setPipeline(step.pipeline);
      pass.setBindGroup(0, step.group);
      pass.dispatchWorkgroups(...step.workgroups);
      if (timestampWrites && recording?.single) {
        pass.end();
        pass = null;
      }
      flops += step.flops;
      if (pace && flops > pace.budget && i < total - 1) {
        flush();
        await pace.follow(flops, done);
        flops = 0;
        if (pace.gentle) await pace.rest();
      }
    }
    (pass as GPUComputePassEncoder | null)?.end();
    pass = null;
    encoder ??= begin();
    after?.(encoder);
    recording?.resolve(encoder);
    flush();
    void recording?.collect(device);
    this.runs += times;
    if (pace?.gentle) await pace.follow(flops, done);
  }

  /** A place for copies of tensors that the host may map; kept and used again. */
  private stage(tensors: readonly Tensor[]): Staging {
    const total = readbackBytes(tensors);
    let slot = this.staging.find((s) => !s.busy && s.size >= total);
    if (!slot) {
      const buffer = this.device.createBuffer({ label: `${this.label} readback`, size: total, usage: MAP_READ });
      slot = { buffer, size: total, busy: false };
      this.staging.push(slot);
    }
    slot.busy = true;
    return slot;
  }

  private copy(encoder: GPUCommandEncoder, tensors: readonly Tensor[], slot: Staging): void {
    let at = 0;
    for (const tensor of tensors) {
      const { buffer, offset } = this.bufferOf(tensor);
      encoder.copyBufferToBuffer(buffer, offset, slot.buffer, at, tensor.size * 4);
      at += align(tensor.size * 4);
    }
  }

  private async collect(tensors: readonly Tensor[], slot: Staging): Promise<(Float32Array | Uint32Array)[]> {
    const total = readbackBytes(tensors);
    let bytes: ArrayBuffer;
    try {
      await this.patience.around(() => slot.buffer.mapAsync(1, 0, total));
      bytes = slot.buffer.getMappedRange(0, total).slice(0);
      slot.buffer.unmap();
    } finally {
      slot.busy = false; // also when the device was lost: what is busy outlives the plan
      if (this.destroyed) slot.buffer.destroy();
    }
    let at = 0;
    return tensors.map((tensor) => {
      const view =
        tensor.dtype === "u32" ? new Uint32Array(bytes, at, tensor.size) : new Float32Array(bytes, at, tensor.size);
      at += align(tensor.size * 4);
      return view;
    });
  }

  /** Time of each kernel, run at least `repeat` times in a row. For profiles only: it changes what the plan holds. */
  profile(repeat = 5): Promise<Profile> {
    return this.patience.around(() => profileSteps(this.device, this.steps, repeat));
  }

  /** Frees the plan's buffers. What was submitted still runs, and a read that is under way still gets its values. */
  destroy(): void {
    this.destroyed = true;
    for (const buffer of this.owned) buffer.destroy();
    for (const slot of this.staging) if (!slot.busy) slot.buffer.destroy();
    this.staging = [];
    this.onDestroy();
  }
}

/** Allocates the buffers of a graph's layout, compiles pipelines in parallel, builds every bind group. */
export async function compile(label: string, graph: Traced, device: GPUDevice, pipelines: Pipelines): Promise<Plan> {
  const { dispatches, tensors } = graph;
  const layout = layoutOf(label, graph);
  const owned = layout.buffers.map(({ name, bytes }, i) =>
    device.createBuffer({
      label: `${label}: ${name}`,
      size: bytes,
      usage: i === layout.buffers.length - 1 ? UNIFORM : STORAGE_RW,
    }),
  );
  const uniformBuffer = owned.at(-1) as GPUBuffer;
  device.queue.writeBuffer(uniformBuffer, 0, layout.uniforms.words);
  const placeOf = ({ id }: Tensor): { buffer: GPUBuffer; offset: number } => {
    const place = layout.places.get(id);
    if (!place) throw new Error(`plan ${label}: tensor ${id} has no place`);
    return place.kind === "bound" ? place : { buffer: owned[place.buffer] as GPUBuffer, offset: place.offset };
  };
  const kept = new Map(
    tensors.filter(({ storage }) => storage.kind === "kept").map((tensor) => [tensor.id, placeOf(tensor).buffer]),
  );

  const compiled = await Promise.all(dispatches.map((dispatch) => pipelines.get(dispatch.shader, dispatch.constants)));
  device.pushErrorScope("validation");
  const steps = dispatches.map((dispatch, i): Dispatched => {
    const pipeline = compiled[i] as GPUComputePipeline;
    const entries: GPUBindGroupEntry[] = dispatch.bindings.map(({ tensor }, b) => ({
      binding: b + 1,
      resource: { ...placeOf(tensor), size: Math.max(16, tensor.size * 4) },
    }));
    if (dispatch.uniforms.length > 0)
      entries.push({
        binding: 0,
        resource: {
          buffer: uniformBuffer,
          offset: layout.uniforms.offsets[i] as number,
          size: align16(dispatch.uniforms.length * 4),
        },
      });
    const group = device.createBindGroup({
      label: `${label}: ${dispatch.shader}`,
      layout: pipeline.getBindGroupLayout(0),
      entries,
    });
    const { workgroups, flops, shader, bindings } = dispatch;
    const bytes = bindings.reduce((sum, { tensor }) => sum + tensor.size * 4, 0);
    return { pipeline, group, workgroups, flops, bytes, shader };
  });
  const error = await device.popErrorScope();
  if (error) throw new Error(`plan ${label}: ${error.message}`);
  const plan: Plan = new Plan(label, device, steps, owned, kept, pipelines.patience, pipelines.trace, () =>
    pipelines.plans.delete(plan),
  );
  pipelines.plans.add(plan);
  return plan;
}

const align16 = (bytes: number) => Math.ceil(bytes / 16) * 16;

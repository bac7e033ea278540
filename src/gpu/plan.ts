/**
 * A compiled graph: a flat list of dispatches with pre-built bind groups. A step writes its inputs, encodes the list
 * (in slices that stay under the watchdog on slow adapters), submits, and reads back asynchronously.
 */
import type { Dispatch, Graph, Tensor } from "./graph.ts";
import type { Patience } from "./patience.ts";
import type { Pipelines } from "./pipelines.ts";

const ALIGN = 256;
const align = (bytes: number) => Math.ceil(bytes / ALIGN) * ALIGN;
const STORAGE_RW = 0x80 | 0x8 | 0x4; // STORAGE | COPY_DST | COPY_SRC: GPUBufferUsage does not exist in every worker scope
const UNIFORM = 0x40 | 0x8;
const MAP_READ = 0x1 | 0x8;

interface Step {
  readonly pipeline: GPUComputePipeline;
  readonly group: GPUBindGroup;
  readonly workgroups: readonly [number, number, number];
  readonly flops: number;
  readonly shader: string;
}

/** Splits a long plan into submits near `targetMs`, from the measured speed of the last ones. */
export class Pace {
  /** Estimated GFLOP/s of this adapter on our plans; grows and shrinks with what is measured. */
  private rate: number;
  /** Milliseconds of work in one submit. */
  targetMs: number;
  /** Pause after each submit, for a machine whose screen shares the GPU. */
  restMs = 0;

  constructor(targetMs = 100, rate = 2) {
    this.targetMs = targetMs;
    this.rate = rate;
  }

  get budget(): number {
    return this.rate * 1e6 * this.targetMs;
  }

  measured(flops: number, ms: number): void {
    if (flops < 1e6) return;
    const rate = flops / (Math.max(ms, 0.1) * 1e6);
    this.rate = 0.7 * this.rate + 0.3 * Math.min(rate, this.rate * 8);
  }
}

export class Plan {
  readonly label: string;
  readonly bytes: number;
  private readonly work: number;
  private readonly device: GPUDevice;
  private readonly steps: readonly Step[];
  private readonly owned: readonly GPUBuffer[];
  private readonly kept: ReadonlyMap<number, GPUBuffer>;
  private readonly onDestroy: () => void;
  private readonly patience: Patience;
  private staging: { buffer: GPUBuffer; size: number; busy: boolean }[] = [];

  constructor(
    label: string,
    device: GPUDevice,
    steps: readonly Step[],
    owned: readonly GPUBuffer[],
    kept: ReadonlyMap<number, GPUBuffer>,
    patience: Patience,
    onDestroy: () => void,
  ) {
    this.patience = patience;
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
    if (tensor.storage.kind === "bound") return { buffer: tensor.storage.buffer, offset: tensor.storage.offset };
    const buffer = this.kept.get(tensor.id);
    if (!buffer) throw new Error(`plan ${this.label}: ${tensor.name} is a temporary, it has no bytes outside a step`);
    return { buffer, offset: 0 };
  }

  write(tensor: Tensor, data: Float32Array | Uint32Array): void {
    if (data.length !== tensor.size)
      throw new Error(`plan ${this.label}: ${tensor.name} takes ${tensor.size} elements, got ${data.length}`);
    const { buffer, offset } = this.bufferOf(tensor);
    this.device.queue.writeBuffer(buffer, offset, data.buffer, data.byteOffset, data.byteLength);
  }

  /** Encodes all dispatches `times` times and submits; more than one submit if the estimated work exceeds the pace. */
  async run(pace?: Pace, times = 1): Promise<void> {
    const { device, steps } = this;
    let encoder: GPUCommandEncoder | null = null;
    let pass: GPUComputePassEncoder | null = null;
    let flops = 0;
    const flush = () => {
      pass?.end();
      if (encoder) device.queue.submit([encoder.finish()]);
      encoder = null;
      pass = null;
    };
    for (let round = 0; round < times; round++) {
      for (const step of steps) {
        if (!pass) {
          encoder = device.createCommandEncoder({ label: this.label });
          pass = encoder.beginComputePass({ label: this.label });
        }
        pass.setPipeline(step.pipeline);
        pass.setBindGroup(0, step.group);
        pass.dispatchWorkgroups(...step.workgroups);
        flops += step.flops;
        if (pace && flops > pace.budget) {
          flush();
          const began = performance.now();
          await device.queue.onSubmittedWorkDone();
          pace.measured(flops, performance.now() - began);
          flops = 0;
          if (pace.restMs > 0) await new Promise((resolve) => setTimeout(resolve, pace.restMs));
        }
      }
    }
    flush();
    this.patience.submitted(this.label, this.work * times);
  }

  /** Reads tensors back in one copy and one map. */
  async read(...tensors: readonly Tensor[]): Promise<(Float32Array | Uint32Array)[]> {
    const sizes = tensors.map((tensor) => align(tensor.size * 4));
    const total = sizes.reduce((a, b) => a + b, 0);
    let slot = this.staging.find((s) => !s.busy && s.size >= total);
    if (!slot) {
      slot = {
        buffer: this.device.createBuffer({ label: `${this.label} readback`, size: total, usage: MAP_READ }),
        size: total,
        busy: false,
      };
      this.staging.push(slot);
    }
    slot.busy = true;
    const encoder = this.device.createCommandEncoder();
    let at = 0;
    for (const [i, tensor] of tensors.entries()) {
      const { buffer, offset } = this.bufferOf(tensor);
      encoder.copyBufferToBuffer(buffer, offset, slot.buffer, at, tensor.size * 4);
      at += sizes[i] as number;
    }
    this.device.queue.submit([encoder.finish()]);
    const { buffer } = slot;
    await this.patience.around(() => buffer.mapAsync(1, 0, total));
    const bytes = slot.buffer.getMappedRange(0, total).slice(0);
    slot.buffer.unmap();
    slot.busy = false;
    at = 0;
    return tensors.map((tensor, i) => {
      const view =
        tensor.dtype === "u32" ? new Uint32Array(bytes, at, tensor.size) : new Float32Array(bytes, at, tensor.size);
      at += sizes[i] as number;
      return view;
    });
  }

  /** Time of each shader in ms, by submitting one dispatch at a time `repeat` times. For profiles only. */
  async profile(repeat = 5): Promise<{ shader: string; count: number; ms: number; flops: number }[]> {
    const rows = new Map<string, { shader: string; count: number; ms: number; flops: number }>();
    for (const step of this.steps) {
      await this.device.queue.onSubmittedWorkDone();
      const began = performance.now();
      for (let i = 0; i < repeat; i++) {
        const encoder = this.device.createCommandEncoder();
        const pass = encoder.beginComputePass();
        pass.setPipeline(step.pipeline);
        pass.setBindGroup(0, step.group);
        pass.dispatchWorkgroups(...step.workgroups);
        pass.end();
        this.device.queue.submit([encoder.finish()]);
      }
      await this.device.queue.onSubmittedWorkDone();
      const ms = (performance.now() - began) / repeat;
      const row = rows.get(step.shader) ?? { shader: step.shader, count: 0, ms: 0, flops: 0 };
      rows.set(step.shader, {
        shader: step.shader,
        count: row.count + 1,
        ms: row.ms + ms,
        flops: row.flops + step.flops,
      });
    }
    return [...rows.values()].sort((a, b) => b.ms - a.ms);
  }

  destroy(): void {
    for (const buffer of this.owned) buffer.destroy();
    for (const slot of this.staging) slot.buffer.destroy();
    this.staging = [];
    this.onDestroy();
  }
}

/** Places temporaries by lifetime in shared buffers, compiles pipelines in parallel, builds every bind group. */
export async function compile(label: string, graph: Graph, device: GPUDevice, pipelines: Pipelines): Promise<Plan> {
  const { dispatches, tensors } = graph;
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  for (const [i, dispatch] of dispatches.entries())
    for (const { tensor, access } of dispatch.bindings) {
      if (!first.has(tensor.id)) {
        if (tensor.storage.kind === "temp" && access === "read")
          throw new Error(`plan ${label}: ${dispatch.shader} reads ${tensor.name} before anything wrote it`);
        first.set(tensor.id, i);
      }
      last.set(tensor.id, i);
    }

  const owned: GPUBuffer[] = [];
  const create = (name: string, size: number, usage: number) => {
    const buffer = device.createBuffer({ label: `${label}: ${name}`, size: Math.max(16, size), usage });
    owned.push(buffer);
    return buffer;
  };
  const place = new Map<number, { buffer: GPUBuffer; offset: number }>();
  const kept = new Map<number, GPUBuffer>();
  for (const tensor of tensors) {
    if (tensor.storage.kind === "bound") place.set(tensor.id, tensor.storage);
    if (tensor.storage.kind === "kept") {
      const buffer = create(tensor.name, align(tensor.size * 4), STORAGE_RW);
      kept.set(tensor.id, buffer);
      place.set(tensor.id, { buffer, offset: 0 });
    }
  }
  // Temporaries of disjoint lifetimes share a slot (best fit). Separate buffers, since WebGPU forbids a buffer
  // to be read-only and writable in one dispatch.
  const slots: { bytes: number; free: boolean; members: number[] }[] = [];
  const slotOf = new Map<number, number>();
  const temps = tensors.filter((t) => t.storage.kind === "temp" && first.has(t.id));
  const startsAt = groupBy(temps, (t) => first.get(t.id) as number);
  const endsAt = groupBy(temps, (t) => last.get(t.id) as number);
  for (let i = 0; i < dispatches.length; i++) {
    for (const tensor of startsAt.get(i) ?? []) {
      const bytes = align(tensor.size * 4);
      const free = slots.map((s, at) => ({ s, at })).filter(({ s }) => s.free);
      const fits = free.filter(({ s }) => s.bytes >= bytes).sort((a, b) => a.s.bytes - b.s.bytes)[0];
      const grown = fits ?? free.sort((a, b) => b.s.bytes - a.s.bytes)[0];
      const at = grown ? grown.at : slots.push({ bytes: 0, free: true, members: [] }) - 1;
      const slot = slots[at] as (typeof slots)[number];
      slot.bytes = Math.max(slot.bytes, bytes);
      slot.free = false;
      slotOf.set(tensor.id, at);
    }
    for (const tensor of endsAt.get(i) ?? [])
      (slots[slotOf.get(tensor.id) as number] as (typeof slots)[number]).free = true;
  }
  const slotBuffers = slots.map((slot, at) => create(`slot ${at}`, slot.bytes, STORAGE_RW));
  for (const [id, at] of slotOf) place.set(id, { buffer: slotBuffers[at] as GPUBuffer, offset: 0 });

  const uniforms = packUniforms(dispatches);
  const uniformBuffer = create("uniforms", uniforms.words.byteLength, UNIFORM);
  device.queue.writeBuffer(uniformBuffer, 0, uniforms.words);

  for (const { shader, bindings } of dispatches)
    for (const { tensor } of bindings.filter(({ access }) => access === "write"))
      if (
        bindings.some(
          (other) => other.access === "read" && place.get(other.tensor.id)?.buffer === place.get(tensor.id)?.buffer,
        )
      )
        throw new Error(
          `plan ${label}: ${shader} reads and writes ${tensor.name} in one dispatch, which WebGPU forbids`,
        );

  const compiled = await Promise.all(dispatches.map((dispatch) => pipelines.get(dispatch.shader, dispatch.constants)));
  device.pushErrorScope("validation");
  const steps = dispatches.map((dispatch, i): Step => {
    const pipeline = compiled[i] as GPUComputePipeline;
    const entries: GPUBindGroupEntry[] = dispatch.bindings.map(({ tensor }, b) => {
      const { buffer, offset } = place.get(tensor.id) as { buffer: GPUBuffer; offset: number };
      return { binding: b + 1, resource: { buffer, offset, size: Math.max(16, tensor.size * 4) } };
    });
    if (dispatch.uniforms.length > 0)
      entries.push({
        binding: 0,
        resource: {
          buffer: uniformBuffer,
          offset: uniforms.offsets[i] as number,
          size: align16(dispatch.uniforms.length * 4),
        },
      });
    const group = device.createBindGroup({
      label: `${label}: ${dispatch.shader}`,
      layout: pipeline.getBindGroupLayout(0),
      entries,
    });
    return { pipeline, group, workgroups: dispatch.workgroups, flops: dispatch.flops, shader: dispatch.shader };
  });
  const error = await device.popErrorScope();
  if (error) throw new Error(`plan ${label}: ${error.message}`);
  const plan: Plan = new Plan(label, device, steps, owned, kept, pipelines.patience, () =>
    pipelines.plans.delete(plan),
  );
  pipelines.plans.add(plan);
  return plan;
}

const align16 = (bytes: number) => Math.ceil(bytes / 16) * 16;

function groupBy<T>(items: readonly T[], key: (item: T) => number): Map<number, T[]> {
  const groups = new Map<number, T[]>();
  for (const item of items) {
    const group = groups.get(key(item));
    if (group) group.push(item);
    else groups.set(key(item), [item]);
  }
  return groups;
}

/** All uniforms of a plan in one buffer; equal ones share their place. */
function packUniforms(dispatches: readonly Dispatch[]): { words: Uint8Array<ArrayBuffer>; offsets: number[] } {
  const at = new Map<string, number>();
  const offsets: number[] = [];
  const blocks: ArrayBuffer[] = [];
  let total = 0;
  for (const { uniforms } of dispatches) {
    const block = new ArrayBuffer(align(Math.max(16, uniforms.length * 4)));
    const view = new DataView(block);
    for (const [i, word] of uniforms.entries()) {
      if (typeof word === "number") view.setUint32(i * 4, word, true);
      else view.setFloat32(i * 4, word.f32, true);
    }
    const key = new Uint8Array(block).join(",");
    let offset = at.get(key);
    if (offset === undefined) {
      offset = total;
      at.set(key, offset);
      blocks.push(block);
      total += block.byteLength;
    }
    offsets.push(offset);
  }
  const words = new Uint8Array(Math.max(total, ALIGN));
  let cursor = 0;
  for (const block of blocks) {
    words.set(new Uint8Array(block), cursor);
    cursor += block.byteLength;
  }
  return { words, offsets };
}

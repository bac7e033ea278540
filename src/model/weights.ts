/**
 * A model's tensors on the GPU. Every linear weight is held in both orders: (out, in) as in the file, needed by
 * gradients, and (in, out), read by the forward pass. Trainable weights lie in one flat buffer, so that AdamW is one
 * dispatch; gradients and moments are buffers of the same layout.
 */
import { Graph, type Tensor } from "../gpu/graph.ts";
import type { Pipelines } from "../gpu/pipelines.ts";
import { compile, type Plan } from "../gpu/plan.ts";
import type { OpContext, Variants } from "../ops/context.ts";
import type { Lora, Weight } from "../ops/linear.ts";
import { matmulNN, reduceSum, transpose } from "../ops/matmul.ts";
import {
  type ModelConfig,
  PROJECTIONS,
  type Projection,
  projectionPath,
  projectionShape,
  tensorShapes,
} from "./config.ts";
import type { LoraAdapter, LoraPair } from "./peft.ts";
import type { Tensor as HostTensor } from "./safetensors.ts";

/** A device with its compiled kernels and pinned variants: what every part of the engine is built on. */
export interface Runtime {
  readonly device: GPUDevice;
  readonly pipelines: Pipelines;
  readonly variants: Variants;
}

const STORAGE = 0x80 | 0x8 | 0x4;
const align = (bytes: number) => Math.ceil(bytes / 256) * 256;

interface Place {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  readonly shape: readonly number[];
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/**
 * Lays named tensors out one after another, each at a multiple of 256 bytes; the gaps are zero and stay zero.
 * They lie in one buffer where the device allows one of that size, else in as few as possible: enough for frozen
 * weights, while what is trained must fit one binding. Throws if a tensor is larger than a binding may be.
 */
export class FlatTensors {
  readonly places: ReadonlyMap<string, Place>;
  readonly buffers: readonly GPUBuffer[];
  readonly bytes: number;
  private readonly device: GPUDevice;
  private readonly label: string;

  constructor(device: GPUDevice, label: string, shapes: ReadonlyMap<string, readonly number[]>) {
    this.device = device;
    this.label = label;
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    const sizes: number[] = [];
    const layout = new Map<string, { buffer: number; offset: number; shape: readonly number[] }>();
    for (const [name, shape] of shapes) {
      const bytes = align(shape.reduce((a, b) => a * b, 4));
      if (bytes > Math.min(maxBufferSize, maxStorageBufferBindingSize)) {
        throw new Error(
          `tensor ${name} takes ${mebibytes(bytes)}, but this GPU binds at most ${mebibytes(maxStorageBufferBindingSize)} at once: the model is too large for it`,
        );
      }
      if (sizes.length === 0 || (sizes.at(-1) as number) + bytes > maxBufferSize) sizes.push(0);
      const buffer = sizes.length - 1;
      layout.set(name, { buffer, offset: sizes[buffer] as number, shape });
      sizes[buffer] = (sizes[buffer] as number) + bytes;
    }
    if (sizes.length === 0) sizes.push(256);
    this.bytes = sizes.reduce((a, b) => a + b, 0);
    this.buffers = sizes.map((size) => device.createBuffer({ label, size, usage: STORAGE }));
    this.places = new Map(
      [...layout].map(([name, { buffer, ...rest }]) => [name, { ...rest, buffer: this.buffers[buffer] as GPUBuffer }]),
    );
  }

  place(name: string): Place {
    const place = this.places.get(name);
    if (!place) throw new Error(`there is no tensor ${name}`);
    return place;
  }

  /** The one buffer that holds everything. Throws if the device's limits made it several. */
  get buffer(): GPUBuffer {
    const [buffer, ...others] = this.buffers as [GPUBuffer, ...GPUBuffer[]];
    if (others.length > 0)
      throw new Error(
        `"${this.label}" takes ${mebibytes(this.bytes)}, more than one buffer of this GPU may hold: the model is too large to be trained whole here, train an adapter`,
      );
    return buffer;
  }

  write(name: string, data: Float32Array): void {
    const { buffer, offset, shape } = this.place(name);
    const size = shape.reduce((a, b) => a * b, 1);
    if (data.length !== size) throw new Error(`[shape] ${name}: want ${size} elements, got ${data.length}`);
    this.device.queue.writeBuffer(buffer, offset, data as Float32Array<ArrayBuffer>);
  }

  /** The whole buffer as host memory, in the layout of `places`. */
  async read(): Promise<Float32Array<ArrayBuffer>> {
    return readBuffer(this.device, this.buffer, this.bytes);
  }

  writeAll(data: Float32Array): void {
    if (data.byteLength !== this.bytes)
      throw new Error(`${this.label}: want ${this.bytes} bytes, got ${data.byteLength}`);
    this.device.queue.writeBuffer(this.buffer, 0, data as Float32Array<ArrayBuffer>);
  }

  /** One tensor out of a host copy made by `read`. */
  slice(host: Float32Array, name: string): Float32Array<ArrayBuffer> {
    const { offset, shape } = this.place(name);
    return host.slice(offset / 4, offset / 4 + shape.reduce((a, b) => a * b, 1)) as Float32Array<ArrayBuffer>;
  }

  bind(g: Graph, name: string, options: { requiresGrad?: boolean; grad?: Tensor } = {}): Tensor {
    const { buffer, offset, shape } = this.place(name);
    return g.bound(name, shape, buffer, offset, options);
  }

  /** Everything as one vector, for AdamW. Throws if it exceeds what this GPU binds at once. */
  bindAll(g: Graph, label: string): Tensor {
    const limit = this.device.limits.maxStorageBufferBindingSize;
    if (this.bytes > limit)
      throw new Error(
        `"${this.label}" takes ${mebibytes(this.bytes)}, but this GPU trains at most ${mebibytes(limit)} at once: take a lower rank or fewer target modules`,
      );
    return g.bound(label, [this.bytes / 4], this.buffer, 0);
  }

  destroy(): void {
    for (const buffer of this.buffers) buffer.destroy();
  }
}

/** Copies a buffer to the host. */
export async function readBuffer(
  device: GPUDevice,
  buffer: GPUBuffer,
  bytes: number,
): Promise<Float32Array<ArrayBuffer>> {
  const staging = device.createBuffer({ label: "readback", size: bytes, usage: 0x1 | 0x8 });
  const encoder = device.createCommandEncoder();
  encoder.copyBufferToBuffer(buffer, 0, staging, 0, bytes);
  device.queue.submit([encoder.finish()]);
  try {
    await staging.mapAsync(1);
    return new Float32Array(staging.getMappedRange().slice(0));
  } finally {
    staging.destroy();
  }
}

/** Tensors of one decoder, bound into a graph. */
export interface DecoderTensors {
  readonly table: Tensor;
  readonly head: Weight;
  readonly norm: Tensor;
  readonly layers: readonly LayerTensors[];
  readonly vision: { readonly patch: Weight; readonly position: Tensor } | null;
}

export interface LayerTensors {
  readonly inputNorm: Tensor;
  readonly postNorm: Tensor;
  readonly projections: Readonly<Record<Projection, Weight>>;
  readonly lora: Partial<Record<Projection, Lora>>;
}

const EMBED = "model.embed_tokens.weight";
const VISION = "model.vision_embed";

/** Linear weights that the forward pass reads transposed. */
function linearNames(config: ModelConfig): string[] {
  const names = [config.tie_word_embeddings ? EMBED : "lm_head.weight"];
  if (config.vision) names.push(`${VISION}.weight`);
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const name of PROJECTIONS) names.push(`${projectionPath(layer, name)}.weight`);
  return names;
}

export class ModelWeights {
  readonly config: ModelConfig;
  readonly values: FlatTensors;
  readonly transposed: FlatTensors;
  private readonly runtime: Runtime;

  /** `tensors` null: the places alone, nothing is written (to say how much memory they take). */
  constructor(runtime: Runtime, config: ModelConfig, tensors: ReadonlyMap<string, HostTensor> | null) {
    this.runtime = runtime;
    this.config = config;
    const shapes = tensorShapes(config);
    this.values = new FlatTensors(runtime.device, "weights", shapes);
    const flipped = new Map(
      linearNames(config).map((name) => [name, [...(shapes.get(name) as readonly number[])].reverse()]),
    );
    this.transposed = new FlatTensors(runtime.device, "weights, transposed", flipped);
    for (const name of tensors ? shapes.keys() : []) {
      const tensor = tensors?.get(name);
      if (!tensor) throw new Error(`the model has no tensor ${name}`);
      this.values.write(name, tensor.data);
    }
  }

  /** Recomputes the transposed copies. */
  async refresh(): Promise<void> {
    const g = new Graph();
    this.appendRefresh({ g, variants: this.runtime.variants });
    const plan = await compile("transpose weights", g, this.runtime.device, this.runtime.pipelines);
    await plan.run();
    await this.runtime.device.queue.onSubmittedWorkDone();
    plan.destroy();
  }

  /** Appends the transposition of every linear weight: the first dispatches of a full training step. */
  appendRefresh(ctx: OpContext): void {
    for (const name of this.transposed.places.keys())
      transpose(ctx, this.values.bind(ctx.g, name), this.transposed.bind(ctx.g, name));
  }

  /**
   * Binds the tensors. `grads`: the model itself is trained, into a buffer of the same layout. `lora`: adds adapters.
   * `merged`: reads the projections from another transposed set (weights with an adapter added), forward only.
   */
  bind(g: Graph, options: { grads?: FlatTensors; lora?: LoraWeights; merged?: FlatTensors } = {}): DecoderTensors {
    const { config, values } = this;
    const { grads, lora, merged } = options;
    const tensor = (name: string): Tensor =>
      values.bind(g, name, grads ? { requiresGrad: true, grad: grads.bind(g, name) } : {});
    const weight = (name: string): Weight => ({
      name,
      w: merged ? null : tensor(name),
      wT: (merged ?? this.transposed).bind(g, name),
    });
    const table = tensor(EMBED);
    const head: Weight = config.tie_word_embeddings
      ? { name: "head", w: table, wT: this.transposed.bind(g, EMBED) }
      : { name: "head", w: tensor("lm_head.weight"), wT: this.transposed.bind(g, "lm_head.weight") };
    const layers = Array.from(
      { length: config.num_hidden_layers },
      (_, layer): LayerTensors => ({
        inputNorm: tensor(`model.layers.${layer}.input_layernorm.weight`),
        postNorm: tensor(`model.layers.${layer}.post_attention_layernorm.weight`),
        projections: Object.fromEntries(
          PROJECTIONS.map((name) => [name, weight(`${projectionPath(layer, name)}.weight`)]),
        ) as Record<Projection, Weight>,
        lora: lora ? lora.bind(g, layer) : {},
      }),
    );
    const vision = config.vision
      ? {
          patch: {
            name: `${VISION}.weight`,
            w: tensor(`${VISION}.weight`),
            wT: this.transposed.bind(g, `${VISION}.weight`),
            bias: tensor(`${VISION}.bias`),
          },
          position: tensor(`${VISION}.position`),
        }
      : null;
    return { table, head, norm: tensor("model.norm.weight"), layers, vision };
  }

  /** The weights as they are now, for a file. */
  async toHost(): Promise<Map<string, HostTensor>> {
    const host = await this.values.read();
    return new Map(
      [...this.values.places].map(([name, { shape }]) => [name, { shape, data: this.values.slice(host, name) }]),
    );
  }

  destroy(): void {
    this.values.destroy();
    this.transposed.destroy();
  }
}

/** LoRA factors of one adapter in a flat buffer, transposed against PEFT: lora_A as (in, r), lora_B as (r, out). */
export class LoraWeights {
  readonly flat: FlatTensors;
  readonly targets: readonly Projection[];
  readonly r: number;
  readonly scaling: number;
  private readonly config: ModelConfig;

  constructor(
    runtime: Runtime,
    config: ModelConfig,
    shape: { r: number; scaling: number; targets: readonly Projection[] },
    label: string,
  ) {
    this.config = config;
    this.r = shape.r;
    this.scaling = shape.scaling;
    this.targets = shape.targets;
    const shapes = new Map<string, readonly number[]>();
    for (let layer = 0; layer < config.num_hidden_layers; layer++)
      for (const name of shape.targets) {
        const [out, inn] = projectionShape(config, name);
        shapes.set(`${projectionPath(layer, name)}.A`, [inn, shape.r]);
        shapes.set(`${projectionPath(layer, name)}.B`, [shape.r, out]);
      }
    this.flat = new FlatTensors(runtime.device, label, shapes);
  }

  bind(g: Graph, layer: number, grads?: FlatTensors): Partial<Record<Projection, Lora>> {
    const target = grads ?? this.grads;
    const tensor = (name: string) =>
      this.flat.bind(g, name, target ? { requiresGrad: true, grad: target.bind(g, name) } : {});
    return Object.fromEntries(
      this.targets.map((name) => {
        const path = projectionPath(layer, name);
        return [name, { aT: tensor(`${path}.A`), bT: tensor(`${path}.B`), scale: this.scaling }];
      }),
    );
  }

  /** Where gradients go when this adapter is trained. */
  grads: FlatTensors | null = null;

  /** Host bytes in this layout of an adapter in PEFT's. */
  pack(adapter: LoraAdapter): Float32Array<ArrayBuffer> {
    const host = new Float32Array(this.flat.bytes / 4);
    const put = (name: string, { shape, data }: HostTensor) => {
      const [rows, columns] = shape as [number, number];
      const at = this.flat.place(name).offset / 4;
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) host[at + c * rows + r] = data[r * columns + c] as number;
    };
    for (const [path, { A, B }] of adapter.tensors) {
      put(`${path}.A`, A);
      put(`${path}.B`, B);
    }
    return host;
  }

  /** The two factors of every projection in PEFT's order, out of a host copy of the flat buffer. */
  unpack(host: Float32Array): Map<string, LoraPair> {
    const take = (name: string): HostTensor => {
      const [columns, rows] = this.flat.place(name).shape as [number, number];
      const source = this.flat.slice(host, name);
      const data = new Float32Array(rows * columns);
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) data[r * columns + c] = source[c * rows + r] as number;
      return { shape: [rows, columns], data };
    };
    const pairs = new Map<string, LoraPair>();
    for (let layer = 0; layer < this.config.num_hidden_layers; layer++)
      for (const name of this.targets) {
        const path = projectionPath(layer, name);
        pairs.set(path, { A: take(`${path}.A`), B: take(`${path}.B`) });
      }
    return pairs;
  }

  /** Appends Wᵀ + s·Aᵀ·Bᵀ of every projection into `merged`: inference then costs nothing extra. */
  appendMerge(ctx: OpContext, weights: ModelWeights, merged: FlatTensors): void {
    const { g } = ctx;
    for (const name of weights.transposed.places.keys()) {
      if (!merged.places.has(name)) continue;
      const out = merged.bind(g, name);
      reduceSum(ctx, weights.transposed.bind(g, name), out, 1, false);
      const path = name.replace(/\.weight$/, "");
      if (!this.flat.places.has(`${path}.A`)) continue;
      matmulNN(ctx, this.flat.bind(g, `${path}.A`), this.flat.bind(g, `${path}.B`), out, {
        scale: this.scaling,
        accumulate: true,
      });
    }
  }

  destroy(): void {
    this.flat.destroy();
    this.grads?.destroy();
  }
}

/** A transposed set for the projections only, to hold weights with an adapter added. */
export function mergedTensors(runtime: Runtime, config: ModelConfig): FlatTensors {
  const shapes = new Map<string, readonly number[]>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const name of PROJECTIONS)
      shapes.set(`${projectionPath(layer, name)}.weight`, [...projectionShape(config, name)].reverse());
  return new FlatTensors(runtime.device, "merged weights", shapes);
}

/** Builds and runs a graph once. */
export async function runOnce(runtime: Runtime, label: string, build: (ctx: OpContext) => void): Promise<Plan> {
  const g = new Graph();
  build({ g, variants: runtime.variants });
  const plan = await compile(label, g, runtime.device, runtime.pipelines);
  await plan.run();
  return plan;
}

/**
 * A model's tensors on the GPU. Every linear weight is held in both orders: (out, in) as in the file, needed by
 * gradients, and (in, out), read by the forward pass. Projections that read the same input are one product: their rows lie
 * one below the other, their transposed copies side by side. Trainable weights lie in one flat buffer, so that AdamW is
 * one dispatch; gradients and moments are buffers of the same layout. A model that nothing trains may hold its matrices
 * in f16.
 */
import { Graph, type Tensor } from "../gpu/graph.ts";
import type { Pipelines } from "../gpu/pipelines.ts";
import { compile, type Plan } from "../gpu/plan.ts";
import type { OpContext, Variants } from "../ops/context.ts";
import type { Weight } from "../ops/linear.ts";
import { type Lora, type LoraFactors, type LoraMember, type LoraParts, loraMerge } from "../ops/lora.ts";
import { reduceSum, transpose, unpackHalf } from "../ops/matmul.ts";
import { transposeAll } from "../ops/transpose.ts";
import {
  type ModelConfig,
  type ModelDtype,
  PROJECTION_GROUPS,
  type Projection,
  type ProjectionGroup,
  projectionPath,
  projectionShape,
  tensorShapes,
} from "./config.ts";
import { MAX_FLOAT16, toFloat16 } from "./float16.ts";
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
const sizeOf = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
const bytesOf = (shape: readonly number[]) => 4 * sizeOf(shape);

interface Place {
  readonly buffer: GPUBuffer;
  readonly offset: number;
  /** In elements. */
  readonly shape: readonly number[];
  /** Two bytes an element, two elements in a word. */
  readonly half: boolean;
}

const mebibytes = (bytes: number): string => `${Math.ceil(bytes / 2 ** 20)} MiB`;

/** Names of matrices that are bound as one: rows of the first, then of the second, … */
type Together = readonly (readonly string[])[];

interface FlatOptions {
  readonly together?: Together;
  /** Names of the matrices that are held in f16; of those that are bound together all or none. Their rows are even. */
  readonly halves?: ReadonlySet<string>;
}

/**
 * Lays named tensors out one after another, each at a multiple of 256 bytes; the gaps are zero and stay zero. Those that
 * are bound together have no gap between them, whatever their size.
 * They lie in one buffer where the device allows one of that size, else in as few as possible: enough for frozen
 * weights, while what is trained must fit one binding. Throws if a tensor is larger than a binding may be.
 */
export class FlatTensors {
  readonly places: ReadonlyMap<string, Place>;
  readonly buffers: readonly GPUBuffer[];
  readonly bytes: number;
  private readonly device: GPUDevice;
  private readonly label: string;
  private readonly together: Together;

  constructor(
    device: GPUDevice,
    label: string,
    shapes: ReadonlyMap<string, readonly number[]>,
    { together = [], halves = new Set() }: FlatOptions = {},
  ) {
    this.device = device;
    this.label = label;
    this.together = together;
    const { maxBufferSize, maxStorageBufferBindingSize } = device.limits;
    const follows = new Set(together.flatMap((names) => names.slice(1)));
    const sizes: number[] = [];
    const layout = new Map<string, Omit<Place, "buffer"> & { buffer: number }>();
    for (const [name, shape] of shapes) {
      if (follows.has(name)) continue;
      const names = together.find(([first]) => first === name) ?? [name];
      const members = names.map((one) => [one, shapes.get(one) ?? shape] as const);
      const half = halves.has(name);
      const bytesIn = (of: readonly number[]) => bytesOf(of) / (half ? 2 : 1);
      const bytes = align(members.reduce((sum, [, of]) => sum + bytesIn(of), 0));
      if (bytes > Math.min(maxBufferSize, maxStorageBufferBindingSize)) {
        throw new Error(
          `tensor ${names.join(" with ")} takes ${mebibytes(bytes)}, but this GPU binds at most ${mebibytes(maxStorageBufferBindingSize)} at once: the model is too large for it`,
        );
      }
      if (sizes.length === 0 || (sizes.at(-1) as number) + bytes > maxBufferSize) sizes.push(0);
      const buffer = sizes.length - 1;
      let offset = sizes[buffer] as number;
      for (const [one, of] of members) {
        layout.set(one, { buffer, offset, shape: of, half });
        offset += bytesIn(of);
      }
      sizes[buffer] = (sizes[buffer] as number) + bytes;
    }
    if (sizes.length === 0) sizes.push(256);
    this.bytes = sizes.reduce((a, b) => a + b, 0);
    this.buffers = sizes.map((size) => device.createBuffer({ label, size, usage: STORAGE }));
    this.places = new Map(
      [...layout].map(([name, { buffer, ...rest }]) => [name, { ...rest, buffer: this.buffers[buffer] as GPUBuffer }]),
    );
  }

  /** Throws if some of it is f16. */
  private wantFloat32(): void {
    if ([...this.places.values()].some(({ half }) => half))
      throw new Error(
        `"${this.label}" are held in float16, which is not trained and not written to files: train an adapter, or load the model in float32`,
      );
  }

  /** Zeros in the same layout: gradients, moments. Throws if some of it is f16: see `wantFloat32`. */
  like(label: string): FlatTensors {
    this.wantFloat32();
    const shapes = new Map([...this.places].map(([name, { shape }]) => [name, shape]));
    return new FlatTensors(this.device, label, shapes, { together: this.together });
  }

  place(name: string): Place {
    const place = this.places.get(name);
    if (!place) throw new Error(`there is no tensor ${name}`);
    return place;
  }

  /** The one buffer that holds everything. Throws if the device's limits made it several, or if some of it is f16. */
  get buffer(): GPUBuffer {
    this.wantFloat32();
    const [buffer, ...others] = this.buffers as [GPUBuffer, ...GPUBuffer[]];
    if (others.length > 0)
      throw new Error(
        `"${this.label}" takes ${mebibytes(this.bytes)}, more than one buffer of this GPU may hold: the model is too large to be trained whole here, train an adapter`,
      );
    return buffer;
  }

  /** Writes a tensor, rounded where it is held in f16. Throws if it has another size, or a value beyond f16. */
  write(name: string, data: Float32Array): void {
    const { buffer, offset, shape, half } = this.place(name);
    const size = sizeOf(shape);
    if (data.length !== size) throw new Error(`[shape] ${name}: want ${size} elements, got ${data.length}`);
    const large = half ? data.find((value) => Math.abs(value) > MAX_FLOAT16) : undefined;
    if (large !== undefined)
      throw new Error(`${name} holds ${large}, and float16 ends at ${MAX_FLOAT16}: load the model in float32`);
    this.device.queue.writeBuffer(buffer, offset, half ? toFloat16(data) : (data as Float32Array<ArrayBuffer>));
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
    return host.slice(offset / 4, offset / 4 + sizeOf(shape)) as Float32Array<ArrayBuffer>;
  }

  /** A tensor, or by the name of the first of them the matrices that are bound together. f16 as `matmulNN` takes it. */
  bind(g: Graph, name: string, options: { requiresGrad?: boolean; grad?: Tensor } = {}): Tensor {
    const { buffer, offset, shape, half } = this.place(name);
    const names = this.together.find(([first]) => first === name) ?? [name];
    const rows = names.reduce((sum, one) => sum + (this.place(one).shape[0] as number), 0);
    if (!half) return g.bound(name, [rows, ...shape.slice(1)], buffer, offset, options);
    return g.bound(name, [rows, (shape[1] as number) / 2], buffer, offset, { dtype: "u32" });
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
  readonly projections: Readonly<Record<ProjectionGroup, Weight>>;
  readonly lora: LayerLora | null;
}

/** The adapter of one layer: its factors, and which of them a group of projections takes. */
export interface LayerLora {
  readonly factors: LoraFactors;
  readonly groups: Partial<Record<ProjectionGroup, Lora>>;
}

const EMBED = "model.embed_tokens.weight";
const VISION = "model.vision_embed";

const GROUPS = Object.entries(PROJECTION_GROUPS) as [ProjectionGroup, readonly Projection[]][];

/** Names of the weights of a group; the first one names all of them. */
const groupNames = (layer: number, names: readonly Projection[]): [string, ...string[]] =>
  names.map((name) => `${projectionPath(layer, name)}.weight`) as [string, ...string[]];

const groupsOf = (config: ModelConfig): [string, ...string[]][] =>
  Array.from({ length: config.num_hidden_layers }, (_, layer) =>
    GROUPS.map(([, names]) => groupNames(layer, names)),
  ).flat();

/** Transposed shapes of the projections by groups, (in, all outputs side by side), under the name of the first weight. */
function transposedGroups(config: ModelConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (let layer = 0; layer < config.num_hidden_layers; layer++)
    for (const [, names] of GROUPS) {
      const members = names.map((name) => projectionShape(config, name));
      const width = members.reduce((sum, [out]) => sum + out, 0);
      shapes.set(groupNames(layer, names)[0], [(members[0] as readonly [number, number])[1], width]);
    }
  return shapes;
}

/** Linear weights that the forward pass reads transposed, by groups: name → (in, out). */
function transposedShapes(config: ModelConfig, shapes: ReadonlyMap<string, readonly number[]>) {
  const alone = [config.tie_word_embeddings ? EMBED : "lm_head.weight", ...(config.vision ? [`${VISION}.weight`] : [])];
  return new Map([
    ...alone.map((name) => [name, [...(shapes.get(name) as readonly number[])].reverse()] as const),
    ...transposedGroups(config),
  ]);
}

/**
 * What float16 holds in two bytes: projections, embedding and head, in groups that are one product. The kernels want
 * multiples of 4, a group with another size stays f32; so does what is small, norms and the embedding of pictures.
 */
function halvesOf(config: ModelConfig, shapes: ReadonlyMap<string, readonly number[]>): ReadonlySet<string> {
  const alone = config.tie_word_embeddings ? [EMBED] : [EMBED, "lm_head.weight"];
  const groups = [...groupsOf(config), ...alone.map((name) => [name])];
  const whole = (name: string) => shapes.get(name)?.every((size) => size % 4 === 0) ?? false;
  return new Set(groups.filter((names) => names.every(whole)).flat());
}

export class ModelWeights {
  readonly config: ModelConfig;
  readonly values: FlatTensors;
  readonly transposed: FlatTensors;
  private readonly runtime: Runtime;

  /**
   * `tensors` null: the places alone, nothing is written (to say how much memory they take). `dtype` "float16": matrices
   * are rounded to f16 and take half the memory; such a model cannot be trained itself, adapters on it can.
   */
  constructor(
    runtime: Runtime,
    config: ModelConfig,
    tensors: ReadonlyMap<string, HostTensor> | null,
    dtype: ModelDtype = "float32",
  ) {
    this.runtime = runtime;
    this.config = config;
    const shapes = tensorShapes(config);
    const together = groupsOf(config).filter(({ length }) => length > 1);
    const halves = dtype === "float16" ? halvesOf(config, shapes) : new Set<string>();
    this.values = new FlatTensors(runtime.device, "weights", shapes, { together, halves });
    const transposed = transposedShapes(config, shapes);
    this.transposed = new FlatTensors(runtime.device, "weights, transposed", transposed, { halves });
    for (const name of tensors ? shapes.keys() : []) {
      const tensor = tensors?.get(name);
      if (!tensor) throw new Error(`the model has no tensor ${name}`);
      this.values.write(name, tensor.data);
    }
  }

  /** Recomputes the transposed copies. */
  async refresh(): Promise<void> {
    const g = new Graph();
    const ctx = { g, variants: this.runtime.variants };
    for (const name of this.transposed.places.keys())
      transpose(ctx, this.values.bind(g, name), this.transposed.bind(g, name));
    const plan = await compile("transpose weights", g, this.runtime.device, this.runtime.pipelines);
    await plan.run();
    await this.runtime.device.queue.onSubmittedWorkDone();
    plan.destroy();
  }

  /** Appends the transposition of every linear weight, in one dispatch: the first one of a full training step. */
  appendRefresh(ctx: OpContext): void {
    const { values, transposed } = this;
    const matrices = [...transposed.places].map(([name, { shape, offset }]) => {
      const [C, R] = shape as [number, number];
      return { from: values.place(name).offset / 4, to: offset / 4, R, C };
    });
    transposeAll(ctx, values.bindAll(ctx.g, "values"), transposed.bindAll(ctx.g, "transposed"), matrices);
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
    const adapters = lora?.bind(g);
    const layers = Array.from(
      { length: config.num_hidden_layers },
      (_, layer): LayerTensors => ({
        inputNorm: tensor(`model.layers.${layer}.input_layernorm.weight`),
        postNorm: tensor(`model.layers.${layer}.post_attention_layernorm.weight`),
        projections: Object.fromEntries(
          GROUPS.map(([group, names]) => [group, weight(groupNames(layer, names)[0])]),
        ) as Record<ProjectionGroup, Weight>,
        lora: adapters?.[layer] ?? null,
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

/**
 * LoRA factors of one adapter in a flat buffer, transposed against PEFT: lora_A as (in, rank), lora_B as (rank, out). The
 * kernels take four columns at a time, so `rank` is r rounded up; what is added is zero, and its gradient is, too.
 */
export class LoraWeights {
  readonly flat: FlatTensors;
  readonly targets: readonly Projection[];
  readonly r: number;
  readonly rank: number;
  readonly scaling: number;
  private readonly config: ModelConfig;

  /** Throws if a width of the model is no multiple of 4. */
  constructor(
    runtime: Runtime,
    config: ModelConfig,
    shape: { r: number; scaling: number; targets: readonly Projection[] },
    label: string,
  ) {
    this.config = config;
    this.r = shape.r;
    this.rank = Math.ceil(shape.r / 4) * 4;
    this.scaling = shape.scaling;
    this.targets = shape.targets;
    for (const name of shape.targets)
      if (projectionShape(config, name).some((width) => width % 4 !== 0))
        throw new Error(`LoRA: ${name} is (${projectionShape(config, name).join(",")}), widths must be multiples of 4`);
    this.flat = new FlatTensors(runtime.device, label, this.shapes(this.rank));
  }

  private shapes(rank: number): Map<string, readonly number[]> {
    const shapes = new Map<string, readonly number[]>();
    for (let layer = 0; layer < this.config.num_hidden_layers; layer++)
      for (const name of this.targets) {
        const [out, inn] = projectionShape(this.config, name);
        shapes.set(`${projectionPath(layer, name)}.A`, [inn, rank]);
        shapes.set(`${projectionPath(layer, name)}.B`, [rank, out]);
      }
    return shapes;
  }

  /** All layers, with gradients if there is a place for them. */
  bind(g: Graph): (LayerLora | null)[] {
    const { flat, grads, config } = this;
    const shared: LoraParts = { parts: null, pending: false };
    const [first] = this.targets;
    if (first === undefined) return Array(config.num_hidden_layers).fill(null);
    const begin = (layer: number) =>
      layer < config.num_hidden_layers ? flat.place(`${projectionPath(layer, first)}.A`).offset : flat.bytes;
    return Array.from({ length: config.num_hidden_layers }, (_, layer) => {
      const size = (begin(layer + 1) - begin(layer)) / 4;
      const range = (of: FlatTensors, options = {}) =>
        g.bound(`adapter ${layer}`, [size], of.buffer, begin(layer), options);
      const factors: LoraFactors = {
        factors: range(flat, grads ? { requiresGrad: true, grad: range(grads) } : {}),
        rank: this.rank,
        scale: this.scaling,
        shared,
      };
      const groups = GROUPS.map(
        ([group, names]) => [group, { ...factors, members: this.members(layer, names) }] as const,
      );
      return { factors, groups: Object.fromEntries(groups.filter(([, { members }]) => members.length > 0)) };
    });
  }

  /** The adapted ones of the projections `names`, with their places in the tensor that `bind` makes of this layer. */
  private members(layer: number, names: readonly Projection[]): LoraMember[] {
    const begin = this.flat.place(`${projectionPath(layer, this.targets[0] as Projection)}.A`).offset;
    const members: LoraMember[] = [];
    let first = 0;
    for (const name of names) {
      const [width] = projectionShape(this.config, name);
      const place = (factor: string) =>
        (this.flat.place(`${projectionPath(layer, name)}.${factor}`).offset - begin) / 4;
      if (this.targets.includes(name)) members.push({ first, width, a: place("A"), b: place("B") });
      first += width;
    }
    return members;
  }

  /** Where gradients go when this adapter is trained. */
  grads: FlatTensors | null = null;

  /** Host bytes in this layout of an adapter in PEFT's. */
  pack(adapter: LoraAdapter): Float32Array<ArrayBuffer> {
    const host = new Float32Array(this.flat.bytes / 4);
    const put = (name: string, { shape, data }: HostTensor) => {
      const [rows, columns] = shape as [number, number];
      const { offset, shape: own } = this.flat.place(name);
      const stride = own[1] as number;
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) host[offset / 4 + c * stride + r] = data[r * columns + c] as number;
    };
    for (const [path, { A, B }] of adapter.tensors) {
      put(`${path}.A`, A);
      put(`${path}.B`, B);
    }
    return host;
  }

  /** The two factors of every projection in PEFT's order, out of a host copy of the flat buffer. */
  unpack(host: Float32Array): Map<string, LoraPair> {
    const take = (name: string, rows: number, columns: number): HostTensor => {
      const { offset, shape } = this.flat.place(name);
      const stride = shape[1] as number;
      const data = new Float32Array(rows * columns);
      for (let r = 0; r < rows; r++)
        for (let c = 0; c < columns; c++) data[r * columns + c] = host[offset / 4 + c * stride + r] as number;
      return { shape: [rows, columns], data };
    };
    const pairs = new Map<string, LoraPair>();
    for (let layer = 0; layer < this.config.num_hidden_layers; layer++)
      for (const name of this.targets) {
        const path = projectionPath(layer, name);
        const [out, inn] = projectionShape(this.config, name);
        pairs.set(path, { A: take(`${path}.A`, this.r, inn), B: take(`${path}.B`, out, this.r) });
      }
    return pairs;
  }

  /** A host copy as files hold it: (in, r) and (r, out) at multiples of 256 bytes, whatever the kernels' rank. */
  toFile(host: Float32Array): Float32Array<ArrayBuffer> {
    const file = new Float32Array(this.fileBytes / 4);
    for (const { inFile, onGpu, length } of this.fileRows()) file.set(host.subarray(onGpu, onGpu + length), inFile);
    return file;
  }

  /** The opposite, of an array of `fileBytes`. */
  fromFile(file: Float32Array): Float32Array<ArrayBuffer> {
    const host = new Float32Array(this.flat.bytes / 4);
    for (const { inFile, onGpu, length } of this.fileRows()) host.set(file.subarray(inFile, inFile + length), onGpu);
    return host;
  }

  /** Bytes of a flat buffer in a file. */
  get fileBytes(): number {
    return [...this.shapes(this.r).values()].reduce((sum, shape) => sum + align(bytesOf(shape)), 0);
  }

  /** Where every row of every factor lies, in elements. */
  private *fileRows(): Generator<{ readonly inFile: number; readonly onGpu: number; readonly length: number }> {
    let start = 0;
    for (const [name, shape] of this.shapes(this.r)) {
      const [rows, length] = shape as [number, number];
      const { offset, shape: own } = this.flat.place(name);
      for (let r = 0; r < rows; r++)
        yield { inFile: start + r * length, onGpu: offset / 4 + r * (own[1] as number), length };
      start += align(bytesOf(shape)) / 4;
    }
  }

  /** Appends Wᵀ + s·Aᵀ·Bᵀ of every projection into `merged`: inference then costs nothing extra. */
  appendMerge(ctx: OpContext, weights: ModelWeights, merged: FlatTensors): void {
    const { g } = ctx;
    const adapters = this.bind(g);
    for (let layer = 0; layer < this.config.num_hidden_layers; layer++)
      for (const [group, names] of GROUPS) {
        const [name] = groupNames(layer, names);
        const out = merged.bind(g, name);
        const own = weights.transposed.bind(g, name);
        if (own.dtype === "u32") unpackHalf(ctx, own, out);
        else reduceSum(ctx, own, out, 1, false);
        const lora = adapters[layer]?.groups[group];
        if (lora) loraMerge(ctx, lora, out);
      }
  }

  destroy(): void {
    this.flat.destroy();
    this.grads?.destroy();
  }
}

/** A transposed set for the projections only, in f32, to hold weights with an adapter added. */
export function mergedTensors(runtime: Runtime, config: ModelConfig): FlatTensors {
  return new FlatTensors(runtime.device, "merged weights", transposedGroups(config));
}

/** Builds and runs a graph once. */
export async function runOnce(runtime: Runtime, label: string, build: (ctx: OpContext) => void): Promise<Plan> {
  const g = new Graph();
  build({ g, variants: runtime.variants });
  const plan = await compile(label, g, runtime.device, runtime.pipelines);
  await plan.run();
  return plan;
}

/**
 * A graph is traced once: ops append dispatches and, for training, closures that append their backward dispatches.
 * `compile` (plan.ts) turns it into a plan: placed buffers, pre-built bind groups, nothing allocated in a running step.
 */

export type DType = "f32" | "u32";

/** Where a tensor's bytes live. */
export type Storage =
  | { readonly kind: "temp" } // placed by lifetime when the plan is compiled
  | { readonly kind: "kept" } // own buffer in the plan: inputs and outputs
  | { readonly kind: "bound"; readonly buffer: GPUBuffer; readonly offset: number } // owned by someone else (weights, caches)
  | { readonly kind: "view"; readonly of: Tensor; readonly offset: number }; // bytes of another tensor of this graph

export interface Tensor {
  readonly id: number;
  readonly name: string;
  readonly shape: readonly number[];
  readonly size: number; // elements
  readonly dtype: DType;
  readonly storage: Storage;
  readonly requiresGrad: boolean;
}

export interface Dispatch {
  readonly shader: string;
  readonly constants: Readonly<Record<string, number>>;
  /** 32-bit words of the uniform at binding 0: u32 as numbers, floats wrapped in `f32()`. */
  readonly uniforms: readonly (number | { readonly f32: number })[];
  /** Bindings 1…n in the shader's order. */
  readonly bindings: readonly { readonly tensor: Tensor; readonly access: "read" | "write" }[];
  readonly workgroups: readonly [number, number, number];
  /** Floating-point operations, for slicing and profiles. */
  readonly flops: number;
}

export const f32 = (value: number): { readonly f32: number } => ({ f32: value });
export const read = (tensor: Tensor) => ({ tensor, access: "read" as const });
export const write = (tensor: Tensor) => ({ tensor, access: "write" as const });

/** Throws `[shape] name: want (a,b), got (c,d)`. */
export function wantShape(op: string, tensor: Tensor, shape: readonly number[]): void {
  if (tensor.shape.length !== shape.length || tensor.shape.some((n, i) => n !== shape[i]))
    throw new Error(`[shape] ${op}.${tensor.name}: want (${shape.join(",")}), got (${tensor.shape.join(",")})`);
}

/** Workgroups for `threads` one-dimensional invocations; the shader folds y back: (w.y * n.x + w.x) * WG + l.x. */
export function grid(threads: number, workgroup: number): [number, number, number] {
  const groups = Math.max(1, Math.ceil(threads / workgroup));
  const x = Math.min(groups, 65535);
  return [x, Math.ceil(groups / x), 1];
}

export class Graph {
  /** Gradients that somebody else owns are added to, from the first one on: several plans make one gradient. */
  private readonly accumulates: boolean;

  constructor(options: { readonly accumulate?: boolean } = {}) {
    this.accumulates = options.accumulate ?? false;
  }

  readonly tensors: Tensor[] = [];
  readonly dispatches: Dispatch[] = [];
  private readonly grads = new Map<number, Tensor>();
  private readonly tape: (() => void)[] = [];

  private make(name: string, shape: readonly number[], dtype: DType, storage: Storage, requiresGrad: boolean): Tensor {
    const size = shape.reduce((a, b) => a * b, 1);
    if (!Number.isInteger(size) || size < 1) throw new Error(`[shape] ${name}: no element in (${shape.join(",")})`);
    const tensor: Tensor = { id: this.tensors.length, name, shape, size, dtype, storage, requiresGrad };
    this.tensors.push(tensor);
    return tensor;
  }

  /** Written by the host before a step (plan.write), kept between steps. */
  input(name: string, shape: readonly number[], dtype: DType = "f32", requiresGrad = false): Tensor {
    return this.make(name, shape, dtype, { kind: "kept" }, requiresGrad);
  }

  /** Written by kernels, kept after the step so that the host can read it (plan.read). */
  output(name: string, shape: readonly number[], dtype: DType = "f32", requiresGrad = false): Tensor {
    return this.make(name, shape, dtype, { kind: "kept" }, requiresGrad);
  }

  temp(name: string, shape: readonly number[], requiresGrad = false, dtype: DType = "f32"): Tensor {
    return this.make(name, shape, dtype, { kind: "temp" }, requiresGrad);
  }

  /** A range of somebody else's buffer: weights, gradients, caches. `offset` in bytes, a multiple of 256. */
  bound(
    name: string,
    shape: readonly number[],
    buffer: GPUBuffer,
    offset = 0,
    options: { dtype?: DType; requiresGrad?: boolean; grad?: Tensor } = {},
  ): Tensor {
    const tensor = this.make(
      name,
      shape,
      options.dtype ?? "f32",
      { kind: "bound", buffer, offset },
      options.requiresGrad ?? false,
    );
    if (options.grad) this.grads.set(tensor.id, options.grad);
    if (options.grad && this.accumulates) this.started.add(tensor.id);
    return tensor;
  }

  /** Rows first … first + count − 1 of x: (R,C) or (R), where they lie. C·first must be a multiple of 64 (WebGPU binds at 256 bytes). */
  rows(x: Tensor, first: number, count: number): Tensor {
    const [R, C = 1] = x.shape as [number, number?];
    if (x.shape.length > 2 || first + count > R || (first * C) % 64 !== 0)
      throw new Error(
        `[shape] rows ${first}…${first + count - 1} of ${x.name}: not in (${x.shape.join(",")}), or not at 256 bytes`,
      );
    const at = first * C * 4;
    const { storage } = x;
    const place: Storage =
      storage.kind === "bound"
        ? { kind: "bound", buffer: storage.buffer, offset: storage.offset + at }
        : storage.kind === "view"
          ? { kind: "view", of: storage.of, offset: storage.offset + at }
          : { kind: "view", of: x, offset: at };
    return this.make(`${x.name}[${first}…]`, [count, ...x.shape.slice(1)], x.dtype, place, false);
  }

  dispatch(dispatch: Dispatch): void {
    this.dispatches.push(dispatch);
  }

  /** Dispatch ranges [start, end) whose activations `checkpoint` may compute a second time instead of keeping them. */
  readonly segments: { readonly start: number; readonly end: number }[] = [];
  /** Places in `dispatches` where a backward pass begins. */
  readonly backwards: number[] = [];

  /** Traces `layer` as one segment for activation checkpointing. */
  segment<T>(layer: () => T): T {
    const start = this.dispatches.length;
    const result = layer();
    this.segments.push({ start, end: this.dispatches.length });
    return result;
  }

  /** Registers how an op's gradient flows; runs in reverse order in `backward`. */
  onBackward(fn: () => void): void {
    this.tape.push(fn);
  }

  private readonly started = new Set<number>();

  /** The gradient of `tensor` if any op has produced one. */
  gradOf(tensor: Tensor): Tensor | null {
    return this.started.has(tensor.id) ? (this.grads.get(tensor.id) ?? null) : null;
  }

  /** Where an op writes the gradient of its input: overwrite at first, accumulate after. */
  gradFor(tensor: Tensor): { readonly tensor: Tensor; readonly accumulate: boolean } {
    let grad = this.grads.get(tensor.id);
    if (!grad) {
      grad = this.temp(`d${tensor.name}`, tensor.shape);
      this.grads.set(tensor.id, grad);
    }
    const accumulate = this.started.has(tensor.id);
    this.started.add(tensor.id);
    return { tensor: grad, accumulate };
  }

  /** Uses `grad` itself as the gradient of `tensor` (no copy); only while `tensor` has none yet. */
  shareGrad(tensor: Tensor, grad: Tensor): void {
    if (this.started.has(tensor.id)) throw new Error(`${tensor.name} has a gradient already and cannot share another`);
    this.grads.set(tensor.id, grad);
    this.started.add(tensor.id);
  }

  /** Appends the backward dispatches. `seed` is the gradient of `of`, already written by a dispatch or by the host. */
  backward(seeds: readonly { readonly of: Tensor; readonly grad: Tensor }[]): void {
    for (const { of, grad } of seeds) {
      this.grads.set(of.id, grad);
      this.started.add(of.id);
    }
    this.backwards.push(this.dispatches.length);
    for (const fn of this.tape.reverse()) fn();
    this.tape.length = 0;
  }
}

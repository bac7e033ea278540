/** Where a graph's tensors lie, decided before anything is allocated: temporaries of disjoint lifetimes share a slot. */
import type { Dispatch, Graph, Tensor } from "./graph.ts";

const ALIGN = 256;
export const align = (bytes: number): number => Math.ceil(bytes / ALIGN) * ALIGN;

/** A tensor's bytes: in somebody else's buffer, or in one of the plan's own. */
export type Place =
  | { readonly kind: "bound"; readonly buffer: GPUBuffer; readonly offset: number }
  | { readonly kind: "own"; readonly buffer: number; readonly offset: number };

export interface Layout {
  /** Names and bytes of the buffers that the plan will own; the last one holds all uniforms. */
  readonly buffers: readonly { readonly name: string; readonly bytes: number }[];
  /** By tensor id, for every tensor that a dispatch binds or the host may touch. */
  readonly places: ReadonlyMap<number, Place>;
  readonly uniforms: { readonly words: Uint8Array<ArrayBuffer>; readonly offsets: readonly number[] };
  /** Everything that the plan will allocate, exactly. */
  readonly bytes: number;
}

/** The dispatches and tensors of a graph, or what a transformation made of them. */
export type Traced = Pick<Graph, "dispatches" | "tensors">;

/** The tensor whose bytes a view shows. */
export const rootOf = (tensor: Tensor): Tensor => (tensor.storage.kind === "view" ? tensor.storage.of : tensor);

/**
 * Places every tensor. Throws if a dispatch reads a temporary that nothing wrote, or reads and writes one buffer, which
 * WebGPU forbids: for that reason slots are buffers of their own, not ranges of one.
 */
export function layoutOf(label: string, { dispatches, tensors }: Traced): Layout {
  const buffers: { name: string; bytes: number }[] = [];
  const places = new Map<number, Place>();
  for (const { id, name, size, storage } of tensors) {
    if (storage.kind === "bound") places.set(id, storage);
    if (storage.kind === "kept") {
      places.set(id, { kind: "own", buffer: buffers.length, offset: 0 });
      buffers.push({ name, bytes: align(size * 4) });
    }
  }
  const { slots, slotOf } = placeTemporaries(label, dispatches);
  for (const [id, slot] of slotOf) places.set(id, { kind: "own", buffer: buffers.length + slot, offset: 0 });
  for (const [at, bytes] of slots.entries()) buffers.push({ name: `slot ${at}`, bytes });
  for (const { id, storage } of tensors) {
    const base = storage.kind === "view" ? places.get(storage.of.id) : undefined;
    if (storage.kind === "view" && base) places.set(id, { ...base, offset: base.offset + storage.offset });
  }
  forbidReadAndWrite(label, dispatches, places);
  const uniforms = packUniforms(dispatches);
  buffers.push({ name: "uniforms", bytes: uniforms.words.byteLength });
  return { buffers, places, uniforms, bytes: buffers.reduce((sum, { bytes }) => sum + bytes, 0) };
}

/**
 * Greedy by size (Pisarchyk & Lee 2020, arXiv 2001.03288): the largest tensor first, each into the smallest slot whose
 * tensors are all dead while it lives. So no slot ever grows, and small tensors that live long do not hold large slots.
 */
function placeTemporaries(
  label: string,
  dispatches: readonly Dispatch[],
): { slots: readonly number[]; slotOf: ReadonlyMap<number, number> } {
  const lives = new Map<Tensor, { readonly first: number; last: number }>();
  for (const [i, dispatch] of dispatches.entries())
    for (const { tensor, access } of dispatch.bindings) {
      const root = rootOf(tensor);
      if (root.storage.kind !== "temp") continue;
      const life = lives.get(root);
      if (life) life.last = i;
      else if (access === "write") lives.set(root, { first: i, last: i });
      else throw new Error(`plan ${label}: ${dispatch.shader} reads ${tensor.name} before anything wrote it`);
    }
  const slots: { readonly bytes: number; readonly lives: { readonly first: number; readonly last: number }[] }[] = [];
  const slotOf = new Map<number, number>();
  // Sorting is stable: tensors of one size stay in the order in which they are written.
  for (const [tensor, life] of [...lives].sort(([a], [b]) => align(b.size * 4) - align(a.size * 4))) {
    const dead = ({ first, last }: { readonly first: number; readonly last: number }) =>
      last < life.first || first > life.last;
    let slot = slots.findLast(({ lives }) => lives.every(dead));
    if (!slot) {
      slot = { bytes: align(tensor.size * 4), lives: [] };
      slots.push(slot);
    }
    slot.lives.push(life);
    slotOf.set(tensor.id, slots.indexOf(slot));
  }
  return { slots: slots.map(({ bytes }) => bytes), slotOf };
}

function forbidReadAndWrite(label: string, dispatches: readonly Dispatch[], places: ReadonlyMap<number, Place>): void {
  const bufferOf = ({ id }: Tensor) => places.get(id)?.buffer;
  for (const { shader, bindings } of dispatches)
    for (const { tensor, access } of bindings)
      if (
        access === "write" &&
        bindings.some((other) => other.access === "read" && bufferOf(other.tensor) === bufferOf(tensor))
      )
        throw new Error(
          `plan ${label}: ${shader} reads and writes ${tensor.name} in one dispatch, which WebGPU forbids`,
        );
}

/** All uniforms of a plan in one buffer; equal ones share their place. */
function packUniforms(dispatches: readonly Dispatch[]): Layout["uniforms"] {
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

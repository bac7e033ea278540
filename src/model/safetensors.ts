/**
 * safetensors: u64 length of the header, the header (JSON: name → dtype, shape, data_offsets), then the tensors' bytes.
 * Format: https://github.com/huggingface/safetensors#format. Little-endian throughout.
 */
import { InputError } from "../base/input.ts";
import { fromFloat16 } from "./float16.ts";
import { asObject, decodeUtf8, describe, type JsonObject, parseObject } from "./json.ts";

const BYTES = { F64: 8, I64: 8, F32: 4, I32: 4, F16: 2, BF16: 2, I8: 1, U8: 1 } as const;
export type Dtype = keyof typeof BYTES;

/** One tensor of a file. `bytes` is a view into the file: nothing is copied before `toFloat32`. */
export interface TensorView {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  readonly bytes: Uint8Array;
}

export interface Safetensors {
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, TensorView>;
}

/** A dense tensor in memory: row-major, data.length = product of shape. */
export interface Tensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

/** What can be written: f32, or raw integers for counters. */
export interface WritableTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array | Int32Array | Uint8Array;
}

/** The reference implementation's own limit. */
const MAX_HEADER = 100_000_000;
const MAX_RANK = 8;

/**
 * Reads the header and checks all of it against the file's length: dtypes, shapes, sizes, and that the tensors cover
 * the data without overlap or gap. Bounded by the header's length; throws an error that names the file and tensor.
 */
export function readSafetensors(file: Uint8Array, source: string): Safetensors {
  const fail = (problem: string): never => {
    throw new InputError(`${source} is not a valid safetensors file: ${problem}`);
  };
  if (file.byteLength < 8) fail(`it has ${file.byteLength} bytes, at least 8 are needed (is the download complete?)`);
  const length = new DataView(file.buffer, file.byteOffset, 8).getBigUint64(0, true);
  const limit = Math.min(file.byteLength - 8, MAX_HEADER);
  if (length > BigInt(limit))
    fail(`its header claims ${length} bytes, at most ${limit} can be there (is the download complete?)`);
  const dataStart = 8 + Number(length);
  if (file[8] !== 0x7b) fail(`its header does not begin with "{"`);
  const header = parseObject(decodeUtf8(file.subarray(8, dataStart), `${source}, header`), `${source}, header`);

  const data = file.subarray(dataStart);
  const placed: { name: string; start: number; end: number }[] = [];
  const tensors = new Map<string, TensorView>();
  for (const [name, entry] of Object.entries(header)) {
    if (name === "__metadata__") continue;
    const { dtype, shape, start, end } = readEntry(
      asObject(entry, `${source}: tensor "${name}"`),
      `${source}: tensor "${name}"`,
    );
    if (end > data.byteLength) {
      fail(`tensor "${name}" ends at byte ${end} of ${data.byteLength} (is the download complete?)`);
    }
    placed.push({ name, start, end });
    tensors.set(name, { name, dtype, shape, bytes: data.subarray(start, end) });
  }

  placed.sort((a, b) => a.start - b.start || a.end - b.end);
  let reached = 0;
  for (const { name, start, end } of placed) {
    if (start < reached)
      fail(`tensor "${name}" begins at byte ${start} and overlaps the one before it, which ends at ${reached}`);
    if (start > reached) fail(`bytes ${reached} to ${start}, before tensor "${name}", belong to no tensor`);
    reached = end;
  }
  if (reached !== data.byteLength) fail(`bytes ${reached} to ${data.byteLength}, at the end, belong to no tensor`);
  return { metadata: readMetadata(header, source), tensors };
}

function readEntry(entry: JsonObject, where: string): { dtype: Dtype; shape: number[]; start: number; end: number } {
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== "string" || !Object.hasOwn(BYTES, dtype)) {
    throw new InputError(
      `${where}: dtype ${describe(dtype)} is not supported; supported are ${Object.keys(BYTES).join(", ")}`,
    );
  }
  if (!isSizes(shape) || shape.length > MAX_RANK) {
    throw new InputError(
      `${where}: shape must be a list of at most ${MAX_RANK} whole numbers, found ${describe(shape)}`,
    );
  }
  if (!isSizes(offsets) || offsets.length !== 2 || (offsets[0] as number) > (offsets[1] as number)) {
    throw new InputError(`${where}: data_offsets must be [begin, end], found ${describe(offsets)}`);
  }
  const [start, end] = offsets as [number, number];
  const size = product(shape) * BYTES[dtype as Dtype];
  if (end - start !== size) {
    throw new InputError(
      `${where}: shape [${shape.join(", ")}] of ${dtype} takes ${size} bytes, data_offsets give ${end - start}`,
    );
  }
  return { dtype: dtype as Dtype, shape, start, end };
}

function isSizes(value: unknown): value is number[] {
  return Array.isArray(value) && value.every((n) => Number.isSafeInteger(n) && n >= 0);
}

function readMetadata(header: JsonObject, source: string): Map<string, string> {
  const metadata = new Map<string, string>();
  if (!Object.hasOwn(header, "__metadata__")) return metadata;
  for (const [key, value] of Object.entries(asObject(header.__metadata__, `${source}: __metadata__`))) {
    if (typeof value !== "string")
      throw new InputError(`${source}: __metadata__ "${key}" must be a string, found ${describe(value)}`);
    metadata.set(key, value);
  }
  return metadata;
}

/** Number of elements; 1 for a scalar's empty shape. */
export function product(shape: readonly number[]): number {
  return shape.reduce((a, b) => a * b, 1);
}

/** The tensor's elements as f32. F32 data that is aligned in memory is returned as a view, all else is converted. */
export function toFloat32(tensor: TensorView): Float32Array {
  const { dtype, bytes } = tensor;
  const count = product(tensor.shape);
  if (dtype === "F32" && bytes.byteOffset % 4 === 0)
    return new Float32Array(bytes.buffer as ArrayBuffer, bytes.byteOffset, count);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const read = READERS[dtype];
  const out = new Float32Array(count);
  for (let i = 0; i < count; i++) out[i] = read(view, i);
  return out;
}

const scratch = new DataView(new ArrayBuffer(4));

/** The f32 with these bits. */
function fromBits(bits: number): number {
  scratch.setUint32(0, bits);
  return scratch.getFloat32(0);
}

const READERS: Readonly<Record<Dtype, (view: DataView, index: number) => number>> = {
  F64: (view, i) => view.getFloat64(8 * i, true),
  F32: (view, i) => view.getFloat32(4 * i, true),
  F16: (view, i) => fromFloat16(view.getUint16(2 * i, true)),
  BF16: (view, i) => fromBits(view.getUint16(2 * i, true) << 16), // the upper half of an f32
  I64: (view, i) => Number(view.getBigInt64(8 * i, true)),
  I32: (view, i) => view.getInt32(4 * i, true),
  I8: (view, i) => view.getInt8(i),
  U8: (view, i) => view.getUint8(i),
};

const dtypeOf = (data: WritableTensor["data"]): Dtype =>
  data instanceof Float32Array ? "F32" : data instanceof Int32Array ? "I32" : "U8";

const byName = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * The bytes of a safetensors file. The same tensors and metadata give the same bytes, whatever their order:
 * wider dtypes first (as the reference writer does), then by name; the header is padded with spaces to 8 bytes.
 * "format": "pt" is what Transformers and PEFT look for.
 */
export function writeSafetensors(
  tensors: Iterable<readonly [string, WritableTensor]>,
  metadata: Readonly<Record<string, string>> = { format: "pt" },
): Uint8Array<ArrayBuffer> {
  const entries = [...tensors].map(([name, tensor]) => ({ name, ...tensor, dtype: dtypeOf(tensor.data) }));
  entries.sort((a, b) => BYTES[b.dtype] - BYTES[a.dtype] || byName(a.name, b.name));
  const header: [string, unknown][] = [];
  const sorted = Object.entries(metadata).sort(([a], [b]) => byName(a, b));
  if (sorted.length > 0) header.push(["__metadata__", Object.fromEntries(sorted)]);
  const names = new Set(["__metadata__"]);
  let offset = 0;
  for (const { name, shape, data, dtype } of entries) {
    if (names.has(name)) throw new Error(`[safetensors] the name "${name}" is used twice or reserved`);
    if (product(shape) !== data.length) {
      throw new Error(
        `[shape] ${name}: shape [${shape.join(", ")}] has ${product(shape)} elements, data has ${data.length}`,
      );
    }
    names.add(name);
    header.push([name, { dtype, shape, data_offsets: [offset, offset + data.byteLength] }]);
    offset += data.byteLength;
  }
  // Built by hand, since an object would move names that look like numbers to its front.
  const text = `{${header.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(",")}}`;
  const encoded = new TextEncoder().encode(text);
  const headerLength = Math.ceil(encoded.length / 8) * 8;
  const file = new Uint8Array(8 + headerLength + offset);
  new DataView(file.buffer).setBigUint64(0, BigInt(headerLength), true);
  file.fill(0x20, 8, 8 + headerLength);
  file.set(encoded, 8);
  let at = 8 + headerLength;
  for (const { data } of entries) {
    file.set(new Uint8Array(data.buffer, data.byteOffset, data.byteLength), at);
    at += data.byteLength;
  }
  return file;
}

/** Pictures from files. */
import { convertIndexedToRgb, decode } from "fast-png";
import { Unzlib } from "fflate";
import { InputError } from "../base/input.ts";
import type { Picture } from "../base/records.ts";
import { readInput } from "./files.ts";

/** A PNG file of `size` × `size` pixels as RGB; transparency is passed over. Throws an InputError if it is none. */
export async function readPicture(path: string, size: number): Promise<Picture> {
  return pictureFromPng(await readInput(path), size, path);
}

/**
 * The same for the bytes of a file; `source` names it in messages. Sizes are checked before anything is unpacked, and
 * unpacking stops where the picture ends.
 */
export function pictureFromPng(bytes: Uint8Array, size: number, source: string): Picture {
  const png = decodePng(checkedPng(bytes, size, source), source);
  const { channels, depth } = png;
  if (depth !== 8 && depth !== 16) throw new InputError(`${source} has ${depth} bits a channel: save it with 8`);
  const rgb = new Uint8Array(size * size * 3);
  const colours = channels >= 3;
  for (let i = 0; i < size * size; i++)
    for (let c = 0; c < 3; c++) {
      const value = png.data[i * channels + (colours ? c : 0)] as number;
      rgb[3 * i + c] = depth === 16 ? value >> 8 : value;
    }
  return { size, rgb };
}

interface Decoded {
  readonly channels: number;
  readonly depth: number;
  readonly data: ArrayLike<number>;
}

function decodePng(bytes: Uint8Array, source: string): Decoded {
  try {
    const png = decode(bytes, { checkCrc: true });
    if (png.palette === undefined || png.channels !== 1) return png;
    return { data: convertIndexedToRgb(png), channels: png.palette[0]?.length ?? 3, depth: 8 };
  } catch (cause) {
    throw new InputError(`${source} is not a PNG that can be read: it is damaged, or of an unusual kind`, { cause });
  }
}

const SIGNATURE = [137, 80, 78, 71, 13, 10, 26, 10];
const MAX_BYTES = 2 ** 24;
/** The chunks that a picture is made of; colour profiles, texts and animations are left out unread. */
const KEPT = ["IHDR", "PLTE", "IDAT", "IEND"];

/** The file with the kept chunks alone. Throws unless it is a picture of `size` × `size` that unpacks to its own size. */
function checkedPng(file: Uint8Array, size: number, source: string): Uint8Array {
  const refuse = (why: string): never => {
    throw new InputError(`${source} is not a PNG that can be read: ${why}`);
  };
  if (file.length > MAX_BYTES) refuse(`it has ${file.length} bytes, at most ${MAX_BYTES} are accepted`);
  if (SIGNATURE.some((byte, i) => file[i] !== byte)) refuse("it does not begin as a PNG does");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const parts = [file.subarray(0, 8)];
  const packed: Uint8Array[] = [];
  for (let at = 8, type = ""; type !== "IEND"; ) {
    if (at + 12 > file.length) refuse("it is cut off");
    const length = view.getUint32(at);
    const next = at + 12 + length;
    if (next > file.length) refuse("it is cut off");
    const first = type === "";
    type = String.fromCharCode(...file.subarray(at + 4, at + 8));
    const data = file.subarray(at + 8, at + 8 + length);
    if (first !== (type === "IHDR")) refuse("its header is not at its beginning");
    if (first) checkHeader(data, size, source);
    if (type === "IDAT") packed.push(data);
    if (KEPT.includes(type)) parts.push(file.subarray(at, next));
    at = next;
  }
  // 4 channels of 16 bits, a filter byte a row; interlacing adds rows, at most as many again.
  if (!unpacksWithin(packed, size * (8 * size + 1) + 8 * size + 16)) refuse("it unpacks to more than its picture");
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function checkHeader(header: Uint8Array, size: number, source: string): void {
  if (header.length !== 13) throw new InputError(`${source} is not a PNG that can be read: its header is damaged`);
  const view = new DataView(header.buffer, header.byteOffset, header.byteLength);
  const [width, height] = [view.getUint32(0), view.getUint32(4)];
  if (width !== size || height !== size)
    throw new InputError(`${source} is ${width} × ${height} pixels, the model takes ${size} × ${size}: scale it first`);
}

/** Does the zlib stream unpack to at most `limit` bytes? Stops soon after them; a damaged stream is left to the decoder. */
function unpacksWithin(packed: readonly Uint8Array[], limit: number): boolean {
  let total = 0;
  const inflater = new Unzlib((chunk) => {
    total += chunk.length;
  });
  const bite = 1 << 14; // deflate grows at most about a thousandfold: 16 MiB a bite
  try {
    for (const part of packed)
      for (let i = 0; i < part.length && total <= limit; i += bite) inflater.push(part.subarray(i, i + bite));
  } catch {
    return total <= limit;
  }
  return total <= limit;
}

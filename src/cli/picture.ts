/** Pictures from files. */
import { convertIndexedToRgb, decode } from "fast-png";
import type { Picture } from "../base/records.ts";
import { readInput } from "./files.ts";

/** A PNG of `size` × `size` pixels as RGB; transparency is passed over. Throws in plain words if it is none. */
export async function readPicture(path: string, size: number): Promise<Picture> {
  const bytes = await readInput(path);
  const png = decodePng(path, bytes);
  const { width, height, channels, depth } = png;
  if (width !== size || height !== size) {
    throw new Error(`${path} is ${width} × ${height} pixels, the model takes ${size} × ${size}: scale it first`);
  }
  if (depth !== 8 && depth !== 16) throw new Error(`${path} has ${depth} bits a channel: save it with 8`);
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
  readonly width: number;
  readonly height: number;
  readonly channels: number;
  readonly depth: number;
  readonly data: ArrayLike<number>;
}

function decodePng(path: string, bytes: Uint8Array): Decoded {
  try {
    const png = decode(bytes, { checkCrc: true });
    if (png.palette === undefined || png.channels !== 1) return png;
    return { ...png, data: convertIndexedToRgb(png), channels: png.palette[0]?.length ?? 3, depth: 8 };
  } catch (error) {
    throw new Error(`${path} is not a PNG that can be read: ${(error as Error).message}`);
  }
}

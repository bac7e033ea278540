import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { Inflate, Zip, ZipDeflate, ZipPassThrough } from "fflate";
import { sha256Hex } from "../base/hash.ts";

/**
 * Zip files, written as a stream and read strictly (PKWARE APPNOTE 6.3.10, without zip64, encryption and extras of ours).
 * The writer ends the file with a seal, a zip comment "autodidact sha256 <hex>" over every byte before it, so that any changed
 * byte shows. A file that another tool has packed again has no seal; its entries are then checked by their content alone.
 */

/** Largest file that the writer makes: zip64 would be needed beyond it. */
const maxZipBytes = 0xffffffff;
const sealPrefix = "autodidact sha256 ";
const sealLength = sealPrefix.length + 64;
const endLength = 22;
/** Time stamps would make equal runs differ; this is the earliest that zip can say. */
const epoch = new Date(1980, 0, 1);

/** Writes one zip. After each call, `take` hands over the bytes that are ready. */
export interface ZipWriter {
  /** Begins an entry; it ends when the next begins. Deflated unless `stored`. */
  entry(path: string, options?: { stored?: boolean }): void;
  write(bytes: Uint8Array): void;
  /** Ends the last entry: its size and SHA-256. */
  endEntry(): { readonly bytes: number; readonly sha256: string };
  /** Ends the file with directory and seal. */
  end(): void;
  take(): Uint8Array[];
}

/** A zip that is written piece by piece, without the whole of it in memory. */
export function zipWriter(): ZipWriter {
  let ready: Uint8Array[] = [];
  let total = 0;
  const seal = sha256.create();
  const emit = (chunk: Uint8Array): void => {
    total += chunk.length;
    if (total > maxZipBytes)
      throw new Error(
        "The archive would be larger than 4 GiB, which this zip format cannot hold. Export fewer rounds, or delete old adapters.",
      );
    seal.update(chunk);
    ready.push(chunk);
  };
  const zip = new Zip((error, chunk, final) => {
    if (error !== null) throw error;
    if (final) chunk.set([sealLength & 255, sealLength >> 8], chunk.length - 2); // the comment's length, at the end of the directory
    emit(chunk);
  });
  let current: { file: ZipDeflate | ZipPassThrough; hash: ReturnType<typeof sha256.create>; bytes: number } | null =
    null;
  return {
    entry(path, options = {}) {
      const file = options.stored === true ? new ZipPassThrough(path) : new ZipDeflate(path, { level: 6 });
      file.mtime = epoch;
      zip.add(file);
      current = { file, hash: sha256.create(), bytes: 0 };
    },
    write(bytes) {
      if (current === null) throw new Error("[zip] write outside an entry");
      current.hash.update(bytes);
      current.bytes += bytes.length;
      current.file.push(bytes.slice(), false); // a copy: fflate may keep what it is given
    },
    endEntry() {
      if (current === null) throw new Error("[zip] there is no entry to end");
      current.file.push(new Uint8Array(0), true);
      const written = { bytes: current.bytes, sha256: bytesToHex(current.hash.digest()) };
      current = null;
      return written;
    },
    end() {
      zip.end();
      ready.push(new TextEncoder().encode(sealPrefix + bytesToHex(seal.digest())));
    },
    take() {
      const chunks = ready;
      ready = [];
      return chunks;
    },
  };
}

/** Why a file is refused, in plain words. */
export class ZipError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "ZipError";
  }
}

export interface ZipEntry {
  readonly path: string;
  /** Size after unpacking, as declared and as enforced. */
  readonly bytes: number;
  /** Unpacks and checks size and CRC-32. Throws a ZipError. */
  read(): Uint8Array;
}

export interface ZipLimits {
  readonly entries: number;
  /** Unpacked bytes of all entries together. */
  readonly bytes: number;
  /** Unpacked over packed bytes of the whole file, where it unpacks to more than 64 MiB. */
  readonly ratio: number;
}

export const defaultLimits: ZipLimits = { entries: 20_000, bytes: 2 ** 30, ratio: 100 };

/**
 * The entries of a zip, in the order of its directory; nothing is unpacked yet. Throws a ZipError unless the file is
 * exactly its entries, its directory and its seal (or no comment): no gaps, no overlaps, no second names, no bombs.
 */
export function readZip(
  file: Uint8Array,
  limits: ZipLimits = defaultLimits,
): { readonly sealed: boolean; readonly entries: readonly ZipEntry[] } {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const sealed = checkSeal(file);
  const end = file.length - endLength - (sealed ? sealLength : 0);
  if (end < 0 || view.getUint32(end, true) !== 0x06054b50)
    throw new ZipError("This is not a whole zip file: its end is missing or changed. Export the run again.");
  const count = view.getUint16(end + 10, true);
  const directoryBytes = view.getUint32(end + 12, true);
  const directory = view.getUint32(end + 16, true);
  const wanted = view.getUint16(end + 20, true);
  if (wanted !== file.length - end - endLength)
    throw new ZipError("The zip file ends in bytes that do not belong to it.");
  if (
    view.getUint16(end + 4, true) !== 0 ||
    view.getUint16(end + 6, true) !== 0 ||
    view.getUint16(end + 8, true) !== count
  )
    throw new ZipError("The zip file is split over several disks, which is not supported.");
  if (directory + directoryBytes !== end)
    throw new ZipError("The directory of the zip file is not where the file says.");
  if (count > limits.entries)
    throw new ZipError(`The archive declares ${count} files; at most ${limits.entries} are accepted.`);

  const entries: ZipEntry[] = [];
  const paths = new Set<string>();
  let at = directory;
  let data = 0; // where the next entry must begin
  let total = 0;
  for (let i = 0; i < count; i++) {
    const entry = readEntry(file, view, at, data, directory, end);
    at = entry.nextHeader;
    data = entry.nextData;
    total += entry.bytes;
    if (paths.has(entry.path)) throw new ZipError(`The archive holds ${show(entry.path)} twice.`);
    paths.add(entry.path);
    entries.push({ path: entry.path, bytes: entry.bytes, read: entry.read });
  }
  if (at !== end || data !== directory) throw new ZipError("The zip file holds bytes that belong to no entry.");
  if (total > limits.bytes)
    throw new ZipError(
      `The archive would unpack to ${total} bytes; at most ${limits.bytes} are accepted. It looks like a zip bomb.`,
    );
  if (total > 2 ** 26 && total > limits.ratio * file.length)
    throw new ZipError(
      `The archive would unpack to ${Math.round(total / file.length)} times its size. It looks like a zip bomb.`,
    );
  return { sealed, entries };
}

/** True if the file ends in a seal that fits, false if it has none. Throws if the seal does not fit. */
function checkSeal(file: Uint8Array): boolean {
  const start = file.length - sealLength;
  if (start < 0) return false;
  const comment = new TextDecoder("latin1").decode(file.subarray(start));
  if (!comment.startsWith(sealPrefix)) return false;
  if (comment.slice(sealPrefix.length) !== sha256Hex(file.subarray(0, start)))
    throw new ZipError("The archive was changed after it was exported: its bytes do not match its seal.");
  return true;
}

function readEntry(file: Uint8Array, view: DataView, at: number, start: number, directory: number, end: number) {
  if (at + 46 > end || view.getUint32(at, true) !== 0x02014b50)
    throw new ZipError("The directory of the zip file is damaged.");
  const flags = view.getUint16(at + 8, true);
  const method = view.getUint16(at + 10, true);
  const crc = view.getUint32(at + 16, true);
  const packed = view.getUint32(at + 20, true);
  const bytes = view.getUint32(at + 24, true);
  const nameLength = view.getUint16(at + 28, true);
  const nextHeader = at + 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  const offset = view.getUint32(at + 42, true);
  if (nextHeader > end) throw new ZipError("The directory of the zip file is damaged.");
  const name = file.subarray(at + 46, at + 46 + nameLength);
  const path = new TextDecoder().decode(name);
  const refuse = (why: string): ZipError => new ZipError(`${show(path)}: ${why}`);
  if ((flags & 1) !== 0) throw refuse("it is encrypted, which is not supported.");
  if (method !== 0 && method !== 8) throw refuse(`it is packed with method ${method}; only deflate is supported.`);
  if (packed === 0xffffffff || bytes === 0xffffffff || offset === 0xffffffff)
    throw refuse("it needs zip64, which is not supported.");
  if (method === 0 && packed !== bytes) throw refuse("its two sizes contradict each other.");

  // The entry itself must start where the one before ended, and say the same as the directory.
  if (offset !== start || offset + 30 + nameLength > directory || view.getUint32(offset, true) !== 0x04034b50)
    throw refuse("it is not where the directory says, or overlaps another entry.");
  const ownName = file.subarray(offset + 30, offset + 30 + view.getUint16(offset + 26, true));
  if (ownName.length !== name.length || ownName.some((byte, i) => byte !== name[i]))
    throw refuse("it bears another name in the directory.");
  const described = (flags & 8) !== 0; // sizes and CRC follow the data
  if (view.getUint16(offset + 6, true) !== flags || view.getUint16(offset + 8, true) !== method)
    throw refuse("its header contradicts the directory.");
  if (
    !described &&
    (view.getUint32(offset + 14, true) !== crc ||
      view.getUint32(offset + 18, true) !== packed ||
      view.getUint32(offset + 22, true) !== bytes)
  )
    throw refuse("its header contradicts the directory.");
  const data = offset + 30 + nameLength + view.getUint16(offset + 28, true);
  let nextData = data + packed;
  if (nextData > directory) throw refuse("it is longer than the file.");
  if (described) {
    const marked = nextData + 4 <= directory && view.getUint32(nextData, true) === 0x08074b50;
    nextData += marked ? 16 : 12;
    if (
      nextData > directory ||
      view.getUint32(nextData - 12, true) !== crc ||
      view.getUint32(nextData - 8, true) !== packed ||
      view.getUint32(nextData - 4, true) !== bytes
    )
      throw refuse("its sizes contradict the directory.");
  }
  const read = (): Uint8Array => {
    const body = file.subarray(data, data + packed);
    const whole = method === 0 ? body.slice() : inflate(body, bytes, refuse);
    if (crc32(whole) !== crc) throw refuse("its content was changed: the checksum (CRC-32) does not match.");
    return whole;
  };
  return { path, bytes, nextHeader, nextData, read };
}

/** Unpacks to exactly `bytes` bytes and stops as soon as there would be more. */
function inflate(packed: Uint8Array, bytes: number, refuse: (why: string) => ZipError): Uint8Array {
  const whole = new Uint8Array(bytes);
  let at = 0;
  const inflater = new Inflate((chunk) => {
    if (at + chunk.length > bytes)
      throw refuse(`it unpacks to more than the ${bytes} bytes that it declares. It looks like a zip bomb.`);
    whole.set(chunk, at);
    at += chunk.length;
  });
  try {
    // Small bites: deflate grows at most about a thousandfold, so a bomb is noticed within 16 MiB.
    const bite = 1 << 14;
    let idle = 0; // bites that gave nothing; an uncompressed block may need four
    for (let i = 0; i < packed.length; i += bite) {
      const before = at;
      inflater.push(packed.subarray(i, i + bite), i + bite >= packed.length);
      idle = at === before ? idle + 1 : 0;
      if (idle > 8) throw refuse("its packed data goes on after its end.");
    }
  } catch (error) {
    throw error instanceof ZipError ? error : refuse("its packed data is damaged.");
  }
  if (at !== bytes) throw refuse(`it unpacks to ${at} bytes, not to the ${bytes} that it declares.`);
  return whole;
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = (c & 1) === 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

/** CRC-32 of zip (polynomial 0xEDB88320, reflected). */
export function crc32(bytes: Uint8Array): number {
  let c = 0xffffffff;
  for (const byte of bytes) c = (crcTable[(c ^ byte) & 255] as number) ^ (c >>> 8);
  return (c ^ 0xffffffff) >>> 0;
}

/** A name from outside, short and without control characters. */
const show = (path: string): string => JSON.stringify(path.length > 80 ? `${path.slice(0, 80)}…` : path);

import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { Inflate, Zip, ZipDeflate, ZipPassThrough } from "fflate";

/**
 * Zip files, written as a stream and read strictly, by slices (PKWARE APPNOTE 6.3.10, without zip64, encryption and extras of ours).
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

/** Where the bytes of a zip lie: on disk, behind a Blob, or in memory. */
export interface ByteSource {
  readonly size: number;
  /** The bytes from `from` up to and without `to`. Throws a ZipError if they cannot be read. */
  read(from: number, to: number): Promise<Uint8Array>;
}

/** What a zip is read from. A Blob, and so a file that a visitor has picked, is read slice by slice. */
export type ByteInput = Uint8Array | Blob | ByteSource;

function sourceOf(input: ByteInput): ByteSource {
  if (input instanceof Uint8Array) return { size: input.length, read: async (from, to) => input.subarray(from, to) };
  if (!(input instanceof Blob)) return input;
  return {
    size: input.size,
    async read(from, to) {
      try {
        return new Uint8Array(await input.slice(from, to).arrayBuffer());
      } catch {
        throw new ZipError("The file cannot be read: it was moved or changed meanwhile. Choose it again.");
      }
    },
  };
}

export interface ZipEntry {
  readonly path: string;
  /** Size after unpacking, as declared and as enforced. */
  readonly bytes: number;
  /** Unpacks piece by piece, none of them much larger than 16 MiB; size and CRC-32 have been checked after the last. Throws a ZipError. */
  chunks(): AsyncGenerator<Uint8Array>;
  /** All pieces as one. */
  read(): Promise<Uint8Array>;
}

export interface ZipLimits {
  readonly entries: number;
  /** Unpacked bytes of all entries together. */
  readonly bytes: number;
  /** Unpacked over packed bytes of the whole file, where it unpacks to more than 64 MiB. */
  readonly ratio: number;
}

export const defaultLimits: ZipLimits = { entries: 20_000, bytes: 2 ** 30, ratio: 100 };

/** Bytes that are read from the source at a time. */
const sliceBytes = 2 ** 18;
/** A directory of the most entries that are accepted, with names of 200 bytes, is a third of this. */
const maxDirectoryBytes = 2 ** 24;

/**
 * The entries of a zip, in the order of its directory; nothing is unpacked yet. Throws a ZipError unless the file is
 * exactly its entries, its directory and its seal (or no comment): no gaps, no overlaps, no second names, no bombs.
 */
export async function readZip(
  input: ByteInput,
  limits: ZipLimits = defaultLimits,
): Promise<{ readonly sealed: boolean; readonly entries: readonly ZipEntry[] }> {
  const source = sourceOf(input);
  const sealed = await checkSeal(source);
  const end = source.size - endLength - (sealed ? sealLength : 0);
  const tail = viewOf(await source.read(Math.max(end, 0), Math.max(end, 0) + Math.min(endLength, source.size)));
  if (end < 0 || tail.getUint32(0, true) !== 0x06054b50)
    throw new ZipError("This is not a whole zip file: its end is missing or changed. Export the run again.");
  const count = tail.getUint16(10, true);
  const directoryBytes = tail.getUint32(12, true);
  const directory = tail.getUint32(16, true);
  const wanted = tail.getUint16(20, true);
  if (wanted !== source.size - end - endLength)
    throw new ZipError("The zip file ends in bytes that do not belong to it.");
  if (tail.getUint16(4, true) !== 0 || tail.getUint16(6, true) !== 0 || tail.getUint16(8, true) !== count)
    throw new ZipError("The zip file is split over several disks, which is not supported.");
  if (directory + directoryBytes !== end)
    throw new ZipError("The directory of the zip file is not where the file says.");
  if (count > limits.entries)
    throw new ZipError(`The archive declares ${count} files; at most ${limits.entries} are accepted.`);
  if (directoryBytes > maxDirectoryBytes)
    throw new ZipError(
      `The directory of the zip file has ${directoryBytes} bytes; at most ${maxDirectoryBytes} are accepted.`,
    );

  const listing = await source.read(directory, end);
  const entries: ZipEntry[] = [];
  const paths = new Set<string>();
  let at = 0;
  let data = 0; // where the next entry must begin
  let total = 0;
  for (let i = 0; i < count; i++) {
    const header = readHeader(listing, at);
    const entry = await readEntry(source, header, data, directory);
    at = header.next;
    data = entry.nextData;
    total += header.bytes;
    if (paths.has(header.path)) throw new ZipError(`The archive holds ${show(header.path)} twice.`);
    paths.add(header.path);
    entries.push({ path: header.path, bytes: header.bytes, chunks: entry.chunks, read: entry.read });
  }
  if (at !== listing.length || data !== directory)
    throw new ZipError("The zip file holds bytes that belong to no entry.");
  if (total > limits.bytes)
    throw new ZipError(
      `The archive would unpack to ${total} bytes; at most ${limits.bytes} are accepted. It looks like a zip bomb.`,
    );
  if (total > 2 ** 26 && total > limits.ratio * source.size)
    throw new ZipError(
      `The archive would unpack to ${Math.round(total / source.size)} times its size. It looks like a zip bomb.`,
    );
  return { sealed, entries };
}

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** The bytes from `from` to `to`, a slice at a time. */
async function* slices(source: ByteSource, from: number, to: number): AsyncGenerator<Uint8Array> {
  for (let at = from; at < to; at += sliceBytes) yield source.read(at, Math.min(at + sliceBytes, to));
}

/** True if the file ends in a seal that fits, false if it has none. Throws if the seal does not fit. */
async function checkSeal(source: ByteSource): Promise<boolean> {
  const start = source.size - sealLength;
  if (start < 0) return false;
  const comment = new TextDecoder("latin1").decode(await source.read(start, source.size));
  if (!comment.startsWith(sealPrefix)) return false;
  const hash = sha256.create();
  for await (const slice of slices(source, 0, start)) hash.update(slice);
  if (comment.slice(sealPrefix.length) !== bytesToHex(hash.digest()))
    throw new ZipError("The archive was changed after it was exported: its bytes do not match its seal.");
  return true;
}

/** What the directory says of an entry. `next`: where the directory goes on. */
function readHeader(listing: Uint8Array, at: number) {
  const view = viewOf(listing);
  if (at + 46 > listing.length || view.getUint32(at, true) !== 0x02014b50)
    throw new ZipError("The directory of the zip file is damaged.");
  const nameLength = view.getUint16(at + 28, true);
  const next = at + 46 + nameLength + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
  if (next > listing.length) throw new ZipError("The directory of the zip file is damaged.");
  const name = listing.subarray(at + 46, at + 46 + nameLength);
  return {
    flags: view.getUint16(at + 8, true),
    method: view.getUint16(at + 10, true),
    crc: view.getUint32(at + 16, true),
    packed: view.getUint32(at + 20, true),
    bytes: view.getUint32(at + 24, true),
    offset: view.getUint32(at + 42, true),
    name,
    path: new TextDecoder().decode(name),
    next,
  };
}

/** The entry itself must start where the one before ended, and say the same as the directory. */
async function readEntry(source: ByteSource, header: ReturnType<typeof readHeader>, start: number, directory: number) {
  const { flags, method, crc, packed, bytes, offset, name, path } = header;
  const refuse = (why: string): ZipError => new ZipError(`${show(path)}: ${why}`);
  if ((flags & 1) !== 0) throw refuse("it is encrypted, which is not supported.");
  if (method !== 0 && method !== 8) throw refuse(`it is packed with method ${method}; only deflate is supported.`);
  if (packed === 0xffffffff || bytes === 0xffffffff || offset === 0xffffffff)
    throw refuse("it needs zip64, which is not supported.");
  if (method === 0 && packed !== bytes) throw refuse("its two sizes contradict each other.");

  const misplaced = refuse("it is not where the directory says, or overlaps another entry.");
  if (offset !== start || offset + 30 + name.length > directory) throw misplaced;
  const own = await source.read(offset, offset + 30 + name.length);
  const view = viewOf(own);
  if (view.getUint32(0, true) !== 0x04034b50) throw misplaced;
  if (view.getUint16(26, true) !== name.length || name.some((byte, i) => byte !== own[30 + i]))
    throw refuse("it bears another name in the directory.");
  const described = (flags & 8) !== 0; // sizes and CRC follow the data
  if (view.getUint16(6, true) !== flags || view.getUint16(8, true) !== method)
    throw refuse("its header contradicts the directory.");
  if (
    !described &&
    (view.getUint32(14, true) !== crc || view.getUint32(18, true) !== packed || view.getUint32(22, true) !== bytes)
  )
    throw refuse("its header contradicts the directory.");
  const data = offset + 30 + name.length + view.getUint16(28, true);
  let nextData = data + packed;
  if (nextData > directory) throw refuse("it is longer than the file.");
  if (described) {
    const after = viewOf(await source.read(nextData, Math.min(nextData + 16, directory)));
    const marked = after.byteLength >= 4 && after.getUint32(0, true) === 0x08074b50;
    const [at, length] = marked ? [4, 16] : [0, 12];
    nextData += length;
    if (
      nextData > directory ||
      after.getUint32(at, true) !== crc ||
      after.getUint32(at + 4, true) !== packed ||
      after.getUint32(at + 8, true) !== bytes
    )
      throw refuse("its sizes contradict the directory.");
  }
  async function* chunks(): AsyncGenerator<Uint8Array> {
    const body = slices(source, data, data + packed);
    let sum = crcStart;
    for await (const chunk of method === 0 ? body : inflate(body, packed, bytes, refuse)) {
      sum = crcOver(sum, chunk);
      yield chunk;
    }
    if (crcEnd(sum) !== crc) throw refuse("its content was changed: the checksum (CRC-32) does not match.");
  }
  async function read(): Promise<Uint8Array> {
    const whole = new Uint8Array(bytes);
    let at = 0;
    for await (const chunk of chunks()) {
      whole.set(chunk, at);
      at += chunk.length;
    }
    return whole;
  }
  return { nextData, chunks, read };
}

/** Unpacks to exactly `bytes` bytes and stops as soon as there would be more. */
async function* inflate(
  body: AsyncIterable<Uint8Array>,
  packed: number,
  bytes: number,
  refuse: (why: string) => ZipError,
): AsyncGenerator<Uint8Array> {
  let ready: Uint8Array[] = [];
  let given = 0;
  const inflater = new Inflate((chunk) => {
    given += chunk.length;
    if (given > bytes)
      throw refuse(`it unpacks to more than the ${bytes} bytes that it declares. It looks like a zip bomb.`);
    if (chunk.length > 0) ready.push(chunk);
  });
  // Small bites: deflate grows at most about a thousandfold, so a bomb is noticed within 16 MiB.
  const bite = 1 << 14;
  let eaten = 0;
  let idle = 0; // bites that gave nothing; an uncompressed block may need four
  const push = (piece: Uint8Array): void => {
    const before = given;
    eaten += piece.length;
    try {
      inflater.push(piece, eaten >= packed);
    } catch (error) {
      throw error instanceof ZipError ? error : refuse("its packed data is damaged.");
    }
    idle = given === before ? idle + 1 : 0;
    if (idle > 8) throw refuse("its packed data goes on after its end.");
  };
  for await (const slice of body)
    for (let i = 0; i < slice.length; i += bite) {
      push(slice.subarray(i, i + bite));
      yield* ready;
      ready = [];
    }
  if (given !== bytes) throw refuse(`it unpacks to ${given} bytes, not to the ${bytes} that it declares.`);
}

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = (c & 1) === 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

const crcStart = 0xffffffff;
const crcEnd = (sum: number): number => (sum ^ 0xffffffff) >>> 0;

function crcOver(sum: number, bytes: Uint8Array): number {
  let c = sum;
  for (const byte of bytes) c = (crcTable[(c ^ byte) & 255] as number) ^ (c >>> 8);
  return c;
}

/** CRC-32 of zip (polynomial 0xEDB88320, reflected). */
export const crc32 = (bytes: Uint8Array): number => crcEnd(crcOver(crcStart, bytes));

/** A name from outside, short and without control characters. */
const show = (path: string): string => JSON.stringify(path.length > 80 ? `${path.slice(0, 80)}…` : path);

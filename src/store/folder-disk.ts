import { closeSync, fsyncSync, openSync, readFileSync, readSync, renameSync, writeSync } from "node:fs";
import { join } from "node:path";
import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { sha256Hex } from "../base/hash.ts";
import { StoreError } from "./errors.ts";

/** The file operations that change the disk, so that tests can let each of them fail. */
export interface FolderIo {
  openSync: typeof openSync;
  writeSync: typeof writeSync;
  fsyncSync: typeof fsyncSync;
  renameSync: typeof renameSync;
}

export const diskIo: FolderIo = { openSync, writeSync, fsyncSync, renameSync };

/** A file of the folder's blobs, named by its SHA-256. */
export interface Blob {
  readonly sha: string;
  readonly bytes: number;
}

export const blobPath = (dir: string, sha: string): string => join(dir, "blobs", sha);

/** Writes a blob that nothing refers to yet, also over one that an interrupted commit has left: its time says that it is new. */
export function putBlob(dir: string, sha: string, bytes: Uint8Array, io: FolderIo): void {
  replaceFile(blobPath(dir, sha), bytes, io);
  syncFolder(join(dir, "blobs"), io);
}

/** The same for a blob whose bytes, and so its name, are known only when the last piece has come. */
export async function putBlobInPieces(dir: string, pieces: AsyncIterable<Uint8Array>, io: FolderIo): Promise<Blob> {
  const path = blobPath(dir, `incoming-${process.pid}.tmp`);
  const hash = sha256.create();
  let bytes = 0;
  const file = io.openSync(path, "w");
  try {
    for await (const piece of pieces) {
      hash.update(piece);
      bytes += piece.length;
      writeAll(io, file, piece);
    }
    io.fsyncSync(file);
  } finally {
    closeSync(file);
  }
  const sha = bytesToHex(hash.digest());
  io.renameSync(path, blobPath(dir, sha));
  syncFolder(join(dir, "blobs"), io);
  return { sha, bytes };
}

/** Throws a StoreError (damaged) unless the file has the bytes of its name. */
export function readBlob(dir: string, sha: string): Uint8Array {
  const bytes = readWhole(blobPath(dir, sha));
  if (sha256Hex(bytes) !== sha) throw changed(blobPath(dir, sha));
  return bytes;
}

export function readWhole(path: string): Uint8Array {
  try {
    return new Uint8Array(readFileSync(path));
  } catch {
    throw new StoreError("damaged", `${path} cannot be read. Restore it from a copy.`);
  }
}

export const changed = (path: string): StoreError =>
  new StoreError(
    "damaged",
    `${path} is damaged: its bytes have changed since they were saved. Restore it from a copy.`,
  );

/** Writes a file so that it is there whole or not at all. */
export function replaceFile(path: string, bytes: Uint8Array, io: FolderIo): void {
  const file = io.openSync(`${path}.tmp`, "w");
  try {
    writeAll(io, file, bytes);
    io.fsyncSync(file);
  } finally {
    closeSync(file);
  }
  io.renameSync(`${path}.tmp`, path);
}

/** Makes a rename durable. Windows has no such call for directories and does not need it. */
export function syncFolder(dir: string, io: FolderIo): void {
  if (process.platform === "win32") return;
  const folder = io.openSync(dir, "r");
  try {
    io.fsyncSync(folder);
  } finally {
    closeSync(folder);
  }
}

export function writeAll(io: FolderIo, file: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += io.writeSync(file, bytes, at, bytes.length - at);
}

export function readAt(file: number, offset: number, length: number): string {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; ) {
    const read = readSync(file, bytes, at, length - at, offset + at);
    if (read === 0) break;
    at += read;
  }
  return new TextDecoder().decode(bytes);
}

export const isFull = (error: unknown): boolean =>
  typeof error === "object" &&
  error !== null &&
  "code" in error &&
  (error.code === "ENOSPC" || error.code === "EDQUOT" || error.code === "EFBIG");

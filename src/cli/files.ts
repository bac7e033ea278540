import { mkdir, open, readdir, readFile, rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Files } from "../model/hf.ts";
import type { ByteSource } from "../store/zip.ts";
import { bounded } from "./bounded.ts";

const isMissing = (error: unknown): boolean => {
  const code = (error as NodeJS.ErrnoException).code;
  return code === "ENOENT" || code === "ENOTDIR";
};

/** A folder on disk. A folder that does not exist reads as an empty one; other errors of the system are passed on. */
export function folder(path: string): Files {
  return {
    name: path,
    bounded,
    async read(name) {
      try {
        return await readFile(join(path, name));
      } catch (error) {
        if (isMissing(error)) return null;
        throw error;
      }
    },
    async list() {
      try {
        return (await readdir(path)).sort();
      } catch (error) {
        if (isMissing(error)) return [];
        throw error;
      }
    },
  };
}

/** Writes files into a folder, made if need be. Each file is whole or absent: it is written aside and renamed. */
export async function writeFolder(
  path: string,
  files: Iterable<readonly [string, Uint8Array | string]>,
): Promise<void> {
  await mkdir(path, { recursive: true });
  for (const [name, content] of files) {
    const target = join(path, name);
    await writeFile(`${target}.part`, content);
    await rename(`${target}.part`, target);
  }
}

/** The bytes of one file. A file that does not exist is named. */
export async function readInput(path: string): Promise<Uint8Array> {
  try {
    return await readFile(path);
  } catch (error) {
    if (isMissing(error)) throw new Error(`there is no file ${path}`);
    throw error;
  }
}

/** A file that is read slice by slice. A file that does not exist is named. */
export async function openBytes(path: string): Promise<ByteSource & { close(): Promise<void> }> {
  try {
    const file = await open(path);
    const { size } = await file.stat();
    return {
      size,
      async read(from, to) {
        const bytes = new Uint8Array(to - from);
        for (let at = 0; at < bytes.length; ) {
          const { bytesRead } = await file.read(bytes, at, bytes.length - at, from + at);
          if (bytesRead === 0) throw new Error(`${path} became shorter while it was read`);
          at += bytesRead;
        }
        return bytes;
      },
      close: () => file.close(),
    };
  } catch (error) {
    if (isMissing(error)) throw new Error(`there is no file ${path}`);
    throw error;
  }
}

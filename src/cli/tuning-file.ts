/** Tables of tuned kernels as files in the user's cache folder, one an adapter. */
import { mkdir, readFile, rename, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { sha256Hex } from "../base/hash.ts";
import type { TuningStore } from "../ops/tune.ts";

/** XDG_CACHE_HOME or ~/.cache. */
export const tuningFolder = (): string =>
  join(process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"), "autodidact", "tuning");

export function fileTuningStore(folder = tuningFolder()): TuningStore {
  const path = (key: string) => join(folder, `${sha256Hex(key).slice(0, 32)}.json`);
  return {
    get: (key) =>
      readFile(path(key), "utf8").catch((error: NodeJS.ErrnoException) => {
        if (error.code === "ENOENT") return null;
        throw error;
      }),
    async put(key, value) {
      await mkdir(folder, { recursive: true });
      const beside = `${path(key)}.${process.pid}`;
      await writeFile(beside, value);
      await rename(beside, path(key));
    },
  };
}

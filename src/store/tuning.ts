/** Tables of tuned kernels in IndexedDB: a small database of its own, since they belong to the device and to no run. */
import { openDB } from "idb";

const NAME = "autodidact-tuning";
const TABLES = "tables";

/**
 * A store of texts by key. A browser that keeps no databases (private windows of some) gets none: reading finds nothing,
 * and what is written is lost, so that tuning is done again.
 */
export function openTuningStore(): {
  get(key: string): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
} {
  const open = async () => openDB(NAME, 1, { upgrade: (db) => void db.createObjectStore(TABLES) });
  const database = open().catch(() => null);
  return {
    async get(key) {
      const value: unknown = await (await database)?.get(TABLES, key);
      return typeof value === "string" ? value : null;
    },
    async put(key, value) {
      await (await database)?.put(TABLES, value, key);
    },
  };
}

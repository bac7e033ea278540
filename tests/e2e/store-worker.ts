/** The store in a worker of a real browser, on its own: what tests/e2e/store.test.ts asks of it, by messages. */
import { openDB } from "idb";
import { bufferItem } from "../../src/base/buffer.ts";
import type { Pair } from "../../src/base/records.ts";
import { openLibrary } from "../../src/store/idb.ts";
import { verifyJournal } from "../../src/store/journal.ts";
import type { PairFilter, PairPage } from "../../src/store/run.ts";
import { demoRun, pairOf } from "../store/fixtures.ts";

const KINDS = ["describe", "count", "exists", "left-of", "sum", "difference"] as const;
const STATUS = ["fresh", "trained", "accepted", "quarantined"] as const;
const PER_ROUND = 100;
/** The page counts no further. */
const COUNTED = 1000;

/** Pair `i` of a large buffer. Visitors' pairs are rare, and hardly any of them is a sum. */
function large(i: number): Pair {
  const round = 1 + Math.floor(i / PER_ROUND);
  const source = i % 997 === 0 ? "visitor" : i % 2 === 0 ? "imported:camera:B" : "camera:B";
  const pair = pairOf("large", round, source);
  const kind = KINDS[i % KINDS.length] as Pair["task"]["kind"];
  const status = STATUS[(i >> 3) % STATUS.length] as Pair["status"];
  return { ...pair, id: `pair-${i}`, task: { ...pair.task, kind }, status };
}

/** Writes the rows as commits would, without the journal. */
async function fill(count: number): Promise<number> {
  const began = performance.now();
  (await openLibrary({ name: "large" })).close();
  const db = await openDB("large");
  await db.put("runs", { run: "r", startedAt: 0 });
  for (let from = 0; from < count; from += 5000) {
    const tx = db.transaction(["pairs", "contents"], "readwrite", { durability: "relaxed" });
    for (let i = from; i < Math.min(count, from + 5000); i++) {
      const pair = large(i);
      const seq = Math.floor(i / PER_ROUND);
      void tx.objectStore("pairs").put({ run: "r", ...bufferItem(pair), seq, place: i % PER_ROUND });
      void tx.objectStore("contents").put({ run: "r", id: pair.id, pair });
    }
    await tx.done;
  }
  db.close();
  return performance.now() - began;
}

/** The first `pages` of a filter, 50 pairs each: the ids, and the milliseconds that opening the store and each page with its pictures took. */
async function list(filter: PairFilter, newestFirst: boolean, pages: number) {
  const opened = performance.now();
  const library = await openLibrary({ name: "large" });
  const opening = performance.now() - opened;
  const store = library.open("r");
  const ids: string[] = [];
  const ms: number[] = [];
  let after: PairPage["next"] = null;
  for (let n = 0; n < pages; n++) {
    const began = performance.now();
    const page: PairPage = await store.listPairs({ ...filter, newestFirst, after, limit: 50 });
    const whole = await store.pairsById(page.items.map(({ id }) => id));
    ms.push(performance.now() - began);
    ids.push(...whole.map(({ id }) => id));
    after = page.next;
    if (after === null) break;
  }
  const began = performance.now();
  const count = await store.countPairs(filter, COUNTED);
  const counting = performance.now() - began;
  library.close();
  return { ids, opening, ms, count, counting };
}

/** The run's sources, and the milliseconds that it took to find them. */
async function sources() {
  const library = await openLibrary({ name: "large" });
  const began = performance.now();
  const found = await library.open("r").sources();
  const ms = performance.now() - began;
  library.close();
  return { found, ms };
}

/** A run whose tensors all go to files of the origin private file system. */
async function files() {
  const names = async (): Promise<string[]> => {
    const root = await navigator.storage.getDirectory();
    const folder = await root.getDirectoryHandle("opfs-tensors");
    const found: string[] = [];
    for await (const name of (folder as unknown as { keys(): AsyncIterable<string> }).keys()) found.push(name);
    return found.sort();
  };
  const options = { name: "opfs", fileBytes: 0 };
  const library = await openLibrary(options);
  const commits = demoRun("r");
  for (const change of commits) await library.open("r").commit(change);
  const adapters = commits.flatMap(({ putAdapters }) => putAdapters);
  const written = await names();
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("opfs-tensors");
  const orphan = await (await folder.getFileHandle("f".repeat(64), { create: true })).createSyncAccessHandle();
  orphan.write(new Uint8Array(10));
  orphan.close();
  library.close();
  const again = await openLibrary(options);
  const read = await Promise.all(adapters.map(({ hash }) => again.open("r").adapter(hash)));
  const same = adapters.every(({ adapter, optimizer }, i) => {
    const one = read[i];
    return one?.adapter.join() === adapter.join() && one.optimizer.join() === optimizer.join();
  });
  const swept = await names();
  const { lines } = await again.open("r").snapshot();
  const verified = verifyJournal(lines, { run: "r" }).ok;
  await again.delete("r");
  const left = await names();
  again.close();
  return { written, swept, same, verified, left, expected: 2 * adapters.length };
}

const tasks = { fill, list, sources, files };
export type StoreTasks = typeof tasks;

self.addEventListener("message", ({ data }: MessageEvent<{ task: keyof StoreTasks; args: never[] }>) => {
  const task = tasks[data.task] as (...args: never[]) => Promise<unknown>;
  task(...data.args).then(
    (value) => self.postMessage({ value }),
    (error: unknown) =>
      self.postMessage({ failed: error instanceof Error ? (error.stack ?? error.message) : String(error) }),
  );
});

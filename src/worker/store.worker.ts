/** The store's worker: IndexedDB of all runs, archives. It outlives the engine's worker and its GPU. */
import { expose } from "comlink";
import { zipSync } from "fflate";
import type { BufferItem } from "../base/buffer.ts";
import type { LoopEvent } from "../base/events.ts";
import type { Pair, PairStatus } from "../base/records.ts";
import { forget, include } from "../loop/curate.ts";
import type { AdapterSnapshot, Commit, LoopState } from "../loop/ports.ts";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS } from "../model/peft.ts";
import { adopted } from "../store/adopt.ts";
import { exportRun } from "../store/archive.ts";
import { openLibrary, type RunLibrary } from "../store/idb.ts";
import { sumJournal } from "../store/journal.ts";
import type { PairFilter, PairQuery, RunStore } from "../store/run.ts";
import type { RunRecord } from "../store/schema.ts";
import { importRun } from "../store/verify.ts";
import { decode } from "../world/vocabulary.ts";
import type { CurateAction, ImportOptions, PairsOverview, PairsPage, Result, RunArchive, RunSummary } from "./api.ts";
import { live } from "./liveness.ts";
import { attempt, WorkerError } from "./rpc.ts";

let library: Promise<RunLibrary> | null = null;
const stores = new Map<string, RunStore>();

async function open(run: string): Promise<RunStore> {
  library ??= openLibrary();
  library.catch(() => {
    library = null;
  });
  let store = stores.get(run);
  if (!store) {
    store = (await library).open(run);
    stores.set(run, store);
  }
  return store;
}

const all = async (): Promise<RunLibrary> => {
  library ??= openLibrary();
  return library;
};

const summaryOf = (record: RunRecord): RunSummary => ({
  run: record.run,
  name: record.title,
  startedAt: record.startedAt,
  status: record.finished === null ? "paused" : record.finished === "stopped" ? "stopped" : "finished",
  round: record.round,
  rounds: record.rounds,
  seed: record.seed,
  accepted: record.accepted,
  rejected: record.rejected,
  heldOut: record.heldOut,
  bytes: record.bytes,
  events: record.events,
  base: record.base,
  incumbent: record.incumbent,
  imported: record.imported,
});

async function adapterOf(run: string, hash: string): Promise<AdapterSnapshot> {
  const snapshot = await (await open(run)).adapter(hash);
  if (!snapshot)
    throw new WorkerError(
      "bad-input",
      hash === "base"
        ? "The model is still the base: no update has been accepted yet, so there is no adapter to export."
        : `The run has no adapter ${hash.slice(0, 12)}.`,
    );
  return snapshot;
}

/** What an archive of the run contains, from its journal. */
async function containsOf(run: string): Promise<RunArchive["contains"]> {
  const { lines } = await (await open(run)).snapshot();
  const { pairs, adapters } = sumJournal(lines);
  const visitorPairs = lines.filter((line) => line.type === "corrected").length;
  return { events: lines.length, pairs: pairs.size, visitorPairs, adapters: adapters.size };
}

const now = (): number => Math.round(performance.timeOrigin + performance.now());

/** What other workers and the page call. */
const api = {
  live,
  state: (run: string): Promise<Result<LoopState | null>> => attempt(async () => (await open(run)).state()),
  commit: (run: string, change: Commit): Promise<Result<void>> => attempt(async () => (await open(run)).commit(change)),
  pairs: (
    run: string,
    query: { status?: PairStatus; round?: number; limit?: number },
  ): Promise<Result<readonly Pair[]>> => attempt(async () => (await open(run)).pairs(query)),
  hasPair: (run: string, id: string): Promise<Result<boolean>> => attempt(async () => (await open(run)).hasPair(id)),
  adapter: (run: string, hash: string): Promise<Result<AdapterSnapshot | null>> =>
    attempt(async () => (await open(run)).adapter(hash)),
  events: (run: string, query: { since: number }): Promise<Result<readonly LoopEvent[]>> =>
    attempt(async () => (await open(run)).events(query)),
  pairsById: (run: string, ids: readonly string[]): Promise<Result<readonly Pair[]>> =>
    attempt(async () => (await open(run)).pairsById(ids)),
  bufferItems: (run: string, query: { over: number }): Promise<Result<readonly BufferItem[]>> =>
    attempt(async () => (await open(run)).bufferItems(query)),

  listPairs: (run: string, query: PairQuery): Promise<Result<PairsPage>> =>
    attempt(async () => {
      const store = await open(run);
      const { items, next } = await store.listPairs(query);
      return { pairs: await store.pairsById(items.map(({ id }) => id)), next };
    }),
  overviewPairs: (run: string, filter: PairFilter, atMost: number): Promise<Result<PairsOverview>> =>
    attempt(async () => {
      const store = await open(run);
      return { sources: await store.sources(), count: await store.countPairs(filter, atMost) };
    }),
  choosePairs: (run: string, query: PairQuery): Promise<Result<readonly BufferItem[]>> =>
    attempt(async () => (await (await open(run)).listPairs(query)).items),
  /** Only while no engine has the run open: its loop would not know of the commit. Returns the number of events then. */
  curatePairs: (run: string, pairs: readonly string[], action: CurateAction): Promise<Result<number>> =>
    attempt(async () => {
      const store = await open(run);
      const state = await store.state();
      if (!state) throw new WorkerError("no-run", "There is no such run in this browser any more.");
      if (pairs.length === 0) throw new WorkerError("bad-input", "No pair was chosen.");
      const ports = { store, now, emit: () => undefined };
      const choice = { pairs, detail: "chosen by the visitor in the page" };
      return (await (action === "forget" ? forget : include)(ports, state, choice)).seq;
    }),

  runs: (): Promise<Result<readonly RunSummary[]>> => attempt(async () => (await (await all()).list()).map(summaryOf)),
  renameRun: (run: string, name: string): Promise<Result<null>> =>
    attempt(async () => {
      await (await all()).rename(run, name);
      return null;
    }),
  deleteRun: (run: string): Promise<Result<null>> =>
    attempt(async () => {
      await (await all()).delete(run);
      stores.delete(run);
      return null;
    }),
  exportRun: (run: string): Promise<Result<RunArchive>> =>
    attempt(async () => {
      const record = (await (await all()).list()).find((one) => one.run === run);
      const options = { promptText: (ids: readonly number[]) => decode(ids), ...(record && { title: record.title }) };
      const contains = await containsOf(run);
      // The browser may keep a Blob's bytes on disk: the archive is never whole in this worker's memory.
      const pieces: Blob[] = [];
      for await (const piece of exportRun(await open(run), options))
        pieces.push(new Blob([piece as Uint8Array<ArrayBuffer>]));
      return { zip: new Blob(pieces, { type: "application/zip" }), contains };
    }),
  exportAdapter: (run: string, hash: string): Promise<Result<Uint8Array>> =>
    attempt(async () => {
      const { adapter, config } = await adapterOf(run, hash);
      return zipSync({ [ADAPTER_CONFIG]: new TextEncoder().encode(config), [ADAPTER_WEIGHTS]: adapter });
    }),
  importRun: (
    archive: Blob | Uint8Array,
    { include: trusted = false }: ImportOptions = {},
  ): Promise<Result<RunSummary>> =>
    attempt(async () => {
      const contents = await importRun(archive, async (run) => {
        const store = await open(run);
        return { restore: async (read) => store.restore(await adopted(read, { at: now(), include: trusted })) };
      });
      const record = (await (await all()).list()).find((one) => one.run === contents.state.run);
      if (!record) throw new WorkerError("internal", "The run was imported but is not in the list.");
      return summaryOf(record);
    }),
};

export type StoreApi = typeof api;

expose(api);
self.addEventListener("message", ({ data }: MessageEvent) => {
  // The engine's worker talks to this one over a port of its own.
  if (data?.type === "connect") expose(api, data.port as MessagePort);
});

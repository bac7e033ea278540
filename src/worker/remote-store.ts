import type { Remote } from "comlink";
import type { StorePort } from "../loop/ports.ts";
import { unwrap } from "./rpc.ts";
import type { StoreApi } from "./store.worker.ts";

/** The loop's store, in another worker. */
export function remoteStore(store: Remote<StoreApi>, run: string): StorePort {
  return {
    state: () => unwrap(store.state(run)),
    commit: (change) => unwrap(store.commit(run, change)),
    pairs: (query) => unwrap(store.pairs(run, query)),
    hasPair: (id) => unwrap(store.hasPair(run, id)),
    pairsById: (ids) => unwrap(store.pairsById(run, ids)),
    bufferItems: (query) => unwrap(store.bufferItems(run, query)),
    adapter: (hash) => unwrap(store.adapter(run, hash)),
    events: (query) => unwrap(store.events(run, query)),
  };
}

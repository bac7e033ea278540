/** Which stored adapters the engine of this process knows already. */
import type { EnginePort, StorePort } from "./ports.ts";

export interface Adapters {
  /** Makes `hash` usable in the engine, from the store if need be. "base" always is. Throws if the store lacks it. */
  use(hash: string): Promise<void>;
  /** Loads the stored bytes of `hash` again, whatever the engine holds: a rollback. The engine checks the hash. */
  restore(hash: string): Promise<void>;
  /** Notes an adapter that the engine made itself (a snapshot). */
  made(hash: string): void;
}

export function knownAdapters(engine: EnginePort, store: StorePort): Adapters {
  const known = new Set<string>(["base"]);
  const restore = async (hash: string): Promise<void> => {
    if (hash === "base") return;
    const snapshot = await store.adapter(hash);
    if (!snapshot) throw new Error(`[loop] adapter ${hash} is not in the store; the run cannot go on without it`);
    await engine.load(snapshot);
    known.add(hash);
  };
  return {
    restore,
    use: async (hash) => {
      if (!known.has(hash)) await restore(hash);
    },
    made: (hash) => {
      known.add(hash);
    },
  };
}

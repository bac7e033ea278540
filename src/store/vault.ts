import { removeStaged } from "./idb-staged.ts";
import { type Db, guarded } from "./idb-tx.ts";
import type { PreparedAdapter } from "./run.ts";
import type { Tensors } from "./tensors.ts";

/** navigator.locks, or a stand-in. */
export type Locks = Pick<LockManager, "request">;

/**
 * The tensors of all runs. They are written before the transaction that refers to them, so whatever fails in between
 * leaves a tensor too many and never one too few; the sweep removes what no adapter refers to.
 */
export interface Vault {
  /** Writes the tensors of `adapters`, one adapter after the other, then runs `commit`, which makes them referred to. If that fails, they are removed again. */
  keep(
    adapters: readonly PreparedAdapter[] | AsyncIterable<PreparedAdapter>,
    commit: () => Promise<void>,
  ): Promise<void>;
  get(sha: string): Promise<Uint8Array | null>;
  /**
   * Removes tensors that nothing refers to and returns how many; also what an interrupted import has laid out. Does
   * nothing (0) while another tab is committing or importing.
   */
  sweep(): Promise<number>;
}

/** `locks` keeps the sweep of one tab from removing what another has written and not yet referred to; null where there is one tab only. `name` is the database's. */
export function openVault(db: Db, tensors: Tensors, locks: Locks | null, name: string): Vault {
  const lockName = `${name}-tensors`;
  const alone = <T>(body: () => Promise<T>): Promise<T> =>
    locks === null ? body() : (locks.request(lockName, body) as Promise<T>);

  const removeUnused = async (candidates: readonly string[]): Promise<number> => {
    const used = new Set((await db.getAll("adapters")).flatMap(({ hash, digests }) => [hash, digests.optimizer]));
    const unused = candidates.filter((sha) => !used.has(sha));
    if (unused.length > 0) await tensors.remove(unused);
    return unused.length;
  };

  return {
    keep: (adapters, commit) =>
      Array.isArray(adapters) && adapters.length === 0
        ? commit()
        : alone(async () => {
            const written: string[] = [];
            const put = async (sha: string, bytes: Uint8Array): Promise<void> => {
              written.push(sha);
              await guarded(() => tensors.put(sha, bytes));
            };
            try {
              for await (const { snapshot, digests } of adapters) {
                await put(snapshot.hash, snapshot.adapter);
                await put(digests.optimizer, snapshot.optimizer);
              }
              await commit();
            } catch (error) {
              // The failure is what matters; what cannot be removed now is swept at the next start.
              await removeUnused(written).catch(() => 0);
              throw error;
            }
          }),
    get: (sha) => guarded(() => tensors.get(sha)),
    sweep: () => {
      const all = async (): Promise<number> => {
        await removeStaged(db);
        return removeUnused(await tensors.names());
      };
      return guarded(async () =>
        locks === null
          ? all()
          : ((await locks.request(lockName, { ifAvailable: true }, (lock) => (lock === null ? 0 : all()))) as number),
      );
    },
  };
}

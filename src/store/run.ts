import type { BufferItem } from "../base/buffer.ts";
import { canonicalJson } from "../base/canonical.ts";
import type { LoopEvent } from "../base/events.ts";
import type { Pair, PairStatus, TaskKind } from "../base/records.ts";
import type { AdapterSnapshot, Commit, LoopState, StorePort } from "../loop/ports.ts";
import { StoreError, staleError } from "./errors.ts";
import {
  adapterDigests,
  type JournalHead,
  type JournalLine,
  journalLines,
  pairDigest,
  stateDigest,
} from "./journal.ts";

/** The memory of one run, as every store offers it: the loop's port, and what exports and lists need. */
export interface RunStore extends StorePort {
  readonly run: string;
  /** Committed events with seq ≥ since, in order, at most `limit`. */
  events(query: { since: number; limit?: number }): Promise<readonly LoopEvent[]>;
  /** State and journal, read in one moment. */
  snapshot(): Promise<{ readonly state: LoopState | null; readonly lines: readonly JournalLine[] }>;
  /** One page of the replay buffer, without pictures, in the order in which the pairs came. */
  listPairs(query: PairQuery): Promise<PairPage>;
  /** How many pairs pass a filter, counted up to `atMost`: counting takes as long as there are pairs. */
  countPairs(filter: PairFilter, atMost: number): Promise<number>;
  /** The sources of the run's pairs, each once, in the order of their names. */
  sources(): Promise<readonly string[]>;
  /**
   * Fills an empty run with a whole imported one: everything is laid out first, piece by piece, and the last write makes
   * it the run; if anything fails before, nothing is kept. Throws a StoreError (refused) if the run holds anything.
   */
  restore(contents: RunContents): Promise<void>;
  /** Bytes that this run takes, close to what the disk holds. */
  bytes(): Promise<number>;
  close(): void;
}

/** Absent fields let every pair pass. */
export interface PairFilter {
  readonly source?: string | undefined;
  readonly round?: number | undefined;
  readonly kind?: TaskKind | undefined;
  /** The gate's verdict on the update that the pair trained: see PairStatus. */
  readonly status?: PairStatus | undefined;
}

export interface PairQuery extends PairFilter {
  readonly limit: number;
  /** `next` of the page before; null or absent: from the start. */
  readonly after?: PairCursor | null;
  readonly newestFirst?: boolean;
}

/** A place in the order of a run: the event that stored a pair, and the pair's place in that commit. */
export interface PairCursor {
  readonly seq: number;
  readonly place: number;
}

export interface PairPage {
  readonly items: readonly BufferItem[];
  /** Where the next page begins, null after the last. */
  readonly next: PairCursor | null;
}

/**
 * A whole run, checked. What is large is read anew, piece by piece, from where it lies each time it is asked for; if it
 * is no longer what was checked, that ends in a StoreError.
 */
export interface RunContents {
  readonly title: string;
  readonly state: LoopState;
  readonly lines: readonly JournalLine[];
  events(): AsyncIterable<LoopEvent>;
  /** In the journal's order, with their last status. */
  pairs(): AsyncIterable<Pair>;
  adapters(): AsyncIterable<AdapterSnapshot>;
}

/** The same in memory. */
export interface WholeRun extends Pick<RunContents, "title" | "state" | "lines"> {
  readonly events: readonly LoopEvent[];
  readonly pairs: readonly Pair[];
  readonly adapters: readonly AdapterSnapshot[];
}

export async function wholeRun(contents: RunContents): Promise<WholeRun> {
  const { title, state, lines } = contents;
  const [events, pairs, adapters] = [
    await listed(contents.events()),
    await listed(contents.pairs()),
    await listed(contents.adapters()),
  ];
  return { title, state, lines, events, pairs, adapters };
}

export async function listed<T>(values: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const value of values) list.push(value);
  return list;
}

/** The values in lists of `size`, the last one shorter. */
export async function* batches<T>(values: AsyncIterable<T> | Iterable<T>, size: number): AsyncGenerator<T[]> {
  let batch: T[] = [];
  for await (const value of values) {
    batch.push(value);
    if (batch.length < size) continue;
    yield batch;
    batch = [];
  }
  if (batch.length > 0) yield batch;
}

/** An adapter with the SHA-256 of its config and optimizer; its own is `snapshot.hash`. */
export interface PreparedAdapter {
  readonly snapshot: AdapterSnapshot;
  readonly digests: { readonly config: string; readonly optimizer: string };
}

/** What a transaction writes: everything is hashed and measured before it begins. */
export interface Prepared {
  readonly state: LoopState;
  readonly events: readonly LoopEvent[];
  readonly lines: readonly JournalLine[];
  /** seq and place order the pairs of a run: the event that stored it, and its place in that commit. */
  readonly pairs: readonly {
    readonly pair: Pair;
    readonly seq: number;
    readonly place: number;
  }[];
  readonly status: readonly { readonly id: string; readonly status: PairStatus }[];
  /** Ids of the pairs that are deleted. */
  readonly removed: readonly string[];
  readonly adapters: readonly PreparedAdapter[];
  /** Bytes of events and journal lines. */
  readonly logBytes: number;
}

/**
 * Checks and hashes a commit that goes on from `head`.
 * Throws a StoreError: stale if the events do not continue the stored ones, refused if the change contradicts itself;
 * a TypeError that names the field if something cannot be stored (NaN, say).
 */
export function prepareCommit(run: string, head: JournalHead, change: Commit): Prepared {
  const { state, events, putPairs, setStatus, putAdapters } = change;
  const removed = change.removePairs ?? [];
  const first = events[0];
  if (first === undefined)
    throw new StoreError("refused", "A commit needs at least one event, so that the journal has a line for it.");
  if (first.seq !== head.seq + 1) throw staleError(run, head.seq, first.seq);
  if (state.run !== run)
    throw new StoreError("refused", `This is the memory of run ${run}, but the state belongs to run ${state.run}.`);
  if (state.seq !== first.seq + events.length) {
    throw new StoreError(
      "refused",
      `The state's seq should be that of the next event, ${first.seq + events.length}, but is ${state.seq}.`,
    );
  }
  events.forEach((event, i) => {
    if (event.seq !== first.seq + i)
      throw new StoreError(
        "refused",
        `Events must be numbered without gaps: after ${first.seq + i - 1} came ${event.seq}.`,
      );
  });
  const ids = new Set<string>();
  for (const { id } of putPairs) {
    if (ids.has(id)) throw new StoreError("refused", `The pair ${id} stands twice in one commit.`);
    ids.add(id);
  }
  checkTombstones(events, removed, ids);
  const adapters = putAdapters.map(prepareAdapter);
  const lines = journalLines(head, events, {
    pairs: putPairs.map((pair) => ({ id: pair.id, digest: pairDigest(pair), status: pair.status })),
    status: setStatus.map(({ id, status }) => ({ id, status })),
    ...(removed.length === 0 ? {} : { removed }),
    adapters: adapters.map(({ snapshot, digests }) => ({
      hash: snapshot.hash,
      config: digests.config,
      optimizer: digests.optimizer,
    })),
    state: stateDigest(state),
  });
  const seq = first.seq + events.length - 1;
  return {
    state,
    events,
    lines,
    pairs: putPairs.map((pair, place) => ({ pair, seq, place })),
    status: setStatus,
    removed,
    adapters,
    logBytes: logBytes(events, lines),
  };
}

/** Bytes of an adapter's three parts. */
export function adapterBytes(snapshot: AdapterSnapshot): number {
  return snapshot.adapter.length + snapshot.optimizer.length + snapshot.config.length;
}

/** Throws a StoreError (damaged) unless the bytes read back are those that were committed. */
export function checkAdapter(
  snapshot: AdapterSnapshot,
  expected: { config: string; optimizer: string },
): AdapterSnapshot {
  const found = adapterDigests(snapshot);
  if (found.hash !== snapshot.hash || found.config !== expected.config || found.optimizer !== expected.optimizer) {
    throw new StoreError(
      "damaged",
      `The stored adapter ${snapshot.hash} is damaged: its bytes have changed since they were saved. Continue from an exported archive, or delete the run.`,
    );
  }
  return snapshot;
}

/** Hashes an adapter. Throws a StoreError (refused) unless its bytes have its hash. */
export function prepareAdapter(snapshot: AdapterSnapshot): PreparedAdapter {
  const { hash, config, optimizer } = adapterDigests(snapshot);
  if (hash !== snapshot.hash) {
    throw new StoreError(
      "refused",
      `The adapter ${snapshot.hash} has bytes of SHA-256 ${hash}: it was changed on its way to the store.`,
    );
  }
  return { snapshot, digests: { config, optimizer } };
}

/** What is deleted must be what the commit's events "deleted" say, so that every deletion has its tombstone. */
function checkTombstones(events: readonly LoopEvent[], removed: readonly string[], put: ReadonlySet<string>): void {
  const told = events.flatMap((event) => (event.type === "deleted" ? event.pairs : []));
  if (told.length !== removed.length || told.some((id, i) => id !== removed[i]))
    throw new StoreError("refused", "The pairs that are deleted are not those that the commit's events name.");
  const twice = removed.find((id, i) => put.has(id) || removed.indexOf(id) !== i);
  if (twice !== undefined)
    throw new StoreError("refused", `The pair ${twice} is deleted twice, or stored and deleted in one commit.`);
}

/** Bytes of events and journal lines. */
export function logBytes(events: readonly LoopEvent[], lines: readonly JournalLine[]): number {
  return [...events, ...lines].reduce((sum, entry) => sum + canonicalJson(entry).length, 0);
}

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
  /** Fills an empty run with a whole imported one, in one transaction. Throws a StoreError (refused) if the run holds anything. */
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

/** A whole run, checked. Pairs are in the journal's order and carry their last status. */
export interface RunContents {
  readonly title: string;
  readonly state: LoopState;
  readonly lines: readonly JournalLine[];
  readonly events: readonly LoopEvent[];
  readonly pairs: readonly Pair[];
  readonly adapters: readonly AdapterSnapshot[];
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

/** A checked import as one transaction. `order` gives each pair's seq and place, from the journal. */
export function prepareRestore(contents: RunContents, order: (id: string) => { seq: number; place: number }): Prepared {
  return {
    state: contents.state,
    events: contents.events,
    lines: contents.lines,
    pairs: contents.pairs.map((pair) => ({ pair, ...placeOf(order(pair.id)) })),
    status: [],
    removed: [],
    adapters: contents.adapters.map(prepareAdapter),
    logBytes: logBytes(contents.events, contents.lines),
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

function prepareAdapter(snapshot: AdapterSnapshot): PreparedAdapter {
  const { hash, config, optimizer } = adapterDigests(snapshot);
  if (hash !== snapshot.hash) {
    throw new StoreError(
      "refused",
      `The adapter ${snapshot.hash} has bytes of SHA-256 ${hash}: it was changed on its way to the store.`,
    );
  }
  return { snapshot, digests: { config, optimizer } };
}

const placeOf = ({ seq, place }: PairCursor): PairCursor => ({ seq, place });

/** What is deleted must be what the commit's events "deleted" say, so that every deletion has its tombstone. */
function checkTombstones(events: readonly LoopEvent[], removed: readonly string[], put: ReadonlySet<string>): void {
  const told = events.flatMap((event) => (event.type === "deleted" ? event.pairs : []));
  if (told.length !== removed.length || told.some((id, i) => id !== removed[i]))
    throw new StoreError("refused", "The pairs that are deleted are not those that the commit's events name.");
  const twice = removed.find((id, i) => put.has(id) || removed.indexOf(id) !== i);
  if (twice !== undefined)
    throw new StoreError("refused", `The pair ${twice} is deleted twice, or stored and deleted in one commit.`);
}

function logBytes(events: readonly LoopEvent[], lines: readonly JournalLine[]): number {
  return [...events, ...lines].reduce((sum, entry) => sum + canonicalJson(entry).length, 0);
}

import { bufferItem } from "../base/buffer.ts";
import type { LoopEvent } from "../base/events.ts";
import type { Pair } from "../base/records.ts";
import type { Commit, LoopState, StorePort } from "../loop/ports.ts";
import { StoreError } from "./errors.ts";
import { adapterDigests, type JournalData, type JournalSum, pairDigest, stateDigest, sumJournal } from "./journal.ts";
import type { WholeRun } from "./run.ts";

/** What a repeated round came to, beside what the journal says of it. */
export interface ReplayReport {
  readonly round: number;
  readonly pairs:
    | { readonly kind: "same"; readonly count: number }
    | { readonly kind: "different"; readonly detail: string };
  readonly update:
    | { readonly kind: "same"; readonly adapter: string }
    | { readonly kind: "different"; readonly detail: string }
    | { readonly kind: "none"; readonly detail: string }
    | { readonly kind: "deleted"; readonly pair: string; readonly seq: number; readonly detail: string };
}

/** Thrown where a repeated round needs a pair that was deleted since. */
export class DeletedPair extends StoreError {
  readonly pair: string;
  /** The event whose journal line is the tombstone. */
  readonly seq: number;

  constructor(pair: string, seq: number) {
    super("refused", `the pair ${pair} was deleted by line ${seq + 1} of the journal (event ${seq})`);
    this.pair = pair;
    this.seq = seq;
  }
}

/** A store as it stood when a round began. What the repeated phases commit is kept beside the run, which is not touched. */
export interface ReplayStore extends StorePort {
  /** What was committed to it, in order. */
  readonly commits: readonly Commit[];
  /** From here on the buffer is as it was when the round's training began, with the repeated pairs in it. */
  enterTraining(): void;
  report(training: { readonly failed: DeletedPair | null }): ReplayReport;
}

/**
 * The run `contents` as it was in `before`, the state in which its round began.
 * Throws a StoreError (damaged) if that is not the state of the journal.
 */
export function replayStore(contents: WholeRun, before: LoopState): ReplayStore {
  const { lines, events, pairs, adapters } = contents;
  const { round } = before;
  if (lines[before.seq - 1]?.data?.state !== stateDigest(before))
    throw new StoreError("damaged", `The state before round ${round} is not the one in the journal.`);
  const stored = new Map(pairs.map((pair) => [pair.id, pair]));
  const { removed } = sumJournal(lines);
  const trained = events.find((event) => event.type === "trained" && event.round === round);
  const commits: Commit[] = [];
  const made = new Map<string, Pair>();
  let now: JournalSum = sumJournal(lines.slice(0, before.seq));
  let training = false;
  let state = before;
  let log: readonly LoopEvent[] = events.slice(0, before.seq);

  const pairOf = (id: string): Pair => {
    const pair = made.get(id) ?? stored.get(id);
    const status = now.pairs.get(id)?.status;
    if (pair !== undefined && status !== undefined) return { ...pair, status };
    const seq = removed.get(id);
    if (seq !== undefined) throw new DeletedPair(id, seq);
    throw new StoreError("damaged", `The pair ${id} is not in the run.`);
  };
  const held = (): Pair[] => [...now.pairs.keys()].map(pairOf);

  return {
    commits,
    enterTraining() {
      training = true;
      if (trained !== undefined) now = sumJournal(lines.slice(0, trained.seq));
    },
    state: async () => state,
    async commit(change) {
      commits.push(change);
      for (const pair of change.putPairs) made.set(pair.id, pair);
      state = change.state;
      log = [...log, ...change.events];
    },
    pairs: async ({ status, round: of, limit }) => {
      const wanted = [...now.pairs].filter(([, known]) => status === undefined || known.status === status);
      const found = wanted.map(([id]) => pairOf(id));
      return found.filter((pair) => of === undefined || pair.round === of).slice(0, limit);
    },
    hasPair: async (id) => now.pairs.has(id),
    pairsById: async (ids) => ids.map(pairOf),
    // While it collects, a repeated round makes no room: what had to go is gone from the run already.
    bufferItems: async () => (training ? held().map(bufferItem) : []),
    adapter: async (hash) => adapters.find((one) => one.hash === hash) ?? null,
    events: async ({ since }) => log.filter(({ seq }) => seq >= since),

    report({ failed }) {
      const paired = events.find((event) => event.type === "paired" && event.round === round);
      return {
        round,
        pairs: comparePairs(dataFrom(contents, paired), commits),
        update:
          failed === null
            ? compareUpdate(trained, dataFrom(contents, trained), commits)
            : { kind: "deleted", pair: failed.pair, seq: failed.seq, detail: failed.message },
      };
    },
  };
}

/** What the commit of this event changed, by digest. */
function dataFrom({ lines }: WholeRun, event: LoopEvent | undefined): JournalData | null {
  if (event === undefined) return null;
  return lines.slice(event.seq).find(({ data }) => data !== null)?.data ?? null;
}

function comparePairs(recorded: JournalData | null, commits: readonly Commit[]): ReplayReport["pairs"] {
  const again = commits.find(({ events }) => events.some(({ type }) => type === "paired"))?.putPairs ?? [];
  const before = recorded?.pairs ?? [];
  const same = before.filter(({ id, digest }, i) => {
    const pair = again[i];
    return pair?.id === id && pairDigest(pair) === digest;
  }).length;
  if (same === before.length && same === again.length) return { kind: "same", count: same };
  return {
    kind: "different",
    detail: `${same} of ${before.length} recorded pairs came out the same; the repeated round has ${again.length}`,
  };
}

function compareUpdate(
  recorded: LoopEvent | undefined,
  data: JournalData | null,
  commits: readonly Commit[],
): ReplayReport["update"] {
  const commit = commits.find(({ events }) => events.some(({ type }) => type === "trained"));
  const repeated = commit?.events.find((event) => event.type === "trained");
  if (recorded?.type !== "trained") return { kind: "none", detail: "the run ends before this round's training" };
  if (repeated?.type !== "trained") return { kind: "different", detail: "the repeated round was not trained" };
  const { outcome } = recorded;
  if (outcome.kind !== repeated.outcome.kind)
    return { kind: "different", detail: `${repeated.outcome.kind} instead of ${outcome.kind}` };
  if (outcome.kind !== "trained") return { kind: "none", detail: `both times the round was ${outcome.kind}` };
  const before = data?.adapters.find(({ hash }) => hash === outcome.adapter);
  const again = commit?.putAdapters.map(adapterDigests).at(0);
  if (again?.hash !== before?.hash)
    return { kind: "different", detail: `the adapter is ${again?.hash}, not ${outcome.adapter}` };
  if (again?.optimizer !== before?.optimizer)
    return { kind: "different", detail: "the adapter is the same, its optimizer state is not" };
  return { kind: "same", adapter: outcome.adapter };
}

import { canonicalDigest, canonicalJson } from "../base/canonical.ts";
import type { LoopEvent } from "../base/events.ts";
import { sha256Hex } from "../base/hash.ts";
import type { Pair, PairStatus } from "../base/records.ts";
import type { AdapterSnapshot, LoopState } from "../loop/ports.ts";

/** What one transaction changed, by digest. It stands on the line of the transaction's last event. */
export interface JournalData {
  readonly pairs: readonly { readonly id: string; readonly digest: string; readonly status: PairStatus }[];
  readonly status: readonly { readonly id: string; readonly status: PairStatus }[];
  /** Ids of deleted pairs: their tombstones. Absent where nothing was deleted. */
  readonly removed?: readonly string[];
  /** `hash` is the SHA-256 of adapter_model.safetensors; config and optimizer are SHA-256 too. */
  readonly adapters: readonly { readonly hash: string; readonly config: string; readonly optimizer: string }[];
  /** Digest of the loop's state, without the run's name. */
  readonly state: string;
}

/**
 * One line of the journal, for one event. With ‖ for concatenation of UTF-8 text:
 * content_t = SHA-256(content_{t−1} ‖ canonical JSON {seq, round, type, event, data}): no times, no names; equal for equal seeds;
 * hash_t = SHA-256(hash_{t−1} ‖ canonical JSON of the line without `hash`): times too.
 * Both start from genesis values, that of `hash` holding the run's name.
 */
export interface JournalLine {
  readonly seq: number;
  readonly round: number;
  readonly type: string;
  /** Milliseconds since the epoch, copied from the event. */
  readonly at: number;
  /** Digest of the event without `at` and without the run's name. */
  readonly event: string;
  readonly data: JournalData | null;
  readonly content: string;
  readonly previous: string;
  readonly hash: string;
}

/** A journal with more holes than this is not listed hole by hole. */
const maxGaps = 100;

/** Where a journal ends: the next line continues from here. seq is −1 before the first line. */
export interface JournalHead {
  readonly seq: number;
  readonly content: string;
  readonly hash: string;
}

/** Position is the index in the file, from 0; seq the line's own number. */
export interface JournalProblem {
  readonly kind: "changed" | "missing" | "reordered" | "added";
  readonly position: number;
  readonly seq: number;
  readonly message: string;
}

export type JournalVerdict =
  | { readonly ok: true; readonly head: JournalHead }
  | { readonly ok: false; readonly problems: readonly JournalProblem[] };

/** What a whole journal says that the store must hold. Maps are in the order of the last put. */
export interface JournalSum {
  readonly pairs: ReadonlyMap<
    string,
    { readonly digest: string; readonly status: PairStatus; readonly seq: number; readonly place: number }
  >;
  /** Deleted pairs, and the event whose line is their tombstone. */
  readonly removed: ReadonlyMap<string, number>;
  readonly adapters: ReadonlyMap<string, { readonly config: string; readonly optimizer: string }>;
  /** Digest of the last state, null before the first commit. */
  readonly state: string | null;
}

/** The head of an empty journal of `run`. */
export function genesis(run: string): JournalHead {
  return {
    seq: -1,
    content: sha256Hex("autodidact journal 1 content"),
    hash: sha256Hex(canonicalJson({ journal: 1, run })),
  };
}

/** Digest of an event without its time and its run's name, so that equal seeds give equal digests. */
export function eventDigest(event: LoopEvent): string {
  const { at: _at, ...rest } = event;
  if (rest.type !== "started") return canonicalDigest(rest);
  const { run: _run, ...nameless } = rest;
  return canonicalDigest(nameless);
}

/** Digest of a pair without its status, which later lines may change. */
export function pairDigest(pair: Pair): string {
  const { status: _status, ...rest } = pair;
  return canonicalDigest(rest);
}

/** Digest of a state without its run's name. */
export function stateDigest(state: LoopState): string {
  const { run: _run, ...rest } = state;
  return canonicalDigest(rest);
}

/** The digests by which the journal knows an adapter. */
export function adapterDigests(snapshot: AdapterSnapshot): { hash: string; config: string; optimizer: string } {
  return {
    hash: sha256Hex(snapshot.adapter),
    config: sha256Hex(snapshot.config),
    optimizer: sha256Hex(snapshot.optimizer),
  };
}

/** The lines of `events`, continuing from `head`; `data` goes on the last one. The events must be numbered on from the head. */
export function journalLines(head: JournalHead, events: readonly LoopEvent[], data: JournalData): JournalLine[] {
  const lines: JournalLine[] = [];
  let { content, hash } = head;
  events.forEach((event, i) => {
    const facts = {
      seq: event.seq,
      round: event.round,
      type: event.type,
      event: eventDigest(event),
      data: i === events.length - 1 ? data : null,
    };
    content = sha256Hex(content, canonicalJson(facts));
    const unsigned = { ...facts, at: event.at, content, previous: hash };
    hash = lineHash(unsigned);
    lines.push({ ...unsigned, hash });
  });
  return lines;
}

/**
 * Checks a whole journal, from its first line. `run` fixes the start; `head`, if known from elsewhere, fixes the end
 * (without it neither a cut-off tail nor a whole rewritten journal can be seen). Every changed, missing, reordered or added line is named.
 */
export function verifyJournal(
  lines: readonly JournalLine[],
  expected: { run: string; head?: { seq: number; hash: string } },
): JournalVerdict {
  const problems: JournalProblem[] = [];
  const report = (kind: JournalProblem["kind"], position: number, seq: number, message: string): void => {
    problems.push({ kind, position, seq, message });
  };

  // 1. Each line against its own hash.
  lines.forEach((line, i) => {
    const { hash, ...unsigned } = line;
    if (lineHash(unsigned) !== hash)
      report("changed", i, line.seq, `line ${i + 1} (event ${line.seq}) was changed: it does not match its hash`);
  });

  // 2. Each number once: of two lines with one number the right one is that which another line (or the end) continues.
  const continued = new Set(lines.map((line) => line.previous));
  if (expected.head !== undefined) continued.add(expected.head.hash);
  const positionOf = new Map<number, number>();
  lines.forEach((line, i) => {
    const other = positionOf.get(line.seq);
    if (other === undefined) {
      positionOf.set(line.seq, i);
      return;
    }
    const keepsOther = continued.has((lines[other] as JournalLine).hash) || !continued.has(line.hash);
    const added = keepsOther ? i : other;
    if (!keepsOther) positionOf.set(line.seq, i);
    report("added", added, line.seq, `line ${added + 1} was added: there are two lines for event ${line.seq}`);
  });

  // 3. Numbers in order, from 0 to the end, without gaps.
  const inFile = [...positionOf].map(([seq, position]) => ({ seq, position })).sort((a, b) => a.position - b.position);
  const inOrder = [...inFile].sort((a, b) => a.seq - b.seq);
  inFile.forEach(({ seq, position }, i) => {
    const should = inOrder[i] as { seq: number };
    if (seq !== should.seq)
      report(
        "reordered",
        position,
        seq,
        `line ${position + 1} (event ${seq}) was moved: event ${should.seq} belongs there`,
      );
  });
  const lastSeq = inOrder.at(-1)?.seq ?? -1;
  const end = expected.head?.seq ?? lastSeq;
  for (let seq = 0, gaps = 0; seq <= end && gaps < maxGaps; seq++) {
    if (positionOf.has(seq)) continue;
    report("missing", lines.length, seq, `event ${seq} is missing`);
    gaps++;
  }
  for (const { seq, position } of inOrder) {
    if (seq > end || seq < 0)
      report(
        "added",
        position,
        seq,
        `line ${position + 1} was added: the journal ends at event ${end}, and this is event ${seq}`,
      );
  }
  if (problems.length > 0) return { ok: false, problems };

  // 4. The numbers are right: now each line must continue the one before it, in both chains.
  let head = genesis(expected.run);
  lines.forEach((line, i) => {
    const { seq, round, type, event, data } = line;
    if (line.previous !== head.hash) {
      const what =
        i === 0
          ? "line 1 does not start the journal of this run"
          : `line ${i} (event ${seq - 1}) was replaced: line ${i + 1} continues another one`;
      report("changed", Math.max(i - 1, 0), Math.max(seq - 1, 0), what);
    } else if (sha256Hex(head.content, canonicalJson({ seq, round, type, event, data })) !== line.content) {
      report("changed", i, seq, `line ${i + 1} (event ${seq}) was changed: it does not match its content chain`);
    }
    head = { seq, content: line.content, hash: line.hash };
  });
  if (expected.head !== undefined && head.hash !== expected.head.hash) {
    report(
      "changed",
      lines.length - 1,
      head.seq,
      `line ${lines.length} (event ${head.seq}) was replaced: the journal should end in ${expected.head.hash}`,
    );
  }
  return problems.length === 0 ? { ok: true, head } : { ok: false, problems };
}

/** What the journal says that the store must hold after its last line. Throws if a status or a deletion belongs to no pair. */
export function sumJournal(lines: readonly JournalLine[]): JournalSum {
  const pairs = new Map<string, { digest: string; status: PairStatus; seq: number; place: number }>();
  const removed = new Map<string, number>();
  const adapters = new Map<string, { config: string; optimizer: string }>();
  let state: string | null = null;
  for (const { seq, data } of lines) {
    if (data === null) continue;
    data.pairs.forEach(({ id, digest, status }, place) => {
      pairs.delete(id); // a pair that is put again moves to the end
      pairs.set(id, { digest, status, seq, place });
      removed.delete(id);
    });
    for (const { id, status } of data.status) {
      const pair = pairs.get(id);
      if (pair === undefined)
        throw new Error(
          `event ${seq} gives a status to the pair ${JSON.stringify(id.slice(0, 80))}, which no line has stored`,
        );
      pair.status = status;
    }
    for (const id of data.removed ?? []) {
      if (!pairs.delete(id)) throw new Error(`event ${seq} deletes the pair ${id}, which no line has stored`);
      removed.set(id, seq);
    }
    for (const { hash, config, optimizer } of data.adapters) adapters.set(hash, { config, optimizer });
    state = data.state;
  }
  return { pairs, removed, adapters, state };
}

function lineHash(unsigned: Omit<JournalLine, "hash">): string {
  return sha256Hex(unsigned.previous, canonicalJson(unsigned));
}

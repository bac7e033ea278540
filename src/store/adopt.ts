import { IMPORTED } from "../base/buffer.ts";
import { type Contour, defaultContour } from "../base/contour.ts";
import { parseContour } from "../base/contours.ts";
import type { LoopEvent } from "../base/events.ts";
import type { Pair } from "../base/records.ts";
import type { LoopState } from "../loop/ports.ts";
import { StoreError } from "./errors.ts";
import { type JournalData, journalLines, pairDigest, stateDigest } from "./journal.ts";
import type { RunContents } from "./run.ts";

export interface AdoptOptions {
  /** Milliseconds since the epoch. */
  readonly at: number;
  /** The visitor trusts the archive: its pairs may train and its gate's thresholds hold here, too. */
  readonly include: boolean;
}

/**
 * A checked archive as it enters this machine: what somebody else made is marked, and decides nothing here.
 * Every pair's source says "imported". Unless `include` is set no pair may train (fresh, trained and accepted ones are
 * quarantined), the candidate under training is dropped, and the gate has the default thresholds. The gate's key is
 * always thrown away, since the archive's maker knows it: the next round seals a new one. All this is one commit more,
 * journal line included, so that the run verifies as before. Reads the pairs once, for their digests. Throws an
 * InputError for a contour out of range.
 */
export async function adopted(contents: RunContents, { at, include }: AdoptOptions): Promise<RunContents> {
  const { state, lines } = contents;
  const last = lines.at(-1);
  if (last === undefined) throw new StoreError("refused", "The archive holds no event.");
  parseContour(state.contour, "the archive's contour");
  let set = 0;
  const put: JournalData["pairs"][number][] = [];
  for await (const pair of contents.pairs()) {
    const ours = marked(pair, include);
    if (ours.status !== pair.status) set++;
    put.push({ id: ours.id, digest: pairDigest(ours), status: ours.status });
  }
  const next: LoopState = {
    ...state,
    ...(state.finished === null ? nextRound(state) : {}),
    seq: state.seq + 1,
    contour: include ? state.contour : withDefaultGate(state.contour),
    candidate: include ? state.candidate : null,
    gate: { ...state.gate, key: "", keyHash: "" },
  };
  const event: LoopEvent = {
    type: "restored",
    adapter: state.incumbent,
    reason: include
      ? `imported: ${put.length} pairs are marked and may train; the next gate has a new key`
      : `imported: ${put.length} pairs are marked, ${set} of them taken out of training; the gate has the default thresholds and a new key`,
    seq: state.seq,
    at,
    round: next.round,
  };
  const data: JournalData = { pairs: put, status: [], adapters: [], state: stateDigest(next) };
  return {
    title: contents.title,
    state: next,
    lines: [...lines, ...journalLines(last, [event], data)],
    async *events() {
      yield* contents.events();
      yield event;
    },
    async *pairs() {
      for await (const pair of contents.pairs()) yield marked(pair, include);
    },
    adapters: () => contents.adapters(),
  };
}

function marked(pair: Pair, include: boolean): Pair {
  const { source } = pair.task;
  return {
    ...pair,
    task: { ...pair.task, source: source.startsWith(IMPORTED) ? source : IMPORTED + source },
    status: include ? pair.status : "quarantined",
  };
}

/** A key is drawn when a round begins, so a run that was exported inside a round begins the next one. */
const nextRound = ({ phase, round }: LoopState): Pick<LoopState, "phase" | "round"> => ({
  phase: "collect",
  round: phase === "collect" ? round : round + 1,
});

const withDefaultGate = (contour: Contour): Contour => ({ ...contour, gate: defaultContour.gate });

/** What must hold of a stored run, whatever happened to it on the way. */
import type { LoopEvent } from "../../base/events.ts";
import { sha256Hex } from "../../base/hash.ts";
import { collect, exportRun } from "../../store/archive.ts";
import { eventDigest, pairDigest, stateDigest, sumJournal, verifyJournal } from "../../store/journal.ts";
import type { RunStore } from "../../store/run.ts";
import { verifyArchive } from "../../store/verify.ts";
import { decode } from "../../world/vocabulary.ts";

/**
 * Everything that is wrong with the run, in plain words; empty if nothing is.
 * The chain verifies; events, pairs, adapters and state are those of the journal, no more and no fewer (no orphan, no half
 * commit); no pair stands twice; the incumbent's bytes have its hash; held-out results are in order; the archive verifies.
 */
export async function problemsOf(store: RunStore): Promise<readonly string[]> {
  const problems: string[] = [];
  const claim = (holds: boolean, otherwise: string): void => {
    if (!holds) problems.push(otherwise);
  };
  const { state, lines } = await store.snapshot();
  const verdict = verifyJournal(lines, { run: store.run });
  if (!verdict.ok) problems.push(...verdict.problems.map(({ message }) => `journal: ${message}`));
  if (state === null) return [...problems, "there is no state"];
  const sum = sumJournal(lines);
  claim(stateDigest(state) === sum.state, "the state is not that of the journal");
  claim(state.seq === lines.length, `the state stands at event ${state.seq}, the journal at ${lines.length}`);

  const events = await store.events({ since: 0 });
  claim(events.length === lines.length, `${events.length} events, ${lines.length} journal lines`);
  events.forEach((event, i) => {
    claim(event.seq === i, `event ${i} has the number ${event.seq}`);
    claim(eventDigest(event) === lines[i]?.event, `event ${i} is not that of the journal`);
  });

  const pairs = await store.pairs({});
  claim(new Set(pairs.map(({ id }) => id)).size === pairs.length, "a pair stands twice in the memory");
  const announced = events.flatMap((event) => (event.type === "paired" ? event.pairs : []));
  claim(new Set(announced).size === announced.length, "a pair was made twice");
  claim(pairs.length === sum.pairs.size, `${pairs.length} pairs, the journal has ${sum.pairs.size}`);
  for (const pair of pairs) {
    const known = sum.pairs.get(pair.id);
    claim(known?.digest === pairDigest(pair), `pair ${pair.id.slice(0, 8)} is not that of the journal`);
    claim(known?.status === pair.status, `pair ${pair.id.slice(0, 8)} is ${pair.status}, not ${known?.status}`);
  }

  for (const hash of sum.adapters.keys()) {
    const adapter = await store.adapter(hash); // throws if config or moments have changed
    claim(adapter !== null, `adapter ${hash.slice(0, 8)} is missing`);
    if (adapter) claim(sha256Hex(adapter.adapter) === hash, `adapter ${hash.slice(0, 8)} has other bytes`);
  }
  for (const hash of [state.incumbent, state.best, state.candidate?.adapter ?? "base"])
    claim(
      hash === "base" || sum.adapters.has(hash),
      `the run stands on adapter ${hash.slice(0, 8)}, which is not stored`,
    );
  claim(incumbentOf(events) === state.incumbent, "the incumbent is not the last adapter that was committed");

  const archive = await verifyArchive(await collect(exportRun(store, { promptText: (ids) => decode(ids) })));
  if (!archive.ok) problems.push(...archive.problems.map(({ where, message }) => `archive: ${where}: ${message}`));
  return [...problems, ...heldOutProblems(events)];
}

function incumbentOf(events: readonly LoopEvent[]): string {
  const last = events.findLast((event) => event.type === "committed");
  return last?.type === "committed" ? last.adapter : "base";
}

/** Held-out results come in the order of their events, rounds never go back, no adapter is measured twice in a round. */
function heldOutProblems(events: readonly LoopEvent[]): readonly string[] {
  const problems: string[] = [];
  let last = { seq: -1, round: 0 };
  const measured = new Set<string>();
  for (const event of events) {
    if (event.type !== "evaluated") continue;
    if (event.seq <= last.seq || event.round < last.round)
      problems.push(
        `held-out result of event ${event.seq} (round ${event.round}) follows that of event ${last.seq} (round ${last.round})`,
      );
    const key = `${event.round} ${event.adapter} ${event.world}`;
    if (measured.has(key))
      problems.push(`adapter ${event.adapter.slice(0, 8)} was measured twice in round ${event.round}`);
    measured.add(key);
    last = event;
  }
  return problems;
}

/** Record: the last stage of every phase. State, events and data go into one commit; events are emitted only after it. */
import type { EventBody, LoopEvent } from "../base/events.ts";
import type { Commit, LoopState, Ports } from "./ports.ts";

/** What a phase wants to write. Its events carry the round in which the phase ran. */
export interface Change extends Partial<Pick<Commit, "putPairs" | "setStatus" | "putAdapters" | "removePairs">> {
  /** The state after the phase; its `seq` is set here. */
  readonly next: LoopState;
  readonly events: readonly EventBody[];
}

/** What recording needs: no engine, so that a stored run can be changed while nothing trains. */
export type Recorder = Pick<Ports, "store" | "now" | "emit">;

/** Numbers the events, commits everything at once, then emits. A commit that fails changes and emits nothing. */
export async function record(ports: Recorder, now: LoopState, change: Change): Promise<LoopState> {
  const at = ports.now();
  const events: LoopEvent[] = change.events.map((body, i) => ({ ...body, seq: now.seq + i, at, round: now.round }));
  const state: LoopState = { ...change.next, seq: now.seq + events.length };
  await ports.store.commit({
    state,
    events,
    putPairs: change.putPairs ?? [],
    setStatus: change.setStatus ?? [],
    putAdapters: change.putAdapters ?? [],
    removePairs: change.removePairs ?? [],
  });
  for (const event of events) ports.emit(event);
  return state;
}

/** What a person decides about pairs of the replay buffer. Each is one commit with its event; nothing is trained here. */
import { bufferItem, IMPORTED } from "../base/buffer.ts";
import { deletion } from "./buffer.ts";
import { type Recorder, record } from "./journal.ts";
import type { LoopState } from "./ports.ts";

export interface Choice {
  /** Ids of pairs that are in the buffer. */
  readonly pairs: readonly string[];
  /** Who decided and why, for the journal. */
  readonly detail: string;
}

/** Deletes pairs for good; the journal keeps their tombstone. Throws if one is not there. */
export async function forget(ports: Recorder, state: LoopState, { pairs, detail }: Choice): Promise<LoopState> {
  const found = await ports.store.pairsById(pairs);
  return record(ports, state, { next: state, ...deletion(found.map(bufferItem), "request", detail) });
}

/**
 * Lets imported pairs train here: they become fresh and take part in the next training; their source says as before
 * where they are from. Throws, and changes nothing, if one is not imported or is not set aside, or if the run has ended.
 */
export async function include(ports: Recorder, state: LoopState, { pairs, detail }: Choice): Promise<LoopState> {
  if (state.finished !== null) throw new Error("[loop] the run has ended: nothing trains in it any more");
  const found = await ports.store.pairsById(pairs);
  const wrong = found.find(({ task, status }) => !task.source.startsWith(IMPORTED) || status !== "quarantined");
  if (wrong !== undefined)
    throw new Error(
      `[loop] the pair ${wrong.id} is not an imported one that is set aside (${wrong.task.source}, ${wrong.status})`,
    );
  const setStatus = found.map(({ id }) => ({ id, status: "fresh" as const }));
  return record(ports, state, { next: state, events: [{ type: "included", pairs: [...pairs], detail }], setStatus });
}

import { type DeviceSummary, deviceOf } from "../base/events.ts";
import type { Loop } from "../loop/cycle.ts";
import { stateBeforeRound } from "../loop/history.ts";
import type { StorePort } from "../loop/ports.ts";
import { DeletedPair, type ReplayReport, replayStore } from "../store/replay.ts";
import type { WholeRun } from "../store/run.ts";

/** The device that a round began on, whose kernels it is repeated with. Throws if the run has no such round. */
export const deviceBefore = (
  { events, state }: Pick<WholeRun, "events" | "state">,
  round: number,
): DeviceSummary | undefined => deviceOf(events.slice(0, stateBeforeRound(events, round, state).seq));

/**
 * Repeats the collecting and the training of one round from the state before it, on `openLoop`'s engine, and compares
 * pairs and update with what the journal says. The run itself is not touched. Throws if the run has no such round, or was
 * trained on other base weights.
 */
export async function replayRound(
  contents: WholeRun,
  round: number,
  openLoop: (store: StorePort) => Loop,
): Promise<ReplayReport> {
  const store = replayStore(contents, stateBeforeRound(contents.events, round, contents.state));
  const loop = openLoop(store);
  await loop.resume();
  await loop.advance();
  store.enterTraining();
  try {
    await loop.advance();
  } catch (error) {
    if (!(error instanceof DeletedPair)) throw error;
    return store.report({ failed: error });
  }
  return store.report({ failed: null });
}

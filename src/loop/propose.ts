/** Propose: fresh tasks without truth. */
import type { EventBody } from "../base/events.ts";
import type { Task } from "../base/records.ts";
import { seedFor } from "./keys.ts";
import type { LoopState, Ports } from "./ports.ts";

/** Pictures in an event that a page draws; the rest is named by id. */
const previewTasks = 8;

/** Throws if the source proposes nothing. */
export async function propose(ports: Ports, state: LoopState): Promise<readonly Task[]> {
  const { seed, round, contour } = state;
  const count = contour.propose.tasks;
  ports.progress({ round, stage: "propose", done: 0, total: count });
  const tasks = await ports.source.propose({
    world: contour.world,
    round,
    count,
    seed: seedFor(seed, "propose", round),
  });
  if (tasks.length === 0)
    throw new Error(`[loop] the source proposed no task in round ${round}; check world "${contour.world}"`);
  ports.progress({ round, stage: "propose", done: tasks.length, total: count });
  return tasks;
}

export function proposedEvent(tasks: readonly Task[]): EventBody {
  const source = [...new Set(tasks.map((task) => task.source))].join(", ");
  return { type: "proposed", tasks: tasks.map((task) => task.id), source, preview: tasks.slice(0, previewTasks) };
}

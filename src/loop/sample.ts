/** Sample: K answers a task from the adapter under training (or the incumbent, when a candidate starts). */
import type { EventBody } from "../base/events.ts";
import type { Candidate, JudgedTask, Task } from "../base/records.ts";
import { answerKey, seedFor } from "./keys.ts";
import type { LoopState, Ports } from "./ports.ts";

export interface SampledTask {
  readonly task: Task;
  readonly candidates: readonly Candidate[];
}

/** Tasks per engine call: small enough that the first answers show within seconds. Part of what a seed determines. */
export const chunkTasks = 16;

/** Answers in the order of `tasks`. Each chunk has a seed of its own, keyed by round and chunk. */
export async function sample(
  ports: Ports,
  state: LoopState,
  tasks: readonly Task[],
  adapter: string,
): Promise<readonly SampledTask[]> {
  const { seed, round, contour } = state;
  const sampled: SampledTask[] = [];
  const show = (one: SampledTask | undefined): void =>
    ports.progress({
      round,
      stage: "sample",
      done: sampled.length,
      total: tasks.length,
      ...(one ? { preview: unjudged(one) } : {}),
    });
  /** Place of the task of the first chunk whose answers are shown as they come: the first one that has most. */
  let early = -1;
  const showEarly = (answers: readonly (readonly Candidate[])[]): void => {
    const counts = answers.map((some) => some.length);
    const most = Math.max(...counts);
    if (early < 0 && most > 0) early = counts.indexOf(most);
    const [task, candidates] = [tasks[early], answers[early]];
    if (task && candidates) show({ task, candidates });
  };
  for (let from = 0; from < tasks.length; from += chunkTasks) {
    const chunk = tasks.slice(from, from + chunkTasks);
    const answers = await ports.engine.sample(chunk, {
      ...contour.sample,
      adapter,
      seed: seedFor(seed, "sample", round, from),
      ...(from === 0 ? { onAnswers: showEarly } : {}),
    });
    sampled.push(...chunk.map((task, i) => ({ task, candidates: answers[i] ?? [] })));
    show(from === 0 && early >= 0 ? sampled[early] : sampled.at(-1));
  }
  return sampled;
}

function unjudged({ task, candidates }: SampledTask): JudgedTask {
  return { task, candidates: candidates.map((candidate) => ({ ...candidate, scores: {}, redrawn: null })) };
}

/** Size of each cluster of identical answers, in order of first appearance. */
export function answerClusters(candidates: readonly Candidate[]): ReadonlyMap<string, number> {
  const clusters = new Map<string, number>();
  for (const candidate of candidates) {
    const key = answerKey(candidate);
    clusters.set(key, (clusters.get(key) ?? 0) + 1);
  }
  return clusters;
}

/** `distinct` counts different answers task by task and adds up. */
export function sampledEvent(sampled: readonly SampledTask[]): EventBody {
  const all = sampled.flatMap((one) => one.candidates);
  return {
    type: "sampled",
    tasks: sampled.length,
    candidates: all.length,
    finished: all.filter((candidate) => candidate.finished).length,
    distinct: sampled.reduce((sum, one) => sum + answerClusters(one.candidates).size, 0),
  };
}

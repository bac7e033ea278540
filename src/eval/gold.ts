import type { Task, WorldName } from "../base/records.ts";
import { cameraStream } from "../world/camera.ts";
import { describeF1, truthItem } from "../world/truth.ts";

/** Scores an answer to one of the camera's tasks. */
export type GoldScorer = (
  task: Task,
  tokens: readonly number[],
  options: { world: WorldName; seed: number; count: number },
) => number;

/**
 * The judge of the upper-bound control: it knows the camera's seed, makes the round's scenes again and scores
 * an answer by F1 against the truth (1 = exactly right). No run that claims to be label-free may use it.
 * The scorer throws if the task is not one of the `count` that the camera made in the task's round.
 */
export function createGold(): GoldScorer {
  let known = { round: "", answers: new Map<string, readonly number[]>() };
  return (task, tokens, { world, seed, count }) => {
    const round = JSON.stringify([world, seed, task.round, count]);
    if (known.round !== round) known = { round, answers: answersOf(world, seed, task.round, count) };
    const truth = known.answers.get(task.id);
    if (truth === undefined)
      throw new Error(`[gold] task ${task.id} is not one of the camera's ${count} in round ${task.round}`);
    return describeF1(truth, tokens);
  };
}

function answersOf(world: WorldName, seed: number, round: number, count: number): Map<string, readonly number[]> {
  const entries = Array.from({ length: count }, (_, index) => {
    const { task, truth } = truthItem(
      { kind: "describe", world, source: `camera:${world}` },
      cameraStream(seed, world, round, index),
    );
    return [task.id, truth] as const;
  });
  return new Map(entries);
}

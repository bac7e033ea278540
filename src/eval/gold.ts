import type { Task, WorldName } from "../base/records.ts";
import { cameraStream } from "../world/camera.ts";
import { describeF1, truthItem } from "../world/truth.ts";

/** What the gold judge must know of the camera: world, pictures a round, and the seed that the camera got in a round. */
export interface CameraSettings {
  readonly world: WorldName;
  readonly count: number;
  seedOf(round: number): number;
}

/**
 * The judge of the upper-bound control: it makes the scenes of a task's round again and scores an answer by F1
 * against the truth (1 = exactly right, 0 = nothing right). No run that claims to be label-free may use it.
 * The scorer throws if the task is not one that the camera made with these settings.
 */
export function createGold(camera: CameraSettings): (task: Task, tokens: readonly number[]) => number {
  let known = { round: Number.NaN, answers: new Map<string, readonly number[]>() };
  return (task, tokens) => {
    if (known.round !== task.round) known = { round: task.round, answers: answersOf(camera, task.round) };
    const truth = known.answers.get(task.id);
    if (truth === undefined) {
      throw new Error(
        `[gold] task ${task.id} is not one of the camera's ${camera.count} in round ${task.round}; check seed and world`,
      );
    }
    return describeF1(truth, tokens);
  };
}

/** Task id → true description, for one round. */
function answersOf(camera: CameraSettings, round: number): Map<string, readonly number[]> {
  const { world, count } = camera;
  const entries = Array.from({ length: count }, (_, index) => {
    const stream = cameraStream(camera.seedOf(round), world, round, index);
    const { task, truth } = truthItem({ kind: "describe", world, source: `camera:${world}` }, stream);
    return [task.id, truth] as const;
  });
  return new Map(entries);
}

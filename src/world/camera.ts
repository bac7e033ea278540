import type { Task, WorldName } from "../base/records.ts";
import { type Rng, rngFor } from "../base/rng.ts";
import { exampleOf } from "./examples.ts";
import { toTask } from "./task.ts";

/** The stream of the camera's picture `index` of a round. */
export function cameraStream(seed: number, world: WorldName, round: number, index: number): Rng {
  return rngFor(seed, "camera", world, round, index);
}

/** The loop's SourcePort, in this layer's words. */
export interface Camera {
  /** `count` fresh pictures to describe. The same (world, seed, round) gives the same tasks. */
  propose(options: { world: WorldName; round: number; count: number; seed: number }): Promise<readonly Task[]>;
  /** Labelled pre-training examples of world A, clean. */
  replayA(options: {
    count: number;
    seed: number;
    round: number;
  }): Promise<readonly { task: Task; answer: readonly number[] }[]>;
}

/**
 * A camera that walks through a world: fresh pictures to describe, and nothing about what they show.
 * What it hands out holds pixels and prompt; the scene is forgotten at once.
 */
export function createCamera(): Camera {
  return {
    async propose({ world, round, count, seed }) {
      return Array.from({ length: count }, (_, index) =>
        toTask(exampleOf("describe", world, cameraStream(seed, world, round, index)), `camera:${world}`, round),
      );
    },
    async replayA({ count, seed, round }) {
      return Array.from({ length: count }, (_, index) => {
        const example = exampleOf("describe", "A", rngFor(seed, "replay", round, index));
        return { task: toTask(example, "replay:A", round), answer: example.answer };
      });
    },
  };
}

/**
 * What is true of a generated item. Only src/eval and src/world/sealed.ts may import this file:
 * no judge, filter, pair builder or learner ever sees it.
 */
import type { Task, TaskKind, WorldName } from "../base/records.ts";
import type { Rng } from "../base/rng.ts";
import { type Example, exampleOf } from "./examples.ts";
import { parseAnswer } from "./questions.ts";
import { sameObject, sameScene } from "./scene.ts";
import { toTask } from "./task.ts";

/** A task and what is true of it. */
export interface TruthItem {
  readonly task: Task;
  readonly truth: readonly number[];
  readonly answerClass: string;
}

/** Items that belong to no round of the loop. */
export const NO_ROUND = -1;

/** A fresh item of the world; arithmetic comes from the held-out operands. */
export function truthItem(
  options: { kind: TaskKind; world: WorldName; source: string; answerClass?: string },
  rng: Rng,
): TruthItem {
  const { kind, world, source, answerClass } = options;
  const example: Example = exampleOf(kind, world, rng, {
    split: "held-out",
    ...(answerClass === undefined ? {} : { answerClass }),
  });
  return { task: toTask(example, source, NO_ROUND), truth: example.answer, answerClass: example.answerClass };
}

/** describe: the same set of objects with their cells, in any order. Other kinds: the same tokens. */
export function isCorrect(kind: TaskKind, truth: readonly number[], tokens: readonly number[]): boolean {
  if (kind !== "describe") return truth.length === tokens.length && truth.every((token, i) => token === tokens[i]);
  const want = parseAnswer("describe", truth);
  const got = parseAnswer("describe", tokens);
  return want?.kind === "scene" && got?.kind === "scene" && sameScene(want.scene, got.scene);
}

/** F1 of described objects against true ones: 1 if all are right, 0 if none is or the answer does not parse. */
export function describeF1(truth: readonly number[], tokens: readonly number[]): number {
  const want = parseAnswer("describe", truth);
  const got = parseAnswer("describe", tokens);
  if (want?.kind !== "scene") throw new Error("[truth] F1 needs the truth of a describe task");
  if (got?.kind !== "scene") return 0;
  const hits = got.scene.filter((object) => want.scene.some((other) => sameObject(object, other))).length;
  return (2 * hits) / (want.scene.length + got.scene.length);
}

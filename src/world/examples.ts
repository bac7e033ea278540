import { sha256Bytes } from "../base/hash.ts";
import type { Picture, TaskKind, WorldName } from "../base/records.ts";
import type { Rng } from "../base/rng.ts";
import { type Answer, answerFrom, answerTokens, type Filter, matches, promptOf, type Question } from "./questions.ts";
import { photograph } from "./render.ts";
import {
  type Look,
  type ObjectRange,
  objectsOf,
  place,
  randomCount,
  randomLook,
  randomScene,
  type Scene,
} from "./scene.ts";
import { COLOURS, SHAPES } from "./vocabulary.ts";

/** A question with its picture and its right answer: what the base is pre-trained on, and what evaluation grades. */
export interface Example {
  readonly kind: TaskKind;
  /** null for arithmetic. */
  readonly picture: Picture | null;
  readonly prompt: readonly number[];
  /** Ends with `<eos>`. */
  readonly answer: readonly number[];
  /** The class over which evaluation is balanced, e.g. "3" objects, "yes", "carry". */
  readonly answerClass: string;
}

/** Pairs of operands are split by hash; both orders and the differences made of them fall on the same side. */
export type Split = "train" | "held-out";

/** Share of pairs of operands held out from training. */
const HELD_OUT_SHARE = 0.2;

/** On which side the operands a and b lie, in any order. */
export function splitOf(a: number, b: number): Split {
  const [first = 0, second = 0] = sha256Bytes(`operands ${Math.min(a, b)} ${Math.max(a, b)}`);
  return (first * 256 + second) / 65536 < HELD_OUT_SHARE ? "held-out" : "train";
}

/** The classes over which a kind is balanced, in a world. */
export function classesOf(kind: TaskKind, world: WorldName): readonly string[] {
  switch (kind) {
    case "describe": {
      const { min, max } = objectsOf(world);
      return Array.from({ length: max - min + 1 }, (_, i) => String(min + i));
    }
    case "count":
      return Array.from({ length: objectsOf(world).max + 1 }, (_, i) => String(i));
    case "exists":
    case "left-of":
      return ["yes", "no"];
    case "sum":
    case "difference":
      return ["plain", "carry"];
  }
}

/**
 * One labelled example of a kind, in the class `answerClass` or in a class drawn uniformly.
 * describe: number of objects uniform, looks and cells uniform. count, exists, left-of: the answer is drawn first and
 * the scene built to have it. sum, difference: operands 0–99, as often with a carry in the units as without.
 */
export function exampleOf(
  kind: TaskKind,
  world: WorldName,
  rng: Rng,
  options: { answerClass?: string; split?: Split } = {},
): Example {
  const classes = classesOf(kind, world);
  const answerClass = options.answerClass ?? rng.pick(classes);
  if (!classes.includes(answerClass)) {
    throw new RangeError(
      `[examples] ${kind} in world ${world} has the classes ${classes.join(", ")}, not "${answerClass}"`,
    );
  }
  if (kind === "sum" || kind === "difference") {
    const question = arithmetic(kind, answerClass === "carry", options.split ?? "train", rng);
    return finish(question, answerFrom(question, []), null, answerClass);
  }
  const { question, scene } = askAbout(kind, answerClass, objectsOf(world), rng);
  return finish(question, answerFrom(question, scene), photograph(scene, world, rng), answerClass);
}

function finish(question: Question, answer: Answer, picture: Picture | null, answerClass: string): Example {
  return { kind: question.kind, picture, prompt: promptOf(question), answer: answerTokens(answer), answerClass };
}

function askAbout(
  kind: "describe" | "count" | "exists" | "left-of",
  answerClass: string,
  range: ObjectRange,
  rng: Rng,
): { question: Question; scene: Scene } {
  switch (kind) {
    case "describe":
      return { question: { kind }, scene: randomScene(Number(answerClass), rng) };
    case "count": {
      const filter = randomFilter(rng);
      const hits = Number(answerClass);
      return { question: { kind, filter }, scene: sceneWith(filter, hits, range, rng) };
    }
    case "exists": {
      const filter = randomFilter(rng);
      const hits = answerClass === "no" ? 0 : 1 + rng.int(2);
      return { question: { kind, filter }, scene: sceneWith(filter, hits, range, rng) };
    }
    case "left-of":
      return leftOf(answerClass === "yes", range, rng);
  }
}

/** A colour, a shape or both, a third each. */
function randomFilter(rng: Rng): Filter {
  const form = rng.int(3);
  return {
    colour: form === 1 ? null : rng.int(COLOURS.length),
    shape: form === 0 ? null : rng.int(SHAPES.length),
  };
}

/** A scene in which exactly `hits` objects match. */
function sceneWith(filter: Filter, hits: number, range: ObjectRange, rng: Rng): Scene {
  const count = randomCount({ min: Math.max(range.min, hits), max: range.max }, rng);
  return place(
    Array.from({ length: count }, (_, i) => lookThat(filter, i < hits, rng)),
    rng,
  );
}

function lookThat(filter: Filter, match: boolean, rng: Rng): Look {
  for (;;) {
    const look = randomLook(rng);
    if (matches(look, filter) === match) return look;
  }
}

/** Two objects that are the only ones of their looks, the first left of the second or not. */
function leftOf(wanted: boolean, range: ObjectRange, rng: Rng): { question: Question; scene: Scene } {
  for (;;) {
    const scene = randomScene(randomCount({ min: Math.max(2, range.min), max: range.max }, rng), rng);
    const [first, second] = rng.shuffle(
      scene.filter((object) => scene.filter((other) => matches(other, object)).length === 1),
    );
    if (first === undefined || second === undefined || first.column < second.column !== wanted) continue;
    const look = ({ colour, shape }: Look): Look => ({ colour, shape });
    return { question: { kind: "left-of", first: look(first), second: look(second) }, scene };
  }
}

/** a + b, or (a + b) − b, with a and b in 0–99 on the given side of the split. */
function arithmetic(kind: "sum" | "difference", carry: boolean, split: Split, rng: Rng): Question {
  for (;;) {
    const a = rng.int(100);
    const b = rng.int(100);
    if ((a % 10) + (b % 10) >= 10 !== carry || splitOf(a, b) !== split) continue;
    return kind === "sum" ? { kind, left: a, right: b } : { kind, left: a + b, right: b };
  }
}

/** Weights of the kinds in pre-training; they need not add up to 1. */
export type Mixture = Readonly<Partial<Record<TaskKind, number>>>;

/** A kind, in proportion to its weight. Throws if no weight is positive. */
export function kindOf(mixture: Mixture, rng: Rng): TaskKind {
  const entries = Object.entries(mixture) as [TaskKind, number][];
  const total = entries.reduce((sum, [, weight]) => sum + weight, 0);
  if (!(total > 0)) throw new RangeError("[examples] a mixture needs at least one positive weight");
  let left = rng.next() * total;
  for (const [kind, weight] of entries) {
    left -= weight;
    if (left < 0) return kind;
  }
  return (entries.findLast(([, weight]) => weight > 0) as [TaskKind, number])[0];
}

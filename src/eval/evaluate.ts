import type { Candidate, HeldOut, Score, TaskKind, WorldName } from "../base/records.ts";
import { rngFor } from "../base/rng.ts";
import { macroScore, scoreOf } from "../base/stats.ts";
import type { EnginePort, EvaluatorPort } from "../loop/ports.ts";
import { classesOf } from "../world/examples.ts";
import { isCorrect, type TruthItem, truthItem } from "../world/truth.ts";

/** Longest answer that an evaluation waits for: six objects, `<eos>` and one token to spare. */
const MAX_NEW_TOKENS = 26;

/** What is evaluated; the same options give the same items on every machine. */
export interface HeldOutOptions {
  readonly kind: TaskKind;
  readonly world: WorldName;
  readonly items: number;
  readonly seed: number;
}

/** Held-out items of a kind, its answer classes in turn, so that none has more than one item more than another. */
export function heldOutItems({ kind, world, items, seed }: HeldOutOptions): readonly TruthItem[] {
  const classes = classesOf(kind, world);
  if (!(Number.isInteger(items) && items >= classes.length)) {
    throw new RangeError(
      `[evaluate] ${kind} in world ${world} has ${classes.length} answer classes and needs at least as many items, got ${items}`,
    );
  }
  return Array.from({ length: items }, (_, i) => {
    const answerClass = classes[i % classes.length] as string;
    return truthItem(
      { kind, world, source: `held-out:${world}`, answerClass },
      rngFor(seed, "held-out", kind, world, i),
    );
  });
}

/**
 * Greedy and sampled (temperature 1, one sample an item) accuracy of an adapter on held-out items of one kind.
 * Values are macro means over answer classes; `perKind` holds the greedy score of each class, e.g. "describe/3".
 */
export async function evaluateKind(
  options: HeldOutOptions & { engine: EnginePort; adapter: string },
): Promise<HeldOut> {
  const { engine, adapter, kind, seed } = options;
  const items = heldOutItems(options);
  const tasks = items.map((item) => item.task);
  const greedy = await engine.greedy(tasks, { adapter, maxNewTokens: MAX_NEW_TOKENS });
  const sampling = { k: 1, temperature: 1, topK: 0, topP: 1, maxNewTokens: MAX_NEW_TOKENS };
  const sampled = await engine.sample(tasks, { adapter, ...sampling, seed });
  const greedyClasses = scorePerClass(items, greedy);
  const greedyScore = macroScore([...greedyClasses.values()]);
  const perKind = Object.fromEntries(
    [...greedyClasses].map(([answerClass, score]) => [`${kind}/${answerClass}`, score]),
  );
  return {
    greedy: greedyScore,
    sampled: macroScore([
      ...scorePerClass(
        items,
        sampled.map((candidates) => candidates[0]),
      ).values(),
    ]),
    n: greedyScore.n,
    ci: greedyScore.ci,
    perKind,
  };
}

function scorePerClass(items: readonly TruthItem[], answers: readonly (Candidate | undefined)[]): Map<string, Score> {
  if (answers.length !== items.length)
    throw new Error(`[evaluate] ${items.length} items but ${answers.length} answers`);
  const right = new Map<string, boolean[]>();
  items.forEach(({ task, truth, answerClass }, i) => {
    const correct = isCorrect(task.kind, truth, answers[i]?.tokens ?? []);
    right.set(answerClass, [...(right.get(answerClass) ?? []), correct]);
  });
  return new Map(
    [...right].map(([answerClass, results]) => [answerClass, scoreOf(results.filter(Boolean).length, results.length)]),
  );
}

/** The evaluator of reports: describing pictures of a world. */
export function createEvaluator(): EvaluatorPort {
  return { evaluate: (options) => evaluateKind({ ...options, kind: "describe" }) };
}

/** Every kind given, `items` items each. Arithmetic is the same in every world. */
export async function evaluateKinds(
  options: Omit<HeldOutOptions, "kind"> & { engine: EnginePort; adapter: string; kinds: readonly TaskKind[] },
): Promise<ReadonlyMap<TaskKind, HeldOut>> {
  const results = new Map<TaskKind, HeldOut>();
  for (const kind of options.kinds) results.set(kind, await evaluateKind({ ...options, kind }));
  return results;
}

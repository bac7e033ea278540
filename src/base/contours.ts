/** Contours by name, and the reading of a contour from a file: every key is checked against the default's. */
import { type Contour, defaultContour } from "./contour.ts";
import { InputError } from "./input.ts";

const { train, judge } = defaultContour;

/** The loop and its controls. Each differs from the default in what its name says and in nothing else. */
export const CONTOURS: Readonly<Record<string, Contour>> = {
  default: defaultContour,
  /** Control: as many optimizer steps on labelled pre-training examples of world A, no pairs. */
  "supervised-A": {
    ...defaultContour,
    name: "supervised-A",
    judge: { ...judge, rule: "pixels", record: ["pixels"] },
    train: { ...train, method: "sft" },
  },
};

const CHOICES: Readonly<Record<string, readonly unknown[]>> = {
  world: ["A", "B"],
  "judge.rule": ["default", "pixels", "onnx", "self", "majority", "random", "gold"],
  "judge.record": ["pixels", "onnx-image", "onnx-text", "self", "majority", "random", "gold"],
  "train.method": ["dpo", "sft"],
  "train.lossType": ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"],
};

/** [least, most] of each count: beyond them a run would never end or fill the memory. */
const COUNTS: Readonly<Record<string, readonly [number, number]>> = {
  rounds: [1, 100_000],
  "propose.tasks": [1, 4096],
  "sample.k": [1, 256],
  "sample.topK": [0, 1_000_000],
  "sample.maxNewTokens": [1, 4096],
  "train.batchSize": [1, 4096],
  "train.minPairs": [0, 1_000_000],
  "train.loraR": [1, 4096],
  "train.replayA.perStep": [0, 4096],
  "buffer.capacity": [0, 2 ** 40],
  "gate.period": [1, 100_000],
  "gate.batch": [1, 10_000],
  "gate.maxItems": [1, 1_000_000],
  "gate.maxDeferrals": [0, 1000],
  "evaluate.every": [0, 100_000],
  "evaluate.items": [1, 1_000_000],
  "stop.patience": [0, 100_000],
};

/** [least, most] of numbers that may have fractions; those that stand in neither table lie in [0, 1e6]. */
const NUMBERS: Readonly<Record<string, readonly [number, number]>> = {
  "sample.topP": [0, 1],
  "buffer.reservoir": [0, 1],
  "buffer.priority.halfLife": [1e-3, 1e6],
  "gate.alpha": [1e-9, 0.5],
  "gate.epsilonA": [1e-6, 1],
  "gate.epsilonB": [1e-6, 1],
};
const ANY_NUMBER = [0, 1e6] as const;

/** What a list may hold, and how many of it. */
const LISTS: Readonly<Record<string, (list: readonly unknown[]) => string | null>> = {
  "judge.record": (list) => amongst(list, CHOICES["judge.record"] as readonly unknown[]),
  "evaluate.worlds": (list) => amongst(list, CHOICES.world as readonly unknown[]),
  "filter.entropy": ([low, high, ...more]) =>
    more.length === 0 && Number.isFinite(low) && Number.isFinite(high) && (low as number) <= (high as number)
      ? null
      : "must be [least, most]",
};

const amongst = (list: readonly unknown[], choices: readonly unknown[]): string | null =>
  list.every((one, i) => choices.includes(one) && list.indexOf(one) === i)
    ? null
    : `must be a list of ${choices.join(", ")}, none of them twice`;

const MAX_NAME = 200;

/**
 * A contour from JSON: keys that are absent keep the default's value. Throws an InputError, with the key's path, for
 * an unknown key, a wrong type, a number out of its range or a value that is not among the choices.
 */
export function parseContour(json: unknown, source = "contour"): Contour {
  return merge(defaultContour, json, source, "") as Contour;
}

function merge(model: unknown, given: unknown, source: string, path: string): unknown {
  const where = path === "" ? source : `${source}: ${path}`;
  const fail = (problem: string): never => {
    throw new InputError(`${where} ${problem}`);
  };
  if (Array.isArray(model)) {
    if (!Array.isArray(given)) return fail("must be a list");
    const problem = LISTS[path]?.(given) ?? null;
    return problem === null ? given : fail(problem);
  }
  if (typeof model === "object" && model !== null) {
    if (typeof given !== "object" || given === null || Array.isArray(given)) return fail("must be an object");
    const known = model as Record<string, unknown>;
    const merged = { ...known };
    for (const [key, value] of Object.entries(given)) {
      if (!Object.hasOwn(known, key))
        fail(`has no key ${JSON.stringify(key.slice(0, 80))}; it takes ${Object.keys(known).join(", ")}`);
      merged[key] = merge(known[key], value, source, path === "" ? key : `${path}.${key}`);
    }
    return merged;
  }
  const choices = CHOICES[path];
  if (choices && !choices.includes(given)) fail(`must be one of ${choices.join(", ")}, not ${shown(given)}`);
  if (typeof given !== typeof model) fail(`must be a ${typeof model}, not ${shown(given)}`);
  if (typeof given === "string" && given.length > MAX_NAME) fail(`must have at most ${MAX_NAME} characters`);
  if (typeof given === "number") checkNumber(given, path, fail);
  return given;
}

function checkNumber(given: number, path: string, fail: (problem: string) => never): void {
  const [least, most] = COUNTS[path] ?? NUMBERS[path] ?? ANY_NUMBER;
  if (!(given >= least && given <= most)) fail(`must be from ${least} to ${most}, not ${given}`);
  if (Object.hasOwn(COUNTS, path) && !Number.isInteger(given)) fail(`must be a whole number, not ${given}`);
}

const shown = (value: unknown): string =>
  typeof value === "object" ? "an object" : JSON.stringify(value).slice(0, 80);

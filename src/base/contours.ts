/** Contours by name, and the reading of a contour from a file: every key is checked against the default's. */
import { type Contour, defaultContour } from "./contour.ts";

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
  "train.method": ["dpo", "sft"],
  "train.lossType": ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"],
};

/**
 * A contour from JSON: keys that are absent keep the default's value. Throws in plain words, with the key's path, for
 * an unknown key, a wrong type or a value that is not among the choices.
 */
export function parseContour(json: unknown, source = "contour"): Contour {
  return merge(defaultContour, json, source, "") as Contour;
}

function merge(model: unknown, given: unknown, source: string, path: string): unknown {
  const where = path === "" ? source : `${source}: ${path}`;
  const choices = CHOICES[path];
  if (choices && !choices.includes(given))
    throw new Error(`${where} must be one of ${choices.join(", ")}, not ${JSON.stringify(given)}`);
  if (Array.isArray(model)) {
    if (!Array.isArray(given) || given.some((one) => typeof one !== typeof model[0]))
      throw new Error(`${where} must be a list of ${typeof model[0]}s`);
    return given;
  }
  if (typeof model === "object" && model !== null) {
    if (typeof given !== "object" || given === null || Array.isArray(given))
      throw new Error(`${where} must be an object`);
    const known = model as Record<string, unknown>;
    const merged = { ...known };
    for (const [key, value] of Object.entries(given)) {
      if (!(key in known)) throw new Error(`${where} has no key "${key}"; it takes ${Object.keys(known).join(", ")}`);
      merged[key] = merge(known[key], value, source, path === "" ? key : `${path}.${key}`);
    }
    return merged;
  }
  if (typeof given !== typeof model)
    throw new Error(`${where} must be a ${typeof model}, not ${JSON.stringify(given)}`);
  if (typeof given === "number" && !Number.isFinite(given)) throw new Error(`${where} must be finite`);
  return given;
}

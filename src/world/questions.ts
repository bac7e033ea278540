import type { TaskKind } from "../base/records.ts";
import type { Look, Scene, SceneObject } from "./scene.ts";
import { toScene } from "./scene.ts";
import * as v from "./vocabulary.ts";

/** A filter of objects: null means any. */
export interface Filter {
  readonly colour: number | null;
  readonly shape: number | null;
}

/**
 * What can be asked, with prompt and answer in words:
 * describe   "describe"                          → "red circle b 3 blue square c 4"
 * count      "count red", "count blue square"    → "2"
 * exists     "exists triangle"                   → "yes"
 * left-of    "left-of red circle blue square"    → "no" (is the first's column before the second's?)
 * sum        "4 7 + 2 5 ="                       → "7 2"    (operands 0–99)
 * difference "7 2 - 2 5 ="                       → "4 7"    (0–198 minus 0–99, result 0–99)
 */
export type Question =
  | { readonly kind: "describe" }
  | { readonly kind: "count" | "exists"; readonly filter: Filter }
  | { readonly kind: "left-of"; readonly first: Look; readonly second: Look }
  | { readonly kind: "sum" | "difference"; readonly left: number; readonly right: number };

export const KINDS: readonly TaskKind[] = ["describe", "count", "exists", "left-of", "sum", "difference"];

/** An answer that was understood. */
export type Answer =
  | { readonly kind: "scene"; readonly scene: Scene }
  | { readonly kind: "number"; readonly value: number }
  | { readonly kind: "yes-no"; readonly value: boolean };

const lookTokens = (look: Filter): number[] => [
  ...(look.colour === null ? [] : [v.FIRST_COLOUR + look.colour]),
  ...(look.shape === null ? [] : [v.FIRST_SHAPE + look.shape]),
];

/** Token ids of the prompt: nothing in front, nothing behind. */
export function promptOf(question: Question): number[] {
  switch (question.kind) {
    case "describe":
      return [v.id("describe")];
    case "count":
    case "exists":
      return [v.id(question.kind), ...lookTokens(question.filter)];
    case "left-of":
      return [v.id("left-of"), ...lookTokens(question.first), ...lookTokens(question.second)];
    case "sum":
    case "difference": {
      const operator = v.id(question.kind === "sum" ? "+" : "-");
      return [...v.encodeNumber(question.left), operator, ...v.encodeNumber(question.right), v.id("=")];
    }
  }
}

/** Tokens of an answer, `<eos>` included. */
export function answerTokens(answer: Answer): number[] {
  switch (answer.kind) {
    case "scene":
      return [...answer.scene.flatMap(objectTokens), v.EOS];
    case "number":
      return [...v.encodeNumber(answer.value), v.EOS];
    case "yes-no":
      return [v.id(answer.value ? "yes" : "no"), v.EOS];
  }
}

/** "red circle b 3": four tokens an object. */
function objectTokens(object: SceneObject): number[] {
  return [...lookTokens(object), v.FIRST_COLUMN + object.column, v.FIRST_DIGIT + 1 + object.row];
}

export const matches = (look: Look, filter: Filter): boolean =>
  (filter.colour === null || filter.colour === look.colour) && (filter.shape === null || filter.shape === look.shape);

/**
 * The answer that follows from a scene, whoever says that the scene is so: a generator or a caption that a judge liked.
 * Throws for left-of if the scene does not hold exactly one object of each look.
 */
export function answerFrom(question: Question, scene: Scene): Answer {
  switch (question.kind) {
    case "describe":
      return { kind: "scene", scene };
    case "count":
      return { kind: "number", value: scene.filter((object) => matches(object, question.filter)).length };
    case "exists":
      return { kind: "yes-no", value: scene.some((object) => matches(object, question.filter)) };
    case "left-of":
      return { kind: "yes-no", value: theOne(scene, question.first).column < theOne(scene, question.second).column };
    case "sum":
      return { kind: "number", value: question.left + question.right };
    case "difference":
      return { kind: "number", value: question.left - question.right };
  }
}

function theOne(scene: Scene, look: Look): SceneObject {
  const found = scene.filter((object) => matches(object, look));
  if (found.length !== 1)
    throw new Error(`[questions] left-of needs exactly one "${v.decode(lookTokens(look))}", found ${found.length}`);
  return found[0] as SceneObject;
}

/** Reads tokens from left to right; every `take…` gives an index or null. */
class Reader {
  private at = 0;
  private readonly tokens: readonly number[];
  constructor(tokens: readonly number[]) {
    this.tokens = tokens;
  }
  get done(): boolean {
    return this.at === this.tokens.length;
  }
  /** The next token minus `first` if it lies in [0, count), else null and nothing is read. */
  take(first: number, count: number): number | null {
    const index = (this.tokens[this.at] ?? -1) - first;
    if (index < 0 || index >= count) return null;
    this.at++;
    return index;
  }
  word(word: v.Word): boolean {
    return this.take(v.id(word), 1) !== null;
  }
  filter(): Filter | null {
    const colour = this.take(v.FIRST_COLOUR, v.COLOURS.length);
    const shape = this.take(v.FIRST_SHAPE, v.SHAPES.length);
    return colour === null && shape === null ? null : { colour, shape };
  }
  look(): Look | null {
    const colour = this.take(v.FIRST_COLOUR, v.COLOURS.length);
    const shape = this.take(v.FIRST_SHAPE, v.SHAPES.length);
    return colour === null || shape === null ? null : { colour, shape };
  }
  /** A whole number without leading zeros. */
  number(): number | null {
    let digits = "";
    for (let d = this.take(v.FIRST_DIGIT, 10); d !== null; d = this.take(v.FIRST_DIGIT, 10)) digits += d;
    return /^(0|[1-9]\d{0,8})$/.test(digits) ? Number(digits) : null;
  }
  object(): SceneObject | null {
    const look = this.look();
    const column = this.take(v.FIRST_COLUMN, v.COLUMNS.length);
    const row = this.take(v.FIRST_DIGIT + 1, v.ROWS.length);
    return look === null || column === null || row === null ? null : { ...look, column, row };
  }
}

/** The question that a prompt asks, null if it is none of ours. */
export function parsePrompt(prompt: readonly number[]): Question | null {
  const reader = new Reader(prompt);
  const question = readQuestion(reader);
  return question !== null && reader.done ? question : null;
}

function readQuestion(reader: Reader): Question | null {
  if (reader.word("describe")) return { kind: "describe" };
  for (const kind of ["count", "exists"] as const) {
    if (!reader.word(kind)) continue;
    const filter = reader.filter();
    return filter && { kind, filter };
  }
  if (reader.word("left-of")) {
    const first = reader.look();
    const second = reader.look();
    return first && second && { kind: "left-of", first, second };
  }
  const left = reader.number();
  const kind = reader.word("+") ? "sum" : reader.word("-") ? "difference" : null;
  const right = reader.number();
  return left === null || kind === null || right === null || !reader.word("=") ? null : { kind, left, right };
}

/**
 * What an answer says, null if it cannot be understood: it must end with `<eos>`, hold nothing else that is special,
 * and a description must name at least one object and no cell twice (in any order).
 */
export function parseAnswer(kind: TaskKind, tokens: readonly number[]): Answer | null {
  if (tokens.at(-1) !== v.EOS) return null;
  const reader = new Reader(tokens.slice(0, -1));
  switch (kind) {
    case "describe": {
      const objects: SceneObject[] = [];
      while (!reader.done) {
        const object = reader.object();
        if (object === null) return null;
        objects.push(object);
      }
      const scene = objects.length === 0 ? null : toScene(objects);
      return scene && { kind: "scene", scene };
    }
    case "count":
    case "sum":
    case "difference": {
      const value = reader.number();
      return value !== null && reader.done ? { kind: "number", value } : null;
    }
    case "exists":
    case "left-of": {
      const value = reader.word("yes") ? true : reader.word("no") ? false : null;
      return value !== null && reader.done ? { kind: "yes-no", value } : null;
    }
  }
}

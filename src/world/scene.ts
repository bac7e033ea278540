import type { WorldName } from "../base/records.ts";
import type { Rng } from "../base/rng.ts";
import { COLOURS, SHAPES } from "./vocabulary.ts";

/** Cells a side. */
export const GRID = 4;

/** One object; every field is an index: colour 0–3, shape 0–2, column 0–3 (a–d), row 0–3 (1–4). */
export interface SceneObject {
  readonly colour: number;
  readonly shape: number;
  readonly column: number;
  readonly row: number;
}

/** Objects in reading order (row by row, then by column), at most one a cell. */
export type Scene = readonly SceneObject[];

/** Numbers of objects that a world's scenes have, both ends included. */
export interface ObjectRange {
  readonly min: number;
  readonly max: number;
}

/** A is what the base was pre-trained on; B has one object more and another look (SHIFT_B in render.ts). */
export const OBJECTS: Readonly<Record<"A" | "B", ObjectRange>> = {
  A: { min: 1, max: 5 },
  B: { min: 1, max: 6 },
};

/** Object range of a world that has a generator. Throws for C, whose pictures a visitor draws. */
export function objectsOf(world: WorldName): ObjectRange {
  if (world === "C") throw new Error("[world] C has no generator: its pictures are drawn by the visitor");
  return OBJECTS[world];
}

const cellOf = (object: SceneObject): number => object.row * GRID + object.column;

/** The objects in reading order, or null if two share a cell. */
export function toScene(objects: readonly SceneObject[]): Scene | null {
  if (new Set(objects.map(cellOf)).size !== objects.length) return null;
  return [...objects].sort((x, y) => cellOf(x) - cellOf(y));
}

/** Are the two the same set of objects? Both are in reading order. */
export function sameScene(x: Scene, y: Scene): boolean {
  return x.length === y.length && x.every((object, i) => sameObject(object, y[i] as SceneObject));
}

/** Same colour, shape and cell. */
export function sameObject(x: SceneObject, y: SceneObject): boolean {
  return x.colour === y.colour && x.shape === y.shape && cellOf(x) === cellOf(y);
}

/** What an object looks like, without its place. */
export interface Look {
  readonly colour: number;
  readonly shape: number;
}

/** A look, uniformly among the 12. */
export function randomLook(rng: Rng): Look {
  return { colour: rng.int(COLOURS.length), shape: rng.int(SHAPES.length) };
}

/** Puts the looks into different cells, chosen uniformly. */
export function place(looks: readonly Look[], rng: Rng): Scene {
  const cells = rng.shuffle(Array.from({ length: GRID * GRID }, (_, cell) => cell)).slice(0, looks.length);
  const objects = looks.map((look, i) => {
    const cell = cells[i];
    if (cell === undefined)
      throw new RangeError(`[scene] ${looks.length} objects do not fit into ${GRID * GRID} cells`);
    return { ...look, column: cell % GRID, row: Math.floor(cell / GRID) };
  });
  return toScene(objects) as Scene;
}

/** A scene of `count` objects with independent uniform looks. */
export function randomScene(count: number, rng: Rng): Scene {
  return place(
    Array.from({ length: count }, () => randomLook(rng)),
    rng,
  );
}

/** A number of objects, uniformly in the range. */
export function randomCount(range: ObjectRange, rng: Rng): number {
  return range.min + rng.int(range.max - range.min + 1);
}

import type { Picture } from "../../base/records.ts";
import { rngFor } from "../../base/rng.ts";
import { answerFrom, answerTokens, promptOf, type Question } from "../../world/questions.ts";
import { photograph } from "../../world/render.ts";
import { type Look, OBJECTS, randomCount, randomScene, type Scene, toScene } from "../../world/scene.ts";
import { COLOURS, COLUMNS, decode, ROWS, SHAPES } from "../../world/vocabulary.ts";

/** Looks on the 4 × 4 grid, in reading order; null is an empty cell. */
export type Cells = readonly (Look | null)[];

export const noCells: Cells = Array.from({ length: COLUMNS.length * ROWS.length }, () => null);

/** All 12 looks in the order of the palette: colours in rows, shapes in columns. */
export const allLooks: readonly Look[] = COLOURS.flatMap((_, colour) => SHAPES.map((_, shape) => ({ colour, shape })));

export const lookName = (look: Look): string => `${COLOURS[look.colour]} ${SHAPES[look.shape]}`;
export const columnOf = (cell: number): string => COLUMNS[cell % COLUMNS.length] as string;
export const rowOf = (cell: number): string => ROWS[Math.floor(cell / COLUMNS.length)] as string;

/** The drawing as a scene. */
export function sceneOf(cells: Cells): Scene {
  const objects = cells.flatMap((look, cell) =>
    look ? [{ ...look, column: cell % COLUMNS.length, row: Math.floor(cell / COLUMNS.length) }] : [],
  );
  return toScene(objects) ?? [];
}

/** The drawing as the model sees it; `dim` is world B's camera, its noise drawn from `seed`. */
export function pictureOf(scene: Scene, options: { readonly dim: boolean; readonly seed: number }): Picture {
  return photograph(scene, options.dim ? "B" : "C", rngFor(options.seed, "drawing"));
}

/** A scene as world B has them, other for every `seed`. */
export function surprise(seed: number): Cells {
  const rng = rngFor(seed, "surprise");
  const scene = randomScene(randomCount(OBJECTS.B, rng), rng);
  return noCells.map((_, cell) => {
    const object = scene.find((one) => one.row * COLUMNS.length + one.column === cell);
    return object ? { colour: object.colour, shape: object.shape } : null;
  });
}

/** Words of the question and of its right answer for this scene. */
export function wordsOf(question: Question, scene: Scene): { readonly question: string; readonly truth: string } {
  return { question: decode(promptOf(question)), truth: decode(answerTokens(answerFrom(question, scene))) };
}

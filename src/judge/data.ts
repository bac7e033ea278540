/** The judge's own data: scenes with captions and near misses. World A for training; A and B to measure it. */
import type { Picture } from "../base/records.ts";
import { type Rng, rngFor } from "../base/rng.ts";
import { answerTokens } from "../world/questions.ts";
import { photograph, render } from "../world/render.ts";
import { GRID, OBJECTS, randomCount, randomLook, randomScene, type Scene, toScene } from "../world/scene.ts";
import { COLOURS, SHAPES } from "../world/vocabulary.ts";
import { phrasesOf, pixelValues } from "./preprocess.ts";

/** Ways to make a description wrong by one object. */
export const EDITS = ["moved", "recoloured", "reshaped", "added", "removed"] as const;
export type Edit = (typeof EDITS)[number];

/** The scene with one object wrong, or null if this edit would leave the world's range of objects. */
export function edited(scene: Scene, edit: Edit, world: "A" | "B", rng: Rng): Scene | null {
  const at = rng.int(scene.length);
  const change = (fields: Partial<Scene[number]>) =>
    toScene(scene.map((object, i) => (i === at ? { ...object, ...fields } : object)));
  const object = scene[at] as Scene[number];
  switch (edit) {
    case "moved":
      return change(freeCell(scene, rng));
    case "recoloured":
      return change({ colour: (object.colour + 1 + rng.int(COLOURS.length - 1)) % COLOURS.length });
    case "reshaped":
      return change({ shape: (object.shape + 1 + rng.int(SHAPES.length - 1)) % SHAPES.length });
    case "added":
      return scene.length === OBJECTS[world].max
        ? null
        : toScene([...scene, { ...randomLook(rng), ...freeCell(scene, rng) }]);
    case "removed":
      return scene.length === OBJECTS[world].min ? null : scene.filter((_, i) => i !== at);
  }
}

function freeCell(scene: Scene, rng: Rng): { column: number; row: number } {
  for (;;) {
    const cell = { column: rng.int(GRID), row: rng.int(GRID) };
    if (!scene.some(({ column, row }) => column === cell.column && row === cell.row)) return cell;
  }
}

/** A random edit that this scene allows. */
export function anyEdit(scene: Scene, world: "A" | "B", rng: Rng): { readonly edit: Edit; readonly scene: Scene } {
  for (;;) {
    const edit = rng.pick(EDITS);
    const changed = edited(scene, edit, world, rng);
    if (changed) return { edit, scene: changed };
  }
}

/** The caption of a scene, `<eos>` included, objects in reading order. */
export const captionOf = (scene: Scene): number[] => answerTokens({ kind: "scene", scene });

/** How training pictures are disturbed after normalisation: not world B's shift, which the judge never sees. */
export const JITTER = {
  /** Contrast: times U(low, high). */
  contrast: [0.8, 1.2],
  /** Noise on every value: N(0, σ), σ ~ U(0, max); 1 is the strength of an object. */
  noise: 0.05,
} as const;

/** Disturbs normalised pixel values in place (JITTER) and returns them. */
export function jitter(values: Float32Array<ArrayBuffer>, rng: Rng): Float32Array<ArrayBuffer> {
  const [low, high] = JITTER.contrast;
  const contrast = low + (high - low) * rng.next();
  const sigma = JITTER.noise * rng.next();
  for (let i = 0; i < values.length; i++) values[i] = (values[i] as number) * contrast + sigma * rng.normal();
  return values;
}

/** What one training step sees. Scene i has pictures `seen[i]` and `redrawn[i]`; all other rows are near misses. */
export interface JudgeBatch {
  /** B pictures of world A, jittered: normalised pixel values. */
  readonly seen: readonly Float32Array[];
  /** N ≥ B clean pictures: first the B scenes, then their near misses. */
  readonly redrawn: readonly Float32Array[];
  /** The N captions of `redrawn`, as phrases. */
  readonly captions: readonly (readonly (readonly number[])[])[];
}

/**
 * `size` scenes of world A with `misses` near misses each, no scene twice: one object wrong, every fourth time a second
 * one. The same (seed, step) gives the same batch.
 */
export function judgeBatch(seed: number, step: number, { size, misses }: { size: number; misses: number }): JudgeBatch {
  const rng = rngFor(seed, "judge", "train", step);
  const used = new Set<string>();
  const fresh = (draw: () => Scene): Scene => {
    for (;;) {
      const scene = draw();
      const key = JSON.stringify(scene);
      if (used.has(key)) continue;
      used.add(key);
      return scene;
    }
  };
  const scenes = Array.from({ length: size }, () => fresh(() => randomScene(randomCount(OBJECTS.A, rng), rng)));
  const wrong = scenes.flatMap((scene) =>
    Array.from({ length: misses }, () =>
      fresh(() => {
        const once = anyEdit(scene, "A", rng).scene;
        return rng.int(4) === 0 ? anyEdit(once, "A", rng).scene : once;
      }),
    ),
  );
  const all = [...scenes, ...wrong];
  return {
    seen: scenes.map((scene) => jitter(pixelValues(render(scene)), rng)),
    redrawn: all.map((scene) => pixelValues(render(scene))),
    captions: all.map((scene) => phrasesOf(captionOf(scene)) as number[][]),
  };
}

/** A picture with its true scene and a description that is wrong by one object. */
export interface JudgeItem {
  readonly picture: Picture;
  readonly scene: Scene;
  readonly edit: Edit;
  readonly wrong: Scene;
}

/** Held-out items of a world, number of objects uniform in its range, kinds of edits in turn. */
export function judgeItems(seed: number, world: "A" | "B", split: "calibration" | "held-out", n: number): JudgeItem[] {
  return Array.from({ length: n }, (_, i) => {
    const rng = rngFor(seed, "judge", split, world, i);
    const edit = EDITS[i % EDITS.length] as Edit;
    for (;;) {
      const scene = randomScene(randomCount(OBJECTS[world], rng), rng);
      const wrong = edited(scene, edit, world, rng);
      if (wrong) return { picture: photograph(scene, world, rng), scene, edit, wrong };
    }
  });
}

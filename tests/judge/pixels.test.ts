import { describe, expect, test } from "vitest";
import type { Picture } from "../../src/base/records.ts";
import { type Rng, rngFor } from "../../src/base/rng.ts";
import { cosine, medianFree, pixelScore, redraw, UNPARSABLE } from "../../src/judge/pixels.ts";
import { answerTokens } from "../../src/world/questions.ts";
import { photograph, render } from "../../src/world/render.ts";
import { randomScene, type Scene, type SceneObject, toScene } from "../../src/world/scene.ts";
import { encode } from "../../src/world/vocabulary.ts";

/** One object of the scene made wrong, in the given way. */
const MISTAKES: Record<string, (scene: Scene, rng: Rng) => SceneObject[]> = {
  colour: (scene, rng) =>
    changed(scene, rng, (object) => ({ ...object, colour: (object.colour + 1 + rng.int(3)) % 4 })),
  shape: (scene, rng) => changed(scene, rng, (object) => ({ ...object, shape: (object.shape + 1 + rng.int(2)) % 3 })),
  cell: (scene, rng) => changed(scene, rng, (object) => ({ ...object, ...freeCell(scene, rng) })),
  missing: (scene, rng) => {
    const at = rng.int(scene.length);
    return scene.filter((_, i) => i !== at);
  },
  added: (scene, rng) => [...scene, { colour: rng.int(4), shape: rng.int(3), ...freeCell(scene, rng) }],
};

function changed(scene: Scene, rng: Rng, change: (object: SceneObject) => SceneObject): SceneObject[] {
  const at = rng.int(scene.length);
  return scene.map((object, i) => (i === at ? change(object) : object));
}

function freeCell(scene: Scene, rng: Rng): { column: number; row: number } {
  for (;;) {
    const cell = { column: rng.int(4), row: rng.int(4) };
    if (!scene.some((object) => object.column === cell.column && object.row === cell.row)) return cell;
  }
}

const scoreOfScene = (seen: Picture, scene: Scene): number =>
  pixelScore(seen, redraw(answerTokens({ kind: "scene", scene })));

describe("redraw", () => {
  test("draws what a description says, clean, in any order, and nothing else", () => {
    const scene = randomScene(4, rngFor(1));
    expect(redraw(answerTokens({ kind: "scene", scene }))?.rgb).toEqual(render(scene).rgb);
    expect(redraw(encode("red circle b 3"))).toBeNull();
    expect(redraw(encode("yes <eos>"))).toBeNull();
  });
});

describe("pixel score", () => {
  test("is 1 for the picture itself, whatever its brightness and offset, and −1 for what does not parse", () => {
    const clean = render(randomScene(3, rngFor(2)));
    const dimmed = { size: 32, rgb: clean.rgb.map((byte) => Math.round(byte / 2) + 30) };
    expect(pixelScore(clean, clean)).toBeCloseTo(1, 9);
    expect(pixelScore(dimmed, clean)).toBeGreaterThan(0.9999);
    expect(pixelScore(clean, null)).toBe(UNPARSABLE);
  });

  test("of an empty picture is 0", () => {
    expect(pixelScore(render([]), render(randomScene(2, rngFor(3))))).toBe(0);
    expect(() => cosine(new Float32Array(3), new Float32Array(4))).toThrow("cannot compare 3");
  });

  test("takes the median of each channel away", () => {
    const rgb = new Uint8Array([10, 0, 7, 10, 0, 9, 10, 5, 200, 40, 0, 8]);
    expect([...medianFree({ size: 2, rgb })]).toEqual([0, 0, -1, 0, 0, 1, 0, 5, 192, 30, 0, 0]);
  });
});

describe("the pixel judge prefers the true description to one with one object wrong", () => {
  for (const world of ["A", "B"] as const) {
    test(`in world ${world}`, () => {
      const shares = Object.entries(MISTAKES).map(([name, mistake]) => {
        const rng = rngFor(17, "pixel judge", world, name);
        let right = 0;
        const n = 240;
        for (let i = 0; i < n; i++) {
          const scene = randomScene(2 + (i % (world === "A" ? 4 : 5)), rng);
          const seen = photograph(scene, world, rng);
          const wrong = toScene(mistake(scene, rng)) as Scene;
          right += scoreOfScene(seen, scene) > scoreOfScene(seen, wrong) ? 1 : 0;
        }
        return [name, right / n] as const;
      });
      process.stdout.write(
        `pixel judge, world ${world}: ${shares.map(([name, share]) => `${name} ${share.toFixed(3)}`).join(", ")}\n`,
      );
      for (const [name, share] of shares) expect(share, name).toBeGreaterThanOrEqual(world === "A" ? 1 : 0.98);
    });
  }
});

import { describe, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { captionOf, EDITS, edited, jitter, judgeBatch, judgeItems } from "../../src/judge/data.ts";
import { phrasesOf, pixelValues } from "../../src/judge/preprocess.ts";
import { render } from "../../src/world/render.ts";
import { randomScene, type Scene, sameObject, sameScene } from "../../src/world/scene.ts";
import { encode } from "../../src/world/vocabulary.ts";

/** Objects of x that are not in y. */
const missing = (x: Scene, y: Scene) => x.filter((object) => !y.some((other) => sameObject(object, other)));

describe("an edit makes exactly one object wrong", () => {
  test.each(EDITS)("%s", (edit) => {
    for (let i = 0; i < 60; i++) {
      const rng = rngFor(1, edit, i);
      const scene = randomScene(2 + (i % 3), rng);
      const wrong = edited(scene, edit, "A", rng) as Scene;
      const [lost, won] = [missing(scene, wrong), missing(wrong, scene)];
      expect([lost.length, won.length]).toEqual(edit === "added" ? [0, 1] : edit === "removed" ? [1, 0] : [1, 1]);
      const [was, is] = [lost[0], won[0]];
      if (edit === "moved") expect({ ...is, column: was?.column, row: was?.row }).toEqual(was);
      if (edit === "recoloured") expect({ ...is, colour: was?.colour }).toEqual(was);
      if (edit === "reshaped") expect({ ...is, shape: was?.shape }).toEqual(was);
    }
  });

  test("and never leaves the world's range", () => {
    const rng = rngFor(2, "range");
    expect(edited(randomScene(5, rng), "added", "A", rng)).toBeNull();
    expect(edited(randomScene(5, rng), "added", "B", rng)).toHaveLength(6);
    expect(edited(randomScene(1, rng), "removed", "A", rng)).toBeNull();
  });
});

const bytes = (values: Float32Array | undefined) => new Uint8Array(values?.buffer ?? new ArrayBuffer(0));

describe("a training batch", () => {
  const batch = judgeBatch(7, 3, { size: 8, misses: 3 });

  test("has as many redrawings and captions as scenes and near misses, of 1–5 objects, none twice", () => {
    expect(batch.seen).toHaveLength(8);
    expect(batch.redrawn).toHaveLength(32);
    expect(batch.captions).toHaveLength(32);
    const sizes = batch.captions.map((caption) => caption.length);
    expect(Math.min(...sizes)).toBeGreaterThanOrEqual(1);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(5);
    expect(new Set(batch.captions.map((caption) => JSON.stringify(caption))).size).toBe(32);
  });

  test("is the same for the same seed and step, and another for another", () => {
    const again = judgeBatch(7, 3, { size: 8, misses: 3 });
    expect(again.captions).toEqual(batch.captions);
    for (const [i, picture] of [...again.seen, ...again.redrawn].entries())
      expect(Buffer.compare(bytes(picture), bytes([...batch.seen, ...batch.redrawn][i]))).toBe(0);
    expect(judgeBatch(7, 4, { size: 8, misses: 3 }).captions).not.toEqual(batch.captions);
  });
});

test("held-out items have a wrong description and, in B, up to six objects", () => {
  const items = judgeItems(1, "B", "held-out", 120);
  for (const { scene, wrong } of items) expect(sameScene(scene, wrong)).toBe(false);
  expect(new Set(items.map(({ scene }) => scene.length))).toEqual(new Set([1, 2, 3, 4, 5, 6]));
  expect(judgeItems(1, "B", "calibration", 3).map(({ scene }) => scene)).not.toEqual(
    items.slice(0, 3).map(({ scene }) => scene),
  );
});

describe("preprocessing", () => {
  const clean = render(randomScene(4, rngFor(3)));
  const values = pixelValues(clean);

  test("gives background 0 and objects a strength of about 1, channel by channel", () => {
    const at = (pixel: number, channel: number) => values[channel * 1024 + pixel] as number;
    let strongest = 0;
    for (let pixel = 0; pixel < 1024; pixel++)
      for (let c = 0; c < 3; c++) {
        const byte = clean.rgb[3 * pixel + c] as number;
        if (byte === [40, 40, 48][c]) expect(at(pixel, c)).toBe(0);
        strongest = Math.max(strongest, Math.abs(at(pixel, c)));
      }
    expect(strongest).toBeGreaterThanOrEqual(1);
    expect(strongest).toBeLessThan(1.4);
  });

  test("does not see brightness, contrast and offset", () => {
    const dimmed = pixelValues({ size: 32, rgb: clean.rgb.map((byte) => Math.round(byte * 0.6) + 30) });
    for (const [i, value] of values.entries()) expect(Math.abs((dimmed[i] as number) - value)).toBeLessThan(0.02);
  });

  test("leaves an empty picture empty", () => {
    expect(pixelValues(render([])).every((value) => value === 0)).toBe(true);
  });

  test("jitter stays within what the card says", () => {
    for (let i = 0; i < 20; i++) {
      const before = pixelValues(clean);
      const after = jitter(pixelValues(clean), rngFor(4, i));
      const background = after.filter((_, at) => before[at] === 0);
      const sigma = Math.sqrt(background.reduce((sum, value) => sum + value * value, 0) / background.length);
      const along = before.reduce((sum, value, at) => sum + value * (after[at] as number), 0);
      const contrast = along / before.reduce((sum, value) => sum + value * value, 0);
      expect(sigma).toBeLessThan(0.055);
      expect(contrast).toBeGreaterThan(0.78);
      expect(contrast).toBeLessThan(1.22);
    }
  });

  test("phrases are the whole four-word phrases of a finished description", () => {
    expect(phrasesOf(captionOf(randomScene(3, rngFor(5))))).toHaveLength(3);
    expect(phrasesOf(encode("red circle b 3"))).toBeNull(); // no <eos>
    expect(phrasesOf(encode("red circle b <eos>"))).toBeNull();
    expect(phrasesOf(encode("<eos>"))).toBeNull();
  });
});

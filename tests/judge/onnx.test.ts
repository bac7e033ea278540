/** The judge that is shipped, as the page runs it: onnxruntime-web's wasm. */
import { readFile } from "node:fs/promises";
import { beforeAll, describe, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { captionOf, type JudgeItem, judgeItems } from "../../src/judge/data.ts";
import { exportImageEncoder } from "../../src/judge/export-onnx.ts";
import { measureJudge } from "../../src/judge/measure.ts";
import { CONFIG_FILE, IMAGE_FILE, type Judge, openJudge, TEXT_FILE } from "../../src/judge/model.ts";
import { createOnnxScorer, splitRows } from "../../src/judge/onnx.ts";
import { render } from "../../src/world/render.ts";
import { encode } from "../../src/world/vocabulary.ts";

const read = (name: string): Promise<Uint8Array> =>
  readFile(new URL(`../../public/models/judge/${name}`, import.meta.url));

let judge: Judge;
beforeAll(async () => {
  judge = await openJudge(read);
});

const about = ({ picture, scene }: JudgeItem) => ({ picture, redrawn: render(scene), tokens: captionOf(scene) });

describe("the shipped judge", () => {
  test("takes less than 1.5 MB", async () => {
    const sizes = await Promise.all(
      [IMAGE_FILE, TEXT_FILE, CONFIG_FILE, "README.md"].map(async (name) => (await read(name)).length),
    );
    expect(sizes.reduce((a, b) => a + b, 0)).toBeLessThan(1.5e6);
  });

  test("prefers the right description to one that is wrong by one object, on A and on B, which it has never seen", async () => {
    const report = await measureJudge(judge, { seed: 99, n: 400 }); // a seed that nothing was tuned on
    for (const world of ["A", "B"] as const) {
      const { "onnx-image": image, "onnx-text": text } = report.worlds[world];
      expect(image.pairwise, `image, ${world}`).toBeGreaterThan(world === "A" ? 0.99 : 0.97);
      expect(text.pairwise, `text, ${world}`).toBeGreaterThan(world === "A" ? 0.98 : 0.95);
      expect(image.auc, `image, ${world}`).toBeGreaterThan(world === "A" ? 0.98 : 0.85);
      expect(image.bestOf12.chosen, `image, ${world}`).toBeGreaterThan(image.bestOf12.oracle - 0.04);
      expect(text.bestOf12.chosen, `text, ${world}`).toBeGreaterThan(text.bestOf12.oracle - 0.05);
    }
  });

  test("is calibrated on world A", async () => {
    const report = await measureJudge(judge, { seed: 98, n: 200 });
    expect(report.worlds.A["onnx-image"].ece).toBeLessThan(0.05);
    expect(report.worlds.A["onnx-text"].ece).toBeLessThan(0.05);
  });

  test("does not mind the order of phrases", async () => {
    const { picture } = judgeItems(1, "A", "held-out", 1)[0] as JudgeItem;
    const [one, other] = ["red circle b 3 blue square c 1 <eos>", "blue square c 1 red circle b 3 <eos>"].map(encode);
    const { text } = await judge.score([
      { picture, redrawn: null, tokens: one as number[] },
      { picture, redrawn: null, tokens: other as number[] },
    ]);
    expect(text[0]).toBeCloseTo(text[1] as number, 5);
  });

  test("gives −1 to what cannot be redrawn or is no caption, and scores the rest of the batch", async () => {
    const good = about(judgeItems(2, "A", "held-out", 1)[0] as JudgeItem);
    const { image, text } = await judge.score([good, { ...good, redrawn: null, tokens: encode("yes <eos>") }, good]);
    expect([image[1], text[1]]).toEqual([-1, -1]);
    expect(image[0]).toBeGreaterThan(0.9);
    expect([image[2], text[2]]).toEqual([image[0], text[0]]);
    expect(await judge.score([])).toEqual({ image: [], text: [] });
  });

  test("gives the same scores in one batch as one by one, beyond the size of one run", async () => {
    const items = [...judgeItems(3, "B", "held-out", 300)].map(about);
    const together = await judge.score(items);
    expect(together.image).toHaveLength(300);
    for (const at of [0, 17, 255, 256, 299]) {
      const alone = await judge.score([items[at] as (typeof items)[number]]);
      expect(together.image[at]).toBeCloseTo(alone.image[0] as number, 4);
      expect(together.text[at]).toBeCloseTo(alone.text[0] as number, 4);
    }
  });
});

describe("what is broken is said in plain words", () => {
  const withFile = (name: string, change: (bytes: Uint8Array) => Uint8Array | null) =>
    openJudge(async (wanted) => (wanted === name ? change(Uint8Array.from(await read(wanted))) : read(wanted)));

  test("a byte changed", async () => {
    for (const name of [IMAGE_FILE, TEXT_FILE]) {
      const damaged = withFile(name, (bytes) => {
        bytes[bytes.length >> 1]! ^= 1;
        return bytes;
      });
      await expect(damaged).rejects.toThrow(`the judge's ${name} is damaged: its SHA-256 is`);
    }
  });

  test("a file missing, no JSON, another model's config", async () => {
    await expect(withFile(TEXT_FILE, () => null)).rejects.toThrow(`the judge has no file ${TEXT_FILE}`);
    const config = (text: string) => withFile(CONFIG_FILE, () => new TextEncoder().encode(text));
    await expect(config("{")).rejects.toThrow("config.json is not valid JSON");
    await expect(config("null")).rejects.toThrow("model_type nothing");
    await expect(config('{"model_type":"llama"}')).rejects.toThrow('model_type "llama", wanted autodidact-judge');
    await expect(config('{"model_type":"autodidact-judge"}')).rejects.toThrow(`no SHA-256 of ${IMAGE_FILE}`);
  });

  test("bytes that are no ONNX, a file cut short, the wrong encoder", async () => {
    const [imageModel, textModel] = [await read(IMAGE_FILE), await read(TEXT_FILE)];
    const rng = rngFor(1, "garbage");
    const garbage = Uint8Array.from({ length: 5000 }, () => rng.int(256));
    await expect(createOnnxScorer({ imageModel: garbage, textModel })).rejects.toThrow(
      `the judge's ${IMAGE_FILE} is not a model that can be run`,
    );
    await expect(createOnnxScorer({ imageModel, textModel: textModel.subarray(0, 9000) })).rejects.toThrow(
      `the judge's ${TEXT_FILE} is not a model that can be run`,
    );
    await expect(createOnnxScorer({ imageModel: textModel, textModel })).rejects.toThrow("it is another model");
  });

  test("an output of another shape, type or with NaN", () => {
    const output = (data: Float32Array | Int32Array, dims: number[]) =>
      ({ data, dims }) as Parameters<typeof splitRows>[1];
    expect(splitRows("x.onnx", output(new Float32Array([1, 2, 3, 4]), [2, 2]), 2)).toEqual([
      new Float32Array([1, 2]),
      new Float32Array([3, 4]),
    ]);
    expect(() => splitRows("x.onnx", output(new Float32Array(4), [2, 2]), 3)).toThrow(
      "the judge's x.onnx gave (2, 2) for 3 rows",
    );
    expect(() => splitRows("x.onnx", output(new Int32Array(4), [2, 2]), 2)).toThrow("wanted (2, width) in f32");
    expect(() => splitRows("x.onnx", undefined, 2)).toThrow("gave (nothing)");
    expect(() => splitRows("x.onnx", output(new Float32Array([1, Number.NaN]), [1, 2]), 1)).toThrow("not finite");
  });

  test("pictures of two sizes, and words that make no caption", async () => {
    const small = { size: 2, rgb: new Uint8Array(12) };
    await expect(judge.encodePictures([render([]), small])).rejects.toThrow("pictures of 32 and 2 pixels in one call");
    await expect(judge.encodeCaptions([[1, 2, 3]])).rejects.toThrow("not a caption of four-word phrases: 1 2 3");
  });

  test("a tensor that the export misses", () => {
    const config = {
      image_size: 32,
      patch_size: 8,
      num_channels: 3,
      phrase_length: 4,
      hidden_size: 4,
      vision_layers: 0,
      text_layers: 0,
      projection_dim: 4,
    };
    expect(() => exportImageEncoder(config, new Map())).toThrow(
      "the judge has no tensor vision_model.patch_embedding.weight",
    );
  });
});

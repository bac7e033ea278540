import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encode as encodePng } from "fast-png";
import { expect, test } from "vitest";
import { POLICY } from "../../src/cli/commands/pretrain.ts";
import { writeFolder } from "../../src/cli/files.ts";
import { writeModel } from "../../src/model/hf.ts";
import { initialWeights } from "../../src/train/pretrain.ts";
import { decode, encode, tokenizerConfigJson, tokenizerJson } from "../../src/world/vocabulary.ts";
import { GOLDEN, goldenPath, goldenText } from "../model/golden.ts";
import { run, temporary } from "./run.ts";

interface Greedy {
  readonly prompt: readonly number[];
  readonly tokens: readonly number[];
  readonly tokens_adapter: readonly number[];
}

/** Tokens as Transformers counts them: up to and with the stop token (2 in the golden models). */
const upToEos = (tokens: readonly number[]): number[] =>
  tokens.includes(2) ? tokens.slice(0, tokens.indexOf(2) + 1) : [...tokens];

test.each(GOLDEN)("greedy continuation of %s is PyTorch's, with and without an adapter", async (model) => {
  const { greedy } = JSON.parse(goldenText(`${model}/expected.json`)) as { greedy: Greedy };
  const words = ["generate", "--model", goldenPath(model), "--tokens", greedy.prompt.join(","), "--max-new", 12];
  const plain = await run(...words, "--json");
  expect(plain).toMatchObject({ code: 0, err: "" });
  expect(plain.lines()).toEqual([{ tokens: upToEos(greedy.tokens), text: null }]);
  const adapted = await run(...words, "--adapter", goldenPath(`${model}/adapter`));
  expect(adapted.lines()).toEqual([{ tokens: upToEos(greedy.tokens_adapter), text: null }]);
});

test("--dtype float16 with an adapter: its first tokens are PyTorch's in float32", async () => {
  const { greedy } = JSON.parse(goldenText("llama-tied/expected.json")) as { greedy: Greedy };
  const words = ["generate", "--model", goldenPath("llama-tied"), "--tokens", greedy.prompt.join(","), "--max-new", 4];
  const { code, err, lines } = await run(...words, "--dtype", "float16", "--adapter", goldenPath("llama-tied/adapter"));
  expect(code, err).toBe(0);
  expect(lines()[0]?.tokens).toEqual(upToEos(greedy.tokens_adapter).slice(0, 4));
});

test("every stop token of generation_config.json ends the answer and is part of it", async () => {
  const { greedy } = JSON.parse(goldenText("llama-tied/expected.json")) as { greedy: Greedy };
  const folder = await temporary();
  const stop = greedy.tokens[4] as number;
  await writeFolder(folder, [
    ["config.json", goldenText("llama-tied/config.json")],
    ["generation_config.json", JSON.stringify({ eos_token_id: [2, stop] })],
    ["model.safetensors", new Uint8Array(await readFile(goldenPath("llama-tied/model.safetensors")))],
  ]);
  const { lines } = await run("generate", "--model", folder, "--tokens", greedy.prompt.join(","), "--max-new", 12);
  expect(lines()[0]?.tokens).toEqual(greedy.tokens.slice(0, greedy.tokens.indexOf(stop) + 1));
});

test("samples depend on the seed; top-k 1 is greedy", async () => {
  const words = ["generate", "--model", goldenPath("llama-tied"), "--tokens", "1,5,9", "--max-new", 20];
  const tokens = async (...more: (string | number)[]) => (await run(...words, ...more)).lines()[0]?.tokens;
  const greedy = await tokens();
  const hot = await tokens("--temperature", 1.5, "--seed", 1);
  expect(hot).not.toEqual(greedy);
  expect(await tokens("--temperature", 1.5, "--seed", 1)).toEqual(hot);
  expect(await tokens("--temperature", 1.5, "--seed", 2)).not.toEqual(hot);
  expect(await tokens("--temperature", 1.5, "--seed", 2, "--top-k", 1)).toEqual(greedy);
  expect(await tokens("--temperature", 1.5, "--seed", 2, "--top-p", 1e-6)).toEqual(greedy);
});

/** A model of the bundled architecture with random weights, and pictures for it. */
async function pictureModel(): Promise<string> {
  const folder = await temporary();
  const { files } = writeModel({
    config: POLICY,
    tensors: initialWeights(POLICY, 1),
    extra: { "tokenizer.json": tokenizerJson(), "tokenizer_config.json": tokenizerConfigJson() },
  });
  await writeFolder(folder, files);
  return folder;
}

test("text and pictures: every kind of PNG of the same picture gives the same answer", async () => {
  const model = await pictureModel();
  const rgb = Uint8Array.from({ length: 32 * 32 * 3 }, (_, i) => (i * 7919) % 251);
  const folder = await temporary();
  const answer = async (name: string, png: Parameters<typeof encodePng>[0]) => {
    const path = join(folder, name);
    await writeFile(path, encodePng(png));
    const { code, err, lines } = await run(
      "generate",
      "--model",
      model,
      "--prompt",
      "describe",
      "--image",
      path,
      "--max-new",
      8,
    );
    expect(code, err).toBe(0);
    return lines()[0] as { tokens: number[]; text: string };
  };
  const size = { width: 32, height: 32 };
  const plain = await answer("rgb.png", { ...size, data: rgb, channels: 3 });
  expect(plain.tokens.length).toBeGreaterThan(0);
  expect(plain.text).toBe(decode(plain.tokens));
  const pixels = Array.from({ length: 32 * 32 }, (_, i) => Array.from(rgb.subarray(3 * i, 3 * i + 3)));
  expect(
    await answer("rgba.png", {
      ...size,
      data: Uint8Array.from(pixels.flatMap((pixel) => [...pixel, 255])),
      channels: 4,
    }),
  ).toEqual(plain);
  expect(
    await answer("deep.png", { ...size, data: Uint16Array.from(rgb, (value) => value * 257), channels: 3, depth: 16 }),
  ).toEqual(plain);
  const other = await answer("grey.png", { ...size, data: new Uint8Array(32 * 32).fill(200), channels: 1 });
  expect(other).toEqual(
    await answer("grey-rgb.png", { ...size, data: new Uint8Array(32 * 32 * 3).fill(200), channels: 3 }),
  );
  const ids = await run(
    "generate",
    "--model",
    model,
    "--tokens",
    encode("describe").join(","),
    "--image",
    join(folder, "rgb.png"),
    "--max-new",
    8,
  );
  expect(ids.lines()[0]).toEqual(plain);
});

test("wrong use exits with 2, wrong input with 1, each with its reason", async () => {
  const words = ["generate", "--model", goldenPath("llama-tied"), "--max-new", 4];
  for (const wrong of [[], ["--tokens", "1", "--prompt", "red"]]) {
    expect(await run(...words, ...wrong)).toMatchObject({
      code: 2,
      err: expect.stringContaining("give either --prompt or --tokens"),
    });
  }
  expect(await run(...words, "--tokens", "1,red")).toMatchObject({
    code: 2,
    err: expect.stringContaining('found "red" at place 1'),
  });
  expect(await run(...words, "--tokens", "1,97")).toMatchObject({
    code: 2,
    err: expect.stringContaining("found 97 at place 1"),
  });
  expect(await run(...words, "--prompt", "red")).toMatchObject({
    code: 1,
    err: expect.stringContaining("no tokenizer.json: give the prompt as --tokens"),
  });
  expect(await run(...words, "--tokens", "1", "--image", "x.png")).toMatchObject({
    code: 1,
    err: expect.stringContaining("takes no pictures"),
  });
  expect(await run(...words, "--tokens", "1", "--max-new", 64)).toMatchObject({
    code: 1,
    err: expect.stringContaining("exceed the model's 64 positions"),
  });

  const model = await pictureModel();
  const folder = await temporary();
  const big = join(folder, "big.png");
  await writeFile(big, encodePng({ width: 40, height: 32, data: new Uint8Array(40 * 32 * 3), channels: 3 }));
  const image = ["generate", "--model", model, "--prompt", "describe", "--max-new", 4, "--image"];
  expect(await run(...image, big)).toMatchObject({
    code: 1,
    err: expect.stringContaining("is 40 × 32 pixels, the model takes 32 × 32"),
  });
  const broken = join(folder, "broken.png");
  await writeFile(broken, "no picture");
  expect(await run(...image, broken)).toMatchObject({
    code: 1,
    err: expect.stringContaining("is not a PNG that can be read"),
  });
  expect(await run(...image, join(folder, "none.png"))).toMatchObject({
    code: 1,
    err: expect.stringContaining("there is no file"),
  });
});

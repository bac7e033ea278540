import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { encode as encodePng } from "fast-png";
import { expect, test } from "vitest";
import { choiceGrammar } from "../../src/cli/commands/generate.ts";
import { POLICY } from "../../src/cli/commands/pretrain.ts";
import { writeFolder } from "../../src/cli/files.ts";
import { writeModel } from "../../src/model/hf.ts";
import { NONE } from "../../src/ops/mask.ts";
import { initialWeights } from "../../src/train/pretrain.ts";
import { decode, EOS, encode, tokenizerConfigJson, tokenizerJson } from "../../src/world/vocabulary.ts";
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

test("samples depend on the seed; top-k 1, a top-p near 0 and a min-p near 1 are greedy", async () => {
  const words = ["generate", "--model", goldenPath("llama-tied"), "--tokens", "1,5,9", "--max-new", 20];
  const tokens = async (...more: (string | number)[]) => (await run(...words, ...more)).lines()[0]?.tokens;
  const greedy = await tokens();
  const hot = await tokens("--temperature", 1.5, "--seed", 1);
  expect(hot).not.toEqual(greedy);
  expect(await tokens("--temperature", 1.5, "--seed", 1)).toEqual(hot);
  expect(await tokens("--temperature", 1.5, "--seed", 2)).not.toEqual(hot);
  expect(await tokens("--temperature", 1.5, "--seed", 2, "--top-k", 1)).toEqual(greedy);
  expect(await tokens("--temperature", 1.5, "--seed", 2, "--top-p", 1e-6)).toEqual(greedy);
  expect(await tokens("--temperature", 1.5, "--seed", 1, "--min-p", 0.999)).toEqual(greedy);
  expect(await tokens("--temperature", 1.5, "--seed", 1, "--min-p", 0)).toEqual(hot);
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

test("--choices: the answer is one of them and the stop token, whatever the temperature; all of them come", async () => {
  const choices = ["yes", "no", "red circle", "red circle b 3"];
  const words = ["generate", "--model", await pictureModel(), "--prompt", "describe", "--max-new", 5, "--choices"];
  const texts = new Set<unknown>();
  for (const seed of Array.from({ length: 12 }, (_, i) => i)) {
    const { code, err, lines } = await run(...words, choices.join(), "--temperature", 3, "--seed", seed);
    expect(code, err).toBe(0);
    const { tokens, text } = lines()[0] as { tokens: number[]; text: string };
    expect(choices).toContain(text);
    expect(tokens).toEqual([...encode(text), EOS]);
    texts.add(text);
  }
  expect(texts.size).toBe(choices.length);
  const { lines } = await run(...words, "green square,green square");
  expect(lines()).toEqual([{ tokens: [...encode("green square"), EOS], text: "green square" }]);
  // Behind words that the tokenizer does not know, where prompt and choice together are as many tokens as the prompt.
  const unknown = await run(
    "generate",
    "--model",
    await pictureModel(),
    ...["--prompt", "what is it", "--max-new", 3, "--choices", "red"],
  );
  expect(unknown.lines()).toEqual([{ tokens: [...encode("red"), EOS], text: "red" }]);
});

/** The tied golden model with a byte-level BPE of a few letters, as GPT-2 has it: "Ġ" is the space. */
async function letterModel(): Promise<string> {
  const folder = await temporary();
  const tokenizer = {
    added_tokens: [{ id: 2, content: "</s>", special: true, normalized: false }],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, use_regex: true },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab: { "</s>": 2, a: 3, b: 4, Ġ: 5, ab: 6, Ġab: 7 }, merges: ["a b", "Ġ ab"] },
  };
  await writeFolder(folder, [
    ["config.json", goldenText("llama-tied/config.json")],
    ["tokenizer.json", JSON.stringify(tokenizer)],
    ["model.safetensors", new Uint8Array(await readFile(goldenPath("llama-tied/model.safetensors")))],
  ]);
  return folder;
}

test("--choices are read behind the prompt; alone where they share a token with its end", async () => {
  const model = await letterModel();
  const of = async (prompt: readonly string[], choice: string) => {
    const words = ["generate", "--model", model, ...prompt, "--max-new", 4, "--choices", choice];
    const { code, err, lines } = await run(...words);
    expect(code, err).toBe(0);
    return lines()[0]?.tokens;
  };
  expect(await of(["--prompt", "ab"], " ab")).toEqual([7, 2]);
  expect(await of(["--prompt", "ab"], "ab")).toEqual([6, 2]);
  expect(await of(["--prompt", "ab "], "ab")).toEqual([6, 2]); // together: "ab", " ab"
  expect(await of(["--prompt", "a"], "b")).toEqual([4, 2]); // together: "ab"
  expect(await of(["--tokens", "3"], "b")).toEqual([4, 2]);
});

test("--choices that cannot be answered are refused with the reason", async () => {
  const words = ["generate", "--model", await pictureModel(), "--prompt", "describe", "--max-new", 3, "--choices"];
  for (const [choices, reason] of [
    ["yes,,no", '--choices: "" has no tokens'],
    ["yes,purple", '--choices: the model\'s tokenizer reads "purple" as "<unk>"'],
    ["yes,no <eos>", '--choices: "no <eos>" holds a stop token'],
    ["yes,red circle b 3", "--max-new must be at least 5: a choice and its stop token"],
  ] as const)
    expect(await run(...words, choices)).toMatchObject({ code: 2, out: "", err: expect.stringContaining(reason) });
  const bare = ["generate", "--model", goldenPath("llama-tied"), "--tokens", "1", "--max-new", 3, "--choices", "yes"];
  expect(await run(...bare)).toMatchObject({ code: 1, err: expect.stringContaining("has no tokenizer.json") });
});

test("the grammar of choices: a state for each beginning, a stop token behind each choice, and no more than 128 MiB", () => {
  const V = 9;
  const { states, next } = choiceGrammar([[3, 4], [3], [3, 4, 5], [6, 4]], [2, 8], V);
  const edges = Array.from({ length: states }, (_, state) =>
    Object.fromEntries([...next.subarray(state * V, (state + 1) * V).entries()].filter(([, to]) => to !== NONE)),
  );
  expect(edges).toEqual([
    { 3: 1, 6: 4 },
    { 4: 2, 2: 1, 8: 1 },
    { 5: 3, 2: 2, 8: 2 },
    { 2: 3, 8: 3 },
    { 4: 5 },
    { 2: 5, 8: 5 },
  ]);
  const long = (tokens: number) => [Array.from({ length: tokens }, () => 1)];
  expect(choiceGrammar(long(254), [0], 2 ** 17).states).toBe(255);
  expect(() => choiceGrammar(long(255), [0], 2 ** 17)).toThrow(
    "--choices have 256 beginnings, which take 129 MiB with a vocabulary of 131072; 128 MiB is the most",
  );
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
  expect(await run(...words, "--tokens", "1", "--min-p", 1.5)).toMatchObject({
    code: 2,
    err: expect.stringContaining('--min-p must be a number from 0 up to 1, found "1.5"'),
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

import { cp, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { GOLDEN, goldenPath, goldenText } from "../model/golden.ts";
import { largest } from "./compare.ts";
import { jsonl, run, temporary } from "./run.ts";

const expected = (model: string) =>
  JSON.parse(goldenText(`${model}/expected.json`)) as Record<"logprobs" | "logprobs_adapter", number[][]>;

const logprobs = async (...words: readonly string[]): Promise<number[][]> => {
  const { code, err, lines } = await run("logprobs", ...words);
  expect(err).toBe("");
  expect(code).toBe(0);
  return lines().map((line) => line.logprobs as number[]);
};

test.each(GOLDEN)("log-probs of %s are PyTorch's, with and without an adapter", async (model) => {
  const base = ["--model", goldenPath(model), "--data", goldenPath(`${model}/sequences.jsonl`)];
  const plain = largest(await logprobs(...base), expected(model).logprobs);
  const adapted = largest(
    await logprobs(...base, "--adapter", goldenPath(`${model}/adapter`)),
    expected(model).logprobs_adapter,
  );
  console.log(`${model}: largest error ${plain.toExponential(1)}, with adapter ${adapted.toExponential(1)}`);
  expect(plain).toBeLessThan(1e-4);
  expect(adapted).toBeLessThan(1e-4);
});

test("--dtype float16: other numbers than PyTorch's in float32, by what rounding the weights does; no other dtype", async () => {
  const base = ["--model", goldenPath("llama-tied"), "--data", goldenPath("llama-tied/sequences.jsonl")];
  const half = largest(await logprobs(...base, "--dtype", "float16"), expected("llama-tied").logprobs);
  expect(half).toBeGreaterThan(1e-4);
  expect(half).toBeLessThan(2e-2);
  expect(await run("logprobs", ...base, "--dtype", "bfloat16")).toMatchObject({
    code: 2,
    err: expect.stringContaining("--dtype"),
  });
});

test("one token has no log-prob: an empty list in its line's place", async () => {
  const data = await jsonl({ tokens: [5] }, { tokens: [5, 6] }, { tokens: [7] }, { tokens: [7] });
  const got = await logprobs("--model", goldenPath("llama-tied"), "--data", data);
  expect(got.map((row) => row.length)).toEqual([0, 1, 0, 0]);
});

test("bad rows are named by file and line", async () => {
  const data = await jsonl({ tokens: [5, 6] }, "", '{"tokens": [5, 6');
  expect(await run("logprobs", "--model", goldenPath("llama-tied"), "--data", data)).toMatchObject({
    code: 1,
    out: "",
    err: expect.stringContaining(`${data}:3 is not valid JSON`),
  });
  const long = await jsonl({ tokens: [5, 6] }, { tokens: Array(65).fill(5) });
  expect(await run("logprobs", "--model", goldenPath("llama-tied"), "--data", long)).toMatchObject({
    code: 1,
    out: "",
    err: `autodidact logprobs: ${long}:2: 65 tokens exceed the model's 64 positions\n`,
  });
  const text = await jsonl({ text: "red" });
  const { code, err } = await run("logprobs", "--model", goldenPath("llama-tied"), "--data", text);
  expect(code).toBe(1);
  expect(err).toContain(`${text}:1: is text, but the model has no tokenizer.json`);
});

test("a damaged weight file, a missing adapter and a missing data file are said in plain words", async () => {
  const folder = await temporary();
  await cp(goldenPath("llama-tied"), folder, { recursive: true });
  const weights = join(folder, "model.safetensors");
  const bytes = await readFile(weights);
  const data = goldenPath("llama-tied/sequences.jsonl");
  await writeFile(weights, bytes.subarray(0, bytes.length - 100));
  const cut = await run("logprobs", "--model", folder, "--data", data);
  expect(cut.code).toBe(1);
  expect(cut.err).toMatch(/model\.safetensors/);
  expect(cut.err.trim().split("\n")).toHaveLength(1);
  bytes.writeFloatLE(Number.NaN, bytes.length - 4);
  await writeFile(weights, bytes);
  const nan = await run("logprobs", "--model", folder, "--data", data);
  expect(nan.code).toBe(1);
  expect(nan.err).toMatch(/tensor "[\w.]+" has the value NaN at element \d+: the weights are damaged/);
  const absent = await run(
    "logprobs",
    "--model",
    goldenPath("llama-tied"),
    "--adapter",
    join(folder, "none"),
    "--data",
    data,
  );
  expect(absent.code).toBe(1);
  expect(absent.err).toMatch(
    /none is not a PEFT adapter: it has no adapter_config\.json \(the folder is empty or does not exist\)/,
  );
  const none = await run("logprobs", "--model", goldenPath("llama-tied"), "--data", join(folder, "none.jsonl"));
  expect(none).toMatchObject({ code: 1, err: expect.stringContaining("there is no file") });
});

import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { readSafetensors, toFloat32 } from "../../src/model/safetensors.ts";
import type { LossType } from "../../src/ops/preference.ts";
import { goldenPath, goldenText } from "../model/golden.ts";
import { preferenceValue } from "../reference/preference.ts";
import { largest } from "./compare.ts";
import { jsonl, readLines, run, temporary } from "./run.ts";

type Step = Record<
  | "loss"
  | "rewards/chosen"
  | "rewards/rejected"
  | "rewards/accuracies"
  | "rewards/margins"
  | "grad_norm"
  | "logps/chosen"
  | "logps/rejected"
  | "learning_rate",
  number
>;

interface Expected {
  readonly options: Record<
    "loss_type" | "reference" | "beta" | "learning_rate" | "batch_size" | "steps" | "weight_decay" | "max_grad_norm",
    string | number
  >;
  readonly steps: readonly Step[];
  readonly logprobs: readonly number[][];
}

const adapterOf = async (folder: string): Promise<ReadonlyMap<string, Float32Array>> => {
  const bytes = new Uint8Array(await readFile(join(folder, "adapter_model.safetensors")));
  return new Map([...readSafetensors(bytes, folder).tensors].map(([name, view]) => [name, toFloat32(view)]));
};

const model = goldenPath("llama-tied");
const preferences = goldenPath("llama-tied/preferences.jsonl");

/** Trains on the tied model and returns its folder and its metrics. */
async function train(...words: readonly (string | number)[]): Promise<{ out: string; steps: Step[] }> {
  const folder = await temporary();
  const metrics = join(folder, "metrics.jsonl");
  const out = join(folder, "adapter");
  const { code, err } = await run(
    "dpo",
    "--model",
    model,
    "--data",
    preferences,
    "--out",
    out,
    "--metrics",
    metrics,
    ...words,
  );
  expect(code, err).toBe(0);
  return { out, steps: (await readLines(metrics)) as Step[] };
}

test.each([
  ["llama-tied", "dpo-sigmoid"],
  ["llama-tied", "dpo-sigmoid-base"],
  ["llama-tied", "dpo-ipo"],
  ["llama-untied", "dpo-sigmoid"],
  ["llama-untied", "dpo-ipo-base"],
])("six steps of %s/%s follow PyTorch, and the adapter reloads", async (name, runName) => {
  const want = JSON.parse(goldenText(`${name}/${runName}/expected.json`)) as Expected;
  const folder = await temporary();
  const out = join(folder, "adapter");
  const metrics = join(folder, "metrics.jsonl");
  const options = Object.entries(want.options).flatMap(([option, value]) => [
    `--${option.replaceAll("_", "-")}`,
    value,
  ]);
  const data = ["--model", goldenPath(name), "--data"];
  const trained = await run(
    "dpo",
    ...data,
    goldenPath(`${name}/preferences.jsonl`),
    "--adapter",
    goldenPath(`${name}/adapter`),
    "--out",
    out,
    "--metrics",
    metrics,
    ...options,
  );
  expect(trained.code, trained.err).toBe(0);
  const got = (await readLines(metrics)) as Step[];
  expect(got.map(Object.keys)).toEqual(want.steps.map(Object.keys));
  // 1e-3 relative at the first step, 2e-2 at the sixth; rewards near zero differ by rounding alone.
  const worst = want.steps.map((step, s) => {
    const tolerance = 1e-3 + (s / 5) * (2e-2 - 1e-3);
    return Math.max(
      ...(Object.keys(step) as (keyof Step)[]).map((key) => {
        const difference = Math.abs((got[s]?.[key] as number) - step[key]);
        expect(difference, `step ${s + 1} ${key}: want ${step[key]}, got ${got[s]?.[key]}`).toBeLessThanOrEqual(
          Math.max(Math.abs(step[key]) * tolerance, 2e-5),
        );
        return difference / Math.max(Math.abs(step[key]), 1e-2);
      }),
    );
  });
  const reloaded = await run("logprobs", ...data, goldenPath(`${name}/sequences.jsonl`), "--adapter", out);
  const logprobs = reloaded.lines().map((line) => line.logprobs as number[]);
  const error = largest(logprobs, want.logprobs);
  console.log(
    `${name}/${runName}: relative error by step ${worst.map((x) => x.toExponential(1)).join(" ")}; log-probs after it ${error.toExponential(1)}`,
  );
  expect(error).toBeLessThan(2e-3);
  const [written, golden] = [await adapterOf(out), await adapterOf(goldenPath(`${name}/${runName}`))];
  expect([...written.keys()].sort()).toEqual([...golden.keys()].sort());
});

test("a fresh adapter starts at ln 2, with rewards of exactly 0", async () => {
  const { steps } = await train("--steps", 1, "--batch-size", 3);
  expect(steps).toHaveLength(1);
  expect(steps[0]?.loss).toBeCloseTo(Math.LN2, 6);
  expect(steps[0]).toMatchObject({
    "rewards/chosen": 0,
    "rewards/rejected": 0,
    "rewards/accuracies": 0,
    "rewards/margins": 0,
  });
});

test.each([
  ["hinge", 0],
  ["robust", 0.2],
  ["sigmoid_norm", 0],
  ["ipo", 0],
] as [LossType, number][])("%s: the loss of one pair after some steps is the paper's", async (type, labelSmoothing) => {
  const row = { prompt_ids: [1, 9], chosen_ids: [5, 6, 7, 2], rejected_ids: [8, 2] };
  const data = await jsonl(row);
  const { steps } = await train(
    "--data",
    data,
    "--loss-type",
    type,
    "--label-smoothing",
    labelSmoothing,
    "--batch-size",
    1,
    "--steps",
    4,
    "--beta",
    0.2,
    "--learning-rate",
    5e-4,
  );
  const [first, last] = [steps[0] as Step, steps[3] as Step];
  expect(last["rewards/margins"]).toBeGreaterThan(0.01);
  const answer = (side: "chosen" | "rejected", length: number) => ({
    sum: last[`logps/${side}`],
    reference: first[`logps/${side}`],
    length,
  });
  const want = preferenceValue({ type, beta: 0.2, labelSmoothing }, answer("chosen", 4), answer("rejected", 2));
  expect(last.loss / want).toBeCloseTo(1, 4);
});

test("rows come in file order, cycling; --shuffle draws another order from the seed, each row once an epoch", async () => {
  const rows = (await readLines(preferences)).slice(0, 4);
  const chosen = async (...words: readonly (string | number)[]) =>
    (await train("--data", await jsonl(...rows), "--learning-rate", 0, ...words)).steps.map(
      (step) => step["logps/chosen"],
    );
  const each = await chosen("--batch-size", 1); // --steps is once through the file
  expect(each).toHaveLength(4);
  const mean = (places: readonly number[]) => places.reduce((sum, at) => sum + (each[at] as number), 0) / places.length;
  const cycled = await chosen("--batch-size", 3, "--steps", 3);
  for (const [s, places] of [
    [0, 1, 2],
    [3, 0, 1],
    [2, 3, 0],
  ].entries())
    expect(cycled[s]).toBeCloseTo(mean(places), 4);
  const drawn = await chosen("--batch-size", 1, "--shuffle", "--seed", 1);
  expect(drawn).not.toEqual(each);
  expect([...drawn].sort()).toEqual([...each].sort());
  expect(await chosen("--batch-size", 1, "--shuffle", "--seed", 1)).toEqual(drawn);
});

test("--dtype float16: an adapter on rounded weights, with its reference in float16, too", async () => {
  const [half, full] = [await train("--dtype", "float16", "--steps", 3), await train("--steps", 3)];
  expect(half.steps[0]?.loss).toBe(full.steps[0]?.loss); // rewards of exactly 0: policy and reference are one model
  expect(half.steps[0]?.["rewards/margins"]).toBe(0);
  const norms = [half, full].map(({ steps }) => steps[2]?.grad_norm as number);
  expect(norms[0]).not.toBe(norms[1]);
  expect(norms[0]).toBeCloseTo(norms[1] as number, 1);
  expect(await adapterOf(half.out)).not.toEqual(await adapterOf(full.out));
});

test("only the named projections get factors; the same seed gives the same bytes", async () => {
  const words = ["--target-modules", "v_proj,q_proj", "--lora-r", 2, "--lora-alpha", 3, "--steps", 2, "--seed", 5];
  const [one, two, other] = [await train(...words), await train(...words), await train(...words, "--seed", 6)];
  const config = JSON.parse(await readFile(join(one.out, "adapter_config.json"), "utf8"));
  expect(config).toMatchObject({
    r: 2,
    lora_alpha: 3,
    target_modules: ["q_proj", "v_proj"],
    base_model_name_or_path: model,
  });
  const tensors = await adapterOf(one.out);
  expect(tensors.size).toBe(2 * 2 * 2);
  expect([...tensors.keys()].every((name) => /\.(q|v)_proj\.lora_[AB]\.weight$/.test(name))).toBe(true);
  expect(await adapterOf(two.out)).toEqual(tensors);
  expect(await adapterOf(other.out)).not.toEqual(tensors);
});

test("--max-grad-norm 0 never clips", async () => {
  // AdamW hides a scale of the gradient in its first step but not against eps: a gradient of zero would move nothing.
  const free = await train("--steps", 2, "--max-grad-norm", 0);
  const clipped = await train("--steps", 2, "--max-grad-norm", 1e-9);
  expect(free.steps[1]?.["rewards/margins"]).not.toBe(0);
  expect(Math.abs(free.steps[1]?.["rewards/margins"] as number)).toBeGreaterThan(
    2 * Math.abs(clipped.steps[1]?.["rewards/margins"] as number),
  );
});

test("a loss that is not finite ends the training; the adapter of the step before is written", async () => {
  const folder = await temporary();
  const metrics = join(folder, "metrics.jsonl");
  const out = join(folder, "adapter");
  const { code, err } = await run(
    "dpo",
    "--model",
    model,
    "--data",
    preferences,
    "--out",
    out,
    "--metrics",
    metrics,
    "--learning-rate",
    1e30,
    "--steps",
    6,
  );
  expect(code).toBe(1);
  expect(err).toMatch(
    /step \d is not finite .*holds the adapter as it stood before it, after \d steps\. Lower the learning rate/,
  );
  const done = (await readLines(metrics)).length;
  expect(done).toBeGreaterThan(0);
  expect(err).toContain(`after ${done} steps`);
  expect((await adapterOf(out)).size).toBe(28);
});

test("wrong use: exit code 2 with the reason; bad rows: 1 with their line", async () => {
  const words = ["dpo", "--model", model, "--data", preferences, "--out", join(await temporary(), "adapter")];
  for (const [wrong, reason] of [
    [["--target-modules", "q_proj,lm_head"], '--target-modules: "lm_head" is not supported'],
    [["--beta", 0], "--beta must be greater than 0"],
    [["--loss-type", "simpo"], "--loss-type must be one of sigmoid, ipo, hinge, robust, sigmoid_norm"],
    [["--label-smoothing", 0.1], "--label-smoothing goes with --loss-type robust"],
    [["--loss-type", "robust", "--label-smoothing", 0.5], "--label-smoothing must be below 0.5"],
    [["--batch-size", 0], "--batch-size must be a whole number from 1"],
  ] as const) {
    const { code, err } = await run(...words, ...wrong);
    expect(err).toContain(reason);
    expect(code).toBe(2);
  }
  const data = await jsonl(
    { prompt_ids: [1], chosen_ids: [4], rejected_ids: [5] },
    { prompt_ids: [1], chosen_ids: [97], rejected_ids: [5] },
  );
  expect(await run(...words, "--data", data)).toMatchObject({
    code: 1,
    err: `autodidact dpo: ${data}:2: "chosen_ids" must hold token ids from 0 to 96, found 97 at place 0\n`,
  });
  const taken = await run(...words, "--out", join(preferences, "adapter"));
  expect(taken).toMatchObject({ code: 1, out: "", err: expect.stringContaining("preferences.jsonl") });
});

import { join } from "node:path";
import { expect, test } from "vitest";
import { goldenPath } from "../model/golden.ts";
import { jsonl, readLines, run, temporary } from "./run.ts";

const model = goldenPath("llama-tied");

/** Trains and returns the metrics of every step. */
async function train(command: string, data: string, ...words: readonly (string | number)[]) {
  const out = await temporary();
  const metrics = join(out, "metrics.jsonl");
  const all = ["--model", model, "--data", data, "--out", out, "--metrics", metrics, ...words];
  const { code, err } = await run(command, ...all);
  expect(code, err).toBe(0);
  return (await readLines(metrics)) as Record<string, number>[];
}

const judged = [
  { prompt_ids: [1, 9, 4], completion_ids: [5, 6, 7, 2], label: true },
  { prompt_ids: [1, 8], completion_ids: [8, 2], label: false },
  { prompt_ids: [1, 20, 21], completion_ids: [30, 31, 2], label: true },
  { prompt_ids: [1, 9], completion_ids: [40, 2], label: false },
];

test("kto: starts at 1/2 with rewards 0, parts good from bad answers; micro-batches follow it up to their own divergence", async () => {
  const data = await jsonl(...judged);
  const steps = await train("kto", data, "--batch-size", 4, "--steps", 8, "--learning-rate", 5e-3);
  expect(steps[0]).toMatchObject({ step: 1, loss: 0.5, kl: 0, "rewards/chosen": 0, "rewards/rejected": 0 });
  expect(steps[7]?.["rewards/margins"]).toBeGreaterThan(0.05);
  expect(steps[7]?.loss).toBeLessThan(0.49);
  const micro = await train(
    "kto",
    data,
    "--batch-size",
    2,
    "--gradient-accumulation-steps",
    2,
    "--steps",
    1,
    "--learning-rate",
    5e-3,
  );
  expect(micro[0]?.loss).toBe(0.5);
  expect((micro[0]?.grad_norm as number) / (steps[0]?.grad_norm as number)).toBeCloseTo(1, 5);
});

const groups = [
  {
    prompt_ids: [1, 9, 4],
    completion_ids: [
      [5, 6, 2],
      [7, 2],
      [8, 9, 10, 2],
    ],
    rewards: [1, 0, 0],
  },
  {
    prompt_ids: [1, 20],
    completion_ids: [
      [30, 2],
      [31, 32, 2],
    ],
    rewards: [0, 2],
  },
];

test("grpo: advantages of a group sum to 0, so does the first loss per answer; rewarded answers gain; checkpointing changes no bit", async () => {
  const data = await jsonl(...groups);
  const words = ["--batch-size", 2, "--steps", 6, "--learning-rate", 2e-3, "--loss-type", "grpo", "--beta", 0.01];
  const steps = await train("grpo", data, ...words);
  expect(Math.abs(steps[0]?.loss as number)).toBeLessThan(1e-5);
  expect(steps[0]).toMatchObject({ reward: expect.closeTo(0.6, 6), "clip_ratio/region_mean": 0 });
  expect(steps[0]?.kl as number).toBeLessThan(1e-9);
  expect(steps[5]?.loss).toBeLessThan(-0.01);
  expect(steps[5]?.kl).toBeGreaterThan(0);
  expect(await train("grpo", data, ...words, "--gradient-checkpointing")).toEqual(steps);
});

test("wrong use and bad rows are named", async () => {
  const data = await jsonl(...judged, { prompt_ids: [1], completion_ids: [2], label: "good" });
  const words = ["--model", model, "--data", data, "--out", await temporary()];
  expect((await run("kto", ...words, "--batch-size", 1)).err).toContain("--batch-size must be at least 2");
  expect((await run("kto", ...words, "--beta", 0)).err).toContain("--beta must be greater than 0");
  expect((await run("kto", ...words)).err).toContain(`${data}:5: "label" must be true or false, found "good"`);
  const bad = await jsonl({ prompt_ids: [1], completion_ids: [[2], [3]], rewards: [1] });
  expect((await run("grpo", ...words, "--data", bad)).err).toContain(`${bad}:1: "rewards" must be a list of 2 numbers`);
  const one = await jsonl({ prompt_ids: [1], completion_ids: [[2]], rewards: [1] });
  expect((await run("grpo", ...words, "--data", one)).err).toContain(
    '"completion_ids" must be a list of at least 2 answers',
  );
  expect((await run("grpo", ...words, "--loss-type", "ppo")).err).toContain("--loss-type must be one of grpo, bnpo");
});

import { join } from "node:path";
import { expect, test } from "vitest";
import { loadModel } from "../../src/model/hf.ts";
import { loadAdapter } from "../../src/model/peft.ts";
import { golden, goldenPath } from "../model/golden.ts";
import { referenceStep } from "../train/engine.ts";
import { jsonl, readLines, run, temporary } from "./run.ts";

const model = goldenPath("llama-tied");
const adapter = goldenPath("llama-tied/adapter");

const rows = [
  { prompt_ids: [1, 9], completion_ids: [5, 6, 7, 2] },
  { prompt_ids: [1, 30, 31, 32], completion_ids: [2] },
  { prompt_ids: [1], completion_ids: [40, 41] },
];

test("the loss is the mean over all completion tokens of the batch, loss and gradient as in f64, and it falls", async () => {
  const folder = await temporary();
  const metrics = join(folder, "metrics.jsonl");
  const out = join(folder, "adapter");
  const words = ["--model", model, "--adapter", adapter, "--data", await jsonl(...rows), "--batch-size", 3];
  const trained = await run(
    "sft",
    ...words,
    "--out",
    out,
    "--metrics",
    metrics,
    "--steps",
    8,
    "--learning-rate",
    3e-3,
    "--json",
  );
  expect(trained.code, trained.err).toBe(0);
  const steps = await readLines(metrics);
  expect(trained.lines().slice(0, -1)).toEqual(steps);
  expect(trained.lines().at(-1)).toMatchObject({ out, steps: 8, loss: steps[7]?.loss });

  const { config, tensors } = await loadModel(golden("llama-tied"));
  const group = {
    rows: rows.map(({ prompt_ids, completion_ids }) => ({
      picture: null,
      prompt: prompt_ids,
      answers: [completion_ids],
    })),
    pairs: 0,
    reference: [],
    sft: rows.map(() => 1 / 7),
  };
  const given = await loadAdapter(golden("llama-tied/adapter"), config);
  const want = referenceStep(config, tensors, given, [group], { type: "sigmoid", beta: 0.1, labelSmoothing: 0 });
  const squares = [...want.grads]
    .filter(([name]) => /\.[AB]$/.test(name))
    .map(([, grad]) => grad.reduce((sum, x) => sum + x * x, 0));
  const first = steps[0] as Record<string, number>;
  expect(first.loss).toBeCloseTo(want.loss, 5);
  expect((first.grad_norm as number) / Math.sqrt(squares.reduce((a, b) => a + b, 0))).toBeCloseTo(1, 5);
  expect(first).toMatchObject({ step: 1, learning_rate: 3e-3, num_tokens: 14 });
  expect(steps.at(-1)?.num_tokens).toBe(8 * 14);
  const losses = steps.map((step) => step.loss as number);
  expect(losses[7]).toBeLessThan(0.8 * (losses[0] as number));

  // The written adapter, asked again: a step that changes nothing sees a loss still below the last one's.
  const again = join(folder, "again.jsonl");
  const reloaded = await run(
    "sft",
    ...words,
    "--adapter",
    out,
    "--out",
    join(folder, "same"),
    "--metrics",
    again,
    "--learning-rate",
    0,
    "--steps",
    1,
  );
  expect(reloaded.code, reloaded.err).toBe(0);
  expect((await readLines(again))[0]?.loss).toBeLessThan(losses[7] as number);
});

test("rows that are no completions are named", async () => {
  const data = await jsonl(rows[0], { prompt_ids: [1] });
  expect(await run("sft", "--model", model, "--data", data, "--out", await temporary())).toMatchObject({
    code: 1,
    err: `autodidact sft: ${data}:2: "completion_ids" must be a list of token ids, found nothing\n`,
  });
});

import { expect, test } from "vitest";
import { parseConfig } from "../../src/model/config.ts";
import { loadAdapter } from "../../src/model/peft.ts";
import { parsePreference, parseRows, parseSequence } from "../../src/model/rows.ts";
import { GOLDEN, golden, goldenText } from "./golden.ts";

interface Expected {
  readonly options: {
    readonly loss_type: string;
    readonly reference: string;
    readonly beta: number;
    readonly learning_rate: number;
  };
  readonly steps: readonly Readonly<Record<string, number>>[];
  readonly logprobs: readonly (readonly number[])[];
}

const RUNS = [
  ["llama-tied", "dpo-sigmoid"],
  ["llama-tied", "dpo-sigmoid-base"],
  ["llama-tied", "dpo-ipo"],
  ["llama-untied", "dpo-sigmoid"],
  ["llama-untied", "dpo-ipo-base"],
] as const;

const options = { tokenizer: null, vocabulary: 97 };

test.each(RUNS)("%s/%s: PyTorch's numbers are those that one can do in one's head", (model, run) => {
  const { options: given, steps } = JSON.parse(goldenText(`${model}/${run}/expected.json`)) as Expected;
  expect(steps.length).toBe(6);
  if (given.reference === "adapter") {
    const atStart = given.loss_type === "sigmoid" ? Math.LN2 : (1 / (2 * given.beta)) ** 2;
    expect(steps[0]?.loss).toBeCloseTo(atStart, 12);
    expect(steps[0]?.["rewards/margins"]).toBe(0);
  } else {
    expect(Math.abs(steps[0]?.["rewards/margins"] as number)).toBeGreaterThan(0.01);
  }
  for (const step of steps) {
    expect(step["rewards/margins"]).toBeCloseTo(
      (step["rewards/chosen"] as number) - (step["rewards/rejected"] as number),
      12,
    );
    expect(step.grad_norm).toBeGreaterThan(0);
  }
});

test.each(RUNS)(
  "%s/%s: the adapter afterwards has moved, at most about the learning rate a step and element",
  async (model, run) => {
    const config = parseConfig(goldenText(`${model}/config.json`));
    const { options: given } = JSON.parse(goldenText(`${model}/${run}/expected.json`)) as Expected;
    const before = await loadAdapter(golden(`${model}/adapter`), config);
    const after = await loadAdapter(golden(`${model}/${run}`), config);
    let largest = 0;
    for (const [path, pair] of after.tensors) {
      for (const side of ["A", "B"] as const) {
        const old = before.tensors.get(path)?.[side].data as Float32Array;
        pair[side].data.forEach((value, i) => {
          largest = Math.max(largest, Math.abs(value - (old[i] as number)));
        });
      }
    }
    expect(largest).toBeGreaterThan(3 * given.learning_rate);
    expect(largest).toBeLessThan(7 * given.learning_rate);
  },
);

test.each(GOLDEN)("%s: as many log-probs as tokens less one, none above 0", (model) => {
  const sequences = parseRows(goldenText(`${model}/sequences.jsonl`), "sequences.jsonl").map((row) =>
    parseSequence(row, options),
  );
  const { logprobs, logprobs_adapter } = JSON.parse(goldenText(`${model}/expected.json`)) as Record<string, number[][]>;
  for (const rows of [logprobs, logprobs_adapter] as number[][][]) {
    expect(rows.map((row) => row.length)).toEqual(sequences.map((tokens) => tokens.length - 1));
    expect(Math.max(...rows.flat())).toBeLessThan(0);
  }
  expect(logprobs).not.toEqual(logprobs_adapter);
});

test.each(GOLDEN)(
  "%s: completions have different lengths within a row, so that ipo's averages are put to the test",
  (model) => {
    const rows = parseRows(goldenText(`${model}/preferences.jsonl`), "preferences.jsonl").map((row) =>
      parsePreference(row, options),
    );
    expect(rows.filter((row) => row.chosen_ids.length !== row.rejected_ids.length).length).toBeGreaterThan(5);
  },
);

/** The same step, however its rows are packed: prompt shared or repeated, padded or padding-free. */
import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { imageTokens, type ModelConfig } from "../../src/model/config.ts";
import { type PackedRow, pack, rowLength, shapeFor } from "../../src/model/packing.ts";
import { document, info, PAD } from "../../src/ops/mask.ts";
import type { Group, GrpoGroup, LossSettings, PreferenceGroup } from "../../src/train/groups.ts";
import { Trainer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { hyper, loraOn, modelOn, relativeError, trainableOf } from "./engine.ts";
import { randomAdapter, randomPicture, randomTensors, randomTokens, tinyConfig } from "./models.ts";

const gpu = await openTestGpu();
const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
const sigmoid: LossSettings = { type: "sigmoid", beta: 0.1, labelSmoothing: 0 };
const config = tinyConfig({ vision: true });

/** Rows with K answers of unlike lengths; every second one has a picture. */
function rowsWith(own: ModelConfig, prompts: readonly number[], K: number, seed: number): PackedRow[] {
  const rng = rngFor(seed, "rows");
  return prompts.map((n, i) => ({
    picture: own.vision && i % 2 === 0 ? randomPicture(own, rng) : null,
    prompt: randomTokens(rng, own.vocab_size, n),
    answers: Array.from({ length: K }, (_, k) => randomTokens(rng, own.vocab_size, 1 + ((3 * i + 2 * k) % 5))),
  }));
}

/** Log-probs of all answers, loss and gradient of one step, LoRA or the whole model. */
async function run(groups: readonly Group[], { lora: adapted = true, paddingFree = false } = {}) {
  const weights = await modelOn(runtime, config, randomTensors(config, 1));
  const lora = adapted ? loraOn(runtime, config, randomAdapter(config, 2), true) : null;
  const trainable = trainableOf(weights, lora);
  const trainer = new Trainer(runtime, weights, trainable, undefined, { paddingFree });
  const result = await gpu.checked(() => trainer.step(groups, sigmoid, hyper(1)));
  const gradient = await trainable.grads.read();
  await trainer.destroy();
  return { loss: result.loss, sums: result.sums.flat(), gradient };
}

function expectSame(got: Awaited<ReturnType<typeof run>>, want: Awaited<ReturnType<typeof run>>): void {
  expect(relativeError(got.sums, want.sums)).toBeLessThan(1e-5);
  expect(Math.abs(got.loss - want.loss)).toBeLessThan(1e-5);
  expect(relativeError(got.gradient, want.gradient)).toBeLessThan(1e-5);
}

const grpoOf = (rows: readonly PackedRow[], advantage: readonly number[]): GrpoGroup => ({
  kind: "grpo",
  rows,
  advantage,
  weight: advantage.map(() => 0.05),
  old: rows.flatMap((row) => row.answers.map((answer) => answer.map(() => -3))),
  reference: null,
  beta: 0,
  low: 0.2,
  high: 0.2,
});

/** One row for each answer. */
const apart = (rows: readonly PackedRow[]): PackedRow[] =>
  rows.flatMap((row) => row.answers.map((answer) => ({ ...row, answers: [answer] })));

test.each([true, false])(
  "GRPO: five answers that share a prompt and its picture give the step of five rows (LoRA %s)",
  async (lora) => {
    const rows = rowsWith(config, [3, 6], 5, 1);
    const advantage = [1, -0.5, 0.3, -1, 0.2, 0.9, -0.9, 0.4, -0.4, 0.1];
    expectSame(await run([grpoOf(rows, advantage)], { lora }), await run([grpoOf(apart(rows), advantage)], { lora }));
  },
);

/** Every two answers are a pair. */
const pairsOf = (rows: readonly PackedRow[]): PreferenceGroup => {
  const pairs = rows.reduce((sum, { answers }) => sum + answers.length, 0) / 2;
  const each = <T>(two: readonly T[]): T[] => Array.from({ length: pairs }, () => two).flat();
  return { rows, pairs, reference: each([-6, -8]), sft: each([0.02, 0]) };
};

test.each([true, false])(
  "DPO: pairs that share a prompt and its picture give the step of two rows each (LoRA %s)",
  async (lora) => {
    const rows = rowsWith(config, [3, 6, 1], 2, 4);
    expectSame(await run([pairsOf(rows)], { lora }), await run([pairsOf(apart(rows))], { lora }));
  },
);

test.each([true, false])(
  "padding-free: pairs of unlike lengths in fewer tokens, the same step (LoRA %s)",
  async (lora) => {
    const rows = rowsWith(config, [2, 12, 5, 3, 20, 1, 4], 2, 2);
    const tokens = (paddingFree: boolean) => {
      const { B, T } = shapeFor(config, rows, { paddingFree });
      return B * T;
    };
    const own = rows.reduce((sum, row) => sum + rowLength(config, row), 0);
    console.log(`${own} tokens: ${tokens(false)} padded, ${tokens(true)} padding-free`);
    expect(tokens(true)).toBeLessThan(0.75 * tokens(false));
    expectSame(await run([pairsOf(rows)], { lora, paddingFree: true }), await run([pairsOf(rows)], { lora }));
  },
);

test("rows behind each other, by hand: longest first, documents numbered, positions anew", () => {
  const text = tinyConfig();
  const rows: PackedRow[] = [
    { picture: null, prompt: [5, 6], answers: [[8]] },
    { picture: null, prompt: [7], answers: [[9, 12, 10], [11]] },
  ];
  const packed = pack(text, [{ rows, shape: { B: 1, T: 6, M: 5, S: 3, pictures: false, rows: 2 } }]);
  expect([...packed.id]).toEqual([7, 9, 12, 5, 6, 0]);
  expect([...packed.pos]).toEqual([0, 1, 2, 0, 1, 0]);
  const second = document(1);
  expect([...packed.info]).toEqual([info(0), info(1), info(1), info(0) | second, info(0) | second, PAD]);
  // Predicted tokens stay in the order of the rows.
  expect([...packed.index]).toEqual([4, 0, 1, 2, 0]);
  expect([...packed.target]).toEqual([8, 9, 12, 10, 11]);
  expect([...(packed.answers[0]?.span ?? [])]).toEqual([0, 1, 1, 4, 4, 5]);
  expect(() => pack(text, [{ rows, shape: { B: 1, T: 4, M: 5, S: 3, pictures: false, rows: 2 } }])).toThrow(
    "the rows need 2 sequences of 4 tokens, the plan has 1",
  );
});

test("every row has its own pictures' patches, wherever its tokens lie", () => {
  const rows = rowsWith(config, [1, 9, 2, 7], 1, 3);
  const shape = shapeFor(config, rows, { paddingFree: true });
  const packed = pack(config, [{ rows, shape }]);
  const count = imageTokens(config);
  expect(shape.B).toBeLessThan(4);
  expect(packed.patchRow).toHaveLength(4 * count);
  for (const [b, row] of rows.entries())
    for (let i = 0; i < count; i++) {
      const at = packed.patchRow?.[b * count + i] as number;
      if (row.picture) expect([packed.id[at], packed.pos[at]]).toEqual([b * count + i, i]);
      else expect(at).toBe(0xffffffff);
    }
});

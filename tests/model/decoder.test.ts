import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { loadModel } from "../../src/model/hf.ts";
import { loadAdapter } from "../../src/model/peft.ts";
import { parseRows, parseSequence } from "../../src/model/rows.ts";
import { mergedTensors, runOnce } from "../../src/model/weights.ts";
import { Scorer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { Tape } from "../reference/autograd.ts";
import { leavesOf, referenceLogprobs } from "../reference/decoder.ts";
import { loraOn, modelOn } from "../train/engine.ts";
import { randomAdapter, randomPicture, randomTensors, randomTokens, tinyConfig } from "../train/models.ts";
import { GOLDEN, golden, goldenText } from "./golden.ts";

const gpu = await openTestGpu();

function rowsFor(config: ModelConfig) {
  const rng = rngFor(1, "rows");
  return [1, 2, 13].map((n) => ({
    picture: config.vision && n !== 2 ? randomPicture(config, rng) : null,
    prompt: randomTokens(rng, config.vocab_size, n),
    answers: [randomTokens(rng, config.vocab_size, 6)],
  }));
}

/** Largest difference of log-probs. */
function largest(got: readonly (readonly number[])[], want: readonly (readonly number[])[]): number {
  expect(got.map((row) => row.length)).toEqual(want.map((row) => row.length));
  return Math.max(
    ...got.flatMap((row, i) =>
      row.map((value, j) =>
        Number.isNaN(value) ? Number.POSITIVE_INFINITY : Math.abs(value - (want[i]?.[j] ?? Number.NaN)),
      ),
    ),
  );
}

test.each([
  ["one layer, all heads their own", { layers: 1, heads: 4, kv: 4 }],
  ["three layers, one key-value head, own head matrix", { layers: 3, heads: 4, kv: 1, tied: false }],
  ["six heads in pairs, vocabulary of 21", { heads: 6, kv: 3, vocab: 21 }],
  ["pictures", { vision: true }],
] as const)("log-probs of every variant against f64: %s", async (_, options) => {
  const config = tinyConfig(options);
  const tensors = randomTensors(config, 2);
  const adapter = randomAdapter(config, 3, { targets: ["q_proj", "v_proj", "down_proj"] });
  const rows = rowsFor(config);
  const reference = (adapted: boolean) => {
    const tape = new Tape();
    const pairs = new Map(
      [...adapter.tensors].map(([path, { A, B }]) => [
        path,
        { A: tape.leaves(A.data), B: tape.leaves(B.data), r: adapter.r },
      ]),
    );
    const model = {
      tape,
      config,
      params: leavesOf(tape, tensors),
      lora: adapted ? { scaling: adapter.scaling, pairs } : null,
    };
    return rows.map(({ picture, prompt, answers }) =>
      referenceLogprobs(model, picture, prompt, answers[0] as number[]).map((x) => tape.of(x)),
    );
  };
  const [plain, adapted] = [reference(false), reference(true)];
  for (const variant of gpu.variants) {
    const runtime = gpu.runtime(variant);
    const weights = await modelOn(runtime, config, tensors);
    const lora = loraOn(runtime, config, adapter, false);
    const merged = mergedTensors(runtime, config);
    await gpu.checked(async () => {
      const score = async (with_: ConstructorParameters<typeof Scorer>[2]) =>
        (await new Scorer(runtime, weights, with_).tokens(rows)).map((row) => row[0] as number[]);
      expect(largest(await score({}), plain)).toBeLessThan(2e-5);
      expect(largest(await score({ lora }), adapted)).toBeLessThan(2e-5);
      await runOnce(runtime, "merge", (ctx) => lora.appendMerge(ctx, weights, merged));
      expect(largest(await score({ merged }), adapted)).toBeLessThan(2e-5);
    });
  }
});

test.each(GOLDEN)("%s: log-probs are PyTorch's in every variant, with and without the adapter", async (name) => {
  const model = await loadModel(golden(name));
  const expected = JSON.parse(goldenText(`${name}/expected.json`)) as {
    logprobs: number[][];
    logprobs_adapter: number[][];
  };
  const options = { tokenizer: null, vocabulary: model.config.vocab_size };
  const rows = parseRows(goldenText(`${name}/sequences.jsonl`), "sequences.jsonl").map((row) => {
    const tokens = parseSequence(row, options);
    return { picture: null, prompt: tokens.slice(0, 1), answers: [tokens.slice(1)] };
  });
  const adapter = await loadAdapter(golden(`${name}/adapter`), model.config);
  for (const variant of gpu.variants) {
    const runtime = gpu.runtime(variant);
    const weights = await modelOn(runtime, model.config, model.tensors);
    const plain = (await new Scorer(runtime, weights, {}).tokens(rows)).map((row) => row[0] as number[]);
    const adapted = (
      await new Scorer(runtime, weights, { lora: loraOn(runtime, model.config, adapter, false) }).tokens(rows)
    ).map((row) => row[0] as number[]);
    const errors = [largest(plain, expected.logprobs), largest(adapted, expected.logprobs_adapter)];
    console.log(
      `${name} ${variant}: largest error ${errors.map((error) => error.toExponential(1)).join(", with the adapter ")}`,
    );
    for (const error of errors) expect(error).toBeLessThan(5e-5);
  }
});

/** KTO and GRPO through the whole model: losses and every LoRA gradient against f64. */
import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { groupAdvantages, tokenWeights } from "../../src/ops/grpo.ts";
import type { Group, LossSettings } from "../../src/train/groups.ts";
import { Trainer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { Tape, type Var } from "../reference/autograd.ts";
import { leavesOf, type ReferenceModel, referenceLogprobs } from "../reference/decoder.ts";
import { grpoValue, ktoValue } from "../reference/policy.ts";
import { hyper, loraOn, modelOn, relativeError, trainableOf } from "./engine.ts";
import { randomAdapter, randomTensors, randomTokens, tinyConfig } from "./models.ts";

const gpu = await openTestGpu();
const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
const config = tinyConfig({ kv: 1, layers: 1 });
const tensors = randomTensors(config, 1);
const adapter = randomAdapter(config, 2);
const noPairs: LossSettings = { type: "sigmoid", beta: 0, labelSmoothing: 0 };
const rng = rngFor(3, "rows");
const tokens = (n: number) => randomTokens(rng, config.vocab_size, n);

/** The model in f64 with its leaves, and the derivative of a scalar function of one number as a node. */
function referenceModel() {
  const tape = new Tape();
  const pairs = new Map(
    [...adapter.tensors].map(([path, { A, B }]) => [
      path,
      { A: tape.leaves(A.data), B: tape.leaves(B.data), r: adapter.r },
    ]),
  );
  const model: ReferenceModel = {
    tape,
    config,
    params: leavesOf(tape, tensors),
    lora: { scaling: adapter.scaling, pairs },
  };
  const node = (f: (x: number) => number, x: Var): Var => {
    const [at, h] = [tape.of(x), 1e-5];
    return tape.custom(f(at), [x], [(f(at + h) - f(at - h)) / (2 * h)]);
  };
  const gradients = (loss: Var) => {
    const all = tape.gradients(loss);
    const take = (leaves: readonly Var[]) => Float64Array.from(leaves, (leaf) => all[leaf] as number);
    return new Map(
      [...pairs].flatMap(([path, { A, B }]) => [[`${path}.A`, take(A)] as const, [`${path}.B`, take(B)] as const]),
    );
  };
  return { tape, model, node, gradients };
}

/** One step on the device: its result and the largest relative error of a LoRA tensor's gradient. */
async function compare(groups: readonly Group[], want: ReadonlyMap<string, Float64Array>) {
  const weights = await modelOn(runtime, config, tensors);
  const lora = loraOn(runtime, config, adapter, true);
  const trainer = new Trainer(runtime, weights, trainableOf(weights, lora));
  const result = await gpu.checked(() => trainer.step(groups, noPairs, hyper(1)));
  const host = await (lora.grads as NonNullable<typeof lora.grads>).read();
  let error = 0;
  for (const [path, pair] of lora.unpack(host))
    for (const factor of ["A", "B"] as const)
      error = Math.max(error, relativeError(pair[factor].data, want.get(`${path}.${factor}`) as Float64Array));
  await trainer.destroy();
  return { result, error };
}

test("KTO in two groups with the divergence of mismatched answers in two more", async () => {
  const prompts = [tokens(3), tokens(5), tokens(2)];
  const answers = [tokens(4), tokens(2), tokens(6)];
  const label = [1, -1, 1] as const;
  const weight = [1 / 3, 1.5 / 3, 1 / 3];
  const beta = 0.3;
  const { tape, model, node, gradients } = referenceModel();
  const logp = (p: number, a: number) =>
    tape.sum(referenceLogprobs(model, null, prompts[p] as number[], answers[a] as number[]));
  const others = [logp(0, 2), logp(1, 0), logp(2, 1)];
  const otherReference = others.map((x, i) => Math.fround(tape.of(x) - 1 - i));
  const z = others.reduce((sum, x, i) => sum + tape.of(x) - (otherReference[i] as number), 0) / 3;
  const own = [0, 1, 2].map((i) => logp(i, i));
  const reference = own.map((x, i) => Math.fround(tape.of(x) + 2 - 2 * i));
  const terms = own.map((x, i) =>
    tape.scale(
      node((sum) => ktoValue(sum, reference[i] as number, label[i] as number, beta, z), x),
      weight[i] as number,
    ),
  );
  const loss = tape.sum(terms);
  const row = (p: number, a: number) => ({
    picture: null,
    prompt: prompts[p] as number[],
    answers: [answers[a] as number[]],
  });
  const judged = (from: number, to: number): Group => ({
    kind: "kto",
    rows: own.map((_, i) => row(i, i)).slice(from, to),
    label: label.slice(from, to),
    reference: reference.slice(from, to),
    weight: weight.slice(from, to),
    beta,
  });
  const { result, error } = await compare(
    [
      { kind: "kto-divergence", rows: [row(0, 2), row(1, 0)], reference: otherReference.slice(0, 2), weight: 1 / 3 },
      { kind: "kto-divergence", rows: [row(2, 1)], reference: otherReference.slice(2), weight: 1 / 3 },
      judged(0, 2),
      judged(2, 3),
    ],
    gradients(loss),
  );
  console.log(`KTO: worst gradient ${error.toExponential(1)}`);
  expect(z).toBeGreaterThan(0);
  expect(result.divergence).toBeCloseTo(z, 4);
  expect(result.loss).toBeCloseTo(tape.of(loss), 5);
  expect(result.answers.map(({ reward }) => reward)).toEqual(
    own.map((x, i) => expect.closeTo(beta * (tape.of(x) - (reference[i] as number)), 4)),
  );
  expect(error).toBeLessThan(1e-4);
});

test.each(["dapo", "grpo"] as const)(
  "GRPO, %s: four answers of one prompt share it, with clipping and divergence",
  async (type) => {
    const prompt = tokens(4);
    const answers = [tokens(3), tokens(5), tokens(1), tokens(4)];
    const advantage = groupAdvantages([1, 0, 0, 0.5]);
    const weight = tokenWeights(
      type,
      answers.map((answer) => answer.length),
      8,
    );
    const [beta, low, high] = [0.05, 0.1, 0.15];
    const { tape, model, node, gradients } = referenceModel();
    const logp = answers.map((answer) => referenceLogprobs(model, null, prompt, answer));
    const shifted = (by: number) => logp.map((each) => each.map((x) => Math.fround(tape.of(x) + by * rng.normal())));
    const [old, reference] = [shifted(0.2), shifted(0.5)];
    const loss = tape.sum(
      logp.flatMap((each, s) =>
        each.map((x, t) =>
          tape.scale(
            node(
              (at) =>
                grpoValue(at, old[s]?.[t] as number, reference[s]?.[t] as number, advantage[s] as number, {
                  beta,
                  low,
                  high,
                }),
              x,
            ),
            weight[s] as number,
          ),
        ),
      ),
    );
    const { result, error } = await compare(
      [
        {
          kind: "grpo",
          rows: [{ picture: null, prompt, answers }],
          advantage,
          weight,
          old,
          reference,
          beta,
          low,
          high,
        },
      ],
      gradients(loss),
    );
    console.log(
      `GRPO ${type}: worst gradient ${error.toExponential(1)}, ${result.tokens.clipped} of ${result.tokens.count} tokens clipped`,
    );
    expect(result.loss).toBeCloseTo(tape.of(loss), 5);
    expect(result.tokens.count).toBe(13);
    expect(result.tokens.clipped).toBeGreaterThan(0);
    expect(error).toBeLessThan(1e-4);
  },
);

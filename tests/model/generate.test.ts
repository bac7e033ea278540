import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import type { ModelConfig } from "../../src/model/config.ts";
import { planRows } from "../../src/model/decoding.ts";
import { Generator, type Prompt } from "../../src/model/generate.ts";
import { NONE } from "../../src/ops/mask.ts";
import type { Grammar } from "../../src/ops/sample.ts";
import { Scorer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { Tape } from "../reference/autograd.ts";
import { leavesOf, referenceLogits } from "../reference/decoder.ts";
import { modelOn } from "../train/engine.ts";
import { randomPicture, randomTensors, randomTokens, tinyConfig } from "../train/models.ts";

const gpu = await openTestGpu();
const greedy = { k: 1, temperature: 0, topK: 0, topP: 1, seed: 0, batch: 8 };

function promptsFor(config: ModelConfig, lengths: readonly number[]): Prompt[] {
  const rng = rngFor(5, "prompts");
  return lengths.map((n, i) => ({
    picture: config.vision && i % 3 !== 1 ? randomPicture(config, rng) : null,
    prompt: randomTokens(rng, config.vocab_size, n),
  }));
}

/** The likeliest token again and again, each time from a full forward pass in f64. */
function argmaxOf(
  config: ModelConfig,
  tensors: ReturnType<typeof randomTensors>,
  { picture, prompt }: Prompt,
  most: number,
): number[] {
  const made: number[] = [];
  while (made.length < most) {
    const tape = new Tape();
    const logits = referenceLogits({ tape, config, params: leavesOf(tape, tensors), lora: null }, picture, [
      ...prompt,
      ...made,
    ]).at(-1) as number[];
    const values = logits.map((x) => tape.of(x));
    made.push(values.indexOf(Math.max(...values)));
    if (config.eos_token_id.includes(made.at(-1) as number)) break;
  }
  return made;
}

test.each([
  ["text", { vocab: 24 }, [1, 4, 9, 2]],
  ["pictures and prompts of unequal length, some without a picture", { vision: true, layers: 1 }, [3, 1, 5]],
  ["a model that never stops", { eos: null, kv: 1 }, [2, 6]],
] as const)("greedy tokens are those of full forward passes in f64: %s", async (_, options, lengths) => {
  const config = tinyConfig(options);
  const tensors = randomTensors(config, 6);
  const prompts = promptsFor(config, lengths);
  const wanted = prompts.map((prompt) => argmaxOf(config, tensors, prompt, 8));
  for (const variant of gpu.variants) {
    const runtime = gpu.runtime(variant);
    const weights = await modelOn(runtime, config, tensors);
    const generator = new Generator(runtime, weights, null);
    const got = await gpu.checked(() => generator.generate(prompts, { ...greedy, maxNewTokens: 8 }));
    for (const [i, want] of wanted.entries()) {
      expect(got[i]?.[0]?.tokens, `prompt ${i}`).toEqual(want);
      expect(got[i]?.[0]?.finished).toBe(config.eos_token_id.includes(want.at(-1) as number));
    }
    await generator.destroy();
  }
});

test.each([[false], [true]])(
  "samples: log-prob is the scorer's, finished rows end with the stop token, K samples differ (pictures: %s)",
  async (vision) => {
    const config = tinyConfig({ vision, vocab: 12 }); // few tokens: many answers stop early
    const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
    const weights = await modelOn(runtime, config, randomTensors(config, 7));
    const generator = new Generator(runtime, weights, null);
    const prompts = promptsFor(config, [2, 5, 1, 7]);
    const answers = await gpu.checked(() =>
      generator.generate(prompts, { k: 6, temperature: 3, topK: 0, topP: 1, seed: 3, batch: 4, maxNewTokens: 10 }),
    );
    expect(answers.map((all) => all.length)).toEqual([6, 6, 6, 6]);
    const all = answers.flat();
    expect(all.some(({ finished }) => finished)).toBe(true);
    expect(all.some(({ finished }) => !finished)).toBe(true);
    for (const { tokens, finished } of all) {
      expect(tokens.indexOf(2)).toBe(finished ? tokens.length - 1 : -1);
      if (!finished) expect(tokens.length).toBe(10);
    }
    for (const group of answers) expect(new Set(group.map(({ tokens }) => tokens.join())).size).toBeGreaterThan(1);
    const scored = await new Scorer(runtime, weights, {}).tokens(
      prompts.map(({ picture, prompt }, i) => ({
        picture,
        prompt,
        answers: (answers[i] as typeof all).map(({ tokens }) => tokens),
      })),
    );
    for (const [i, group] of answers.entries())
      for (const [k, { logprob }] of group.entries()) {
        const sum = (scored[i]?.[k] ?? []).reduce((a, b) => a + b, 0);
        expect(Math.abs(logprob - sum), `prompt ${i}, sample ${k}: ${logprob} and ${sum}`).toBeLessThan(1e-4);
      }
  },
);

test("the batch size changes no token and no bit of a log-prob; another seed does", async () => {
  const config = tinyConfig({ vision: true });
  const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
  const weights = await modelOn(runtime, config, randomTensors(config, 8));
  const prompts = promptsFor(config, [2, 5, 1, 7, 3, 3, 4]);
  const options = { k: 3, temperature: 1, topK: 0, topP: 0.95, seed: 11, maxNewTokens: 9 };
  const generator = new Generator(runtime, weights, null);
  const whole = await generator.generate(prompts, { ...options, batch: 7 });
  for (const batch of [1, 2, 3]) expect(await generator.generate(prompts, { ...options, batch })).toEqual(whole);
  expect(await generator.generate(prompts.slice(4), { ...options, batch: 2, first: 4 })).toEqual(whole.slice(4));
  expect(await generator.generate(prompts, { ...options, batch: 7 })).toEqual(whole);
  expect(await generator.generate(prompts, { ...options, seed: 12, batch: 7 })).not.toEqual(whole);
  await generator.destroy();
});

test("answers are told as they end, and a plan that was built before gives the same ones", async () => {
  const config = tinyConfig({ vocab: 12 }); // few tokens: many answers stop early
  const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
  const weights = await modelOn(runtime, config, randomTensors(config, 7));
  const prompts = promptsFor(config, [2, 5, 1, 7]);
  const options = { k: 6, temperature: 3, topK: 0, topP: 1, seed: 3, batch: 4, maxNewTokens: 16 };
  const plain = new Generator(runtime, weights, null);
  const whole = await plain.generate(prompts, options);
  await plain.destroy();
  const generator = new Generator(runtime, weights, null);
  await gpu.checked(() => generator.prepare(prompts, options));
  const plans = runtime.pipelines.plans.size;
  const told: number[] = [];
  const onAnswers = (some: readonly (readonly unknown[])[]): void => {
    for (const [i, all] of some.entries()) expect(whole[i]).toEqual(expect.arrayContaining([...all]));
    told.push(some.flat().length);
    if (told.length === 1) expect(runtime.pipelines.plans.size).toBe(plans);
  };
  expect(await generator.generate(prompts, { ...options, onAnswers })).toEqual(whole);
  expect(told[0]).toBeGreaterThan(0);
  expect(told[0]).toBeLessThan(whole.flat().length);
  expect(told).toEqual([...told].sort((a, b) => a - b));
  await generator.destroy();
});

test("a grammar: only allowed tokens come, the state goes on from token to token, also where rows are dropped", async () => {
  const config = tinyConfig({ vocab: 12, layers: 1 });
  const V = config.vocab_size;
  /** First tokens and second ones in turns; the answer may end where a second one is due. */
  const turns = (firsts: readonly number[], seconds: readonly number[]): Grammar => {
    const next = new Uint32Array(2 * V).fill(NONE);
    for (const token of firsts) next[token] = 1;
    for (const token of [...seconds, 2]) next[V + token] = 0;
    return { states: 2, next };
  };
  const follows = (tokens: readonly number[], { next }: Grammar): boolean => {
    let state = 0;
    return tokens.every((token) => {
      state = next[state * V + token] as number;
      return state !== NONE;
    });
  };
  const tensors = randomTensors(config, 12);
  const prompts = promptsFor(
    config,
    Array.from({ length: 35 }, (_, i) => 1 + (i % 5)),
  );
  const options = { k: 2, temperature: 4, topK: 0, topP: 1, seed: 4, maxNewTokens: 21, batch: 35 };
  for (const variant of gpu.variants) {
    const runtime = gpu.runtime(variant);
    const generator = new Generator(runtime, await modelOn(runtime, config, tensors), null);
    const drawn = (sampling: { grammar?: Grammar }) =>
      gpu.checked(() => generator.generate(prompts, { ...options, ...sampling }));
    // Of one size: both take the same plan.
    for (const grammar of [turns([3, 4], [5, 6, 7]), turns([8, 9], [3, 10, 11])]) {
      const answers = (await drawn({ grammar })).flat();
      for (const { tokens } of answers) expect(follows(tokens, grammar), tokens.join()).toBe(true);
      expect(new Set(answers.flatMap(({ tokens }) => tokens)).size).toBe(6);
      const lasting = answers.filter(({ tokens }) => tokens.length > 17).length;
      expect(lasting).toBeGreaterThan(0);
      expect(planRows(lasting, 70)).toBeLessThan(70); // or nothing was dropped at all
    }
    const free = (await drawn({})).flat();
    expect(free.some(({ tokens }) => !follows(tokens, turns([3, 4], [5, 6, 7])))).toBe(true);
    await generator.destroy();
  }
});

test("one new token, and more than one stop token", async () => {
  const config = { ...tinyConfig({ vocab: 12 }), eos_token_id: [2, 5, 7] };
  const runtime = gpu.runtime("plain");
  const weights = await modelOn(runtime, config, randomTensors(config, 9));
  const generator = new Generator(runtime, weights, null);
  const prompts = promptsFor(config, [3, 2, 2, 6]);
  const first = await generator.generate(prompts, { ...greedy, maxNewTokens: 1 });
  expect(first.every(([one]) => one?.tokens.length === 1)).toBe(true);
  const answers = (await generator.generate(prompts, { ...greedy, k: 8, temperature: 1, maxNewTokens: 12 })).flat();
  const stops = new Set(answers.filter(({ finished }) => finished).map(({ tokens }) => tokens.at(-1)));
  expect(stops.size).toBeGreaterThan(1);
  for (const { tokens } of answers) expect(tokens.slice(0, -1).some((token) => [2, 5, 7].includes(token))).toBe(false);
  await expect(
    generator.generate([{ picture: null, prompt: Array(60).fill(3) }], { ...greedy, maxNewTokens: 9 }),
  ).rejects.toThrow("exceed the model's 64 positions");
});

test("prompts of many lengths: old plans go, and the answers stay", async () => {
  const config = tinyConfig({ vision: true, layers: 1 });
  const runtime = gpu.runtime("plain");
  const weights = await modelOn(runtime, config, randomTensors(config, 10));
  const generator = new Generator(runtime, weights, null);
  const prompts = promptsFor(
    config,
    Array.from({ length: 20 }, (_, i) => i + 1),
  );
  const options = { ...greedy, batch: 1, maxNewTokens: 4 };
  const first = await gpu.checked(() => generator.generate(prompts, options));
  expect(await gpu.checked(() => generator.generate(prompts, options))).toEqual(first);
  await generator.destroy();
});

test.each([
  ["plain", 4],
  ["tile", 8],
] as const)(
  "finished rows are dropped on the way, and no answer changes: %s looks every %i tokens",
  async (matmul, chunk) => {
    const config = tinyConfig({ vocab: 12, layers: 1 }); // few tokens: many answers stop early
    const runtime = gpu.runtime(matmul);
    const weights = await modelOn(runtime, config, randomTensors(config, 11));
    const generator = new Generator(runtime, weights, null);
    const prompts = promptsFor(
      config,
      Array.from({ length: 35 }, (_, i) => 1 + (i % 5)),
    );
    const options = { k: 2, temperature: 4, topK: 0, topP: 1, seed: 4, maxNewTokens: 25 };
    const before = new Set(gpu.pipelines.plans);
    const together = await gpu.checked(() => generator.generate(prompts, { ...options, batch: 35 }));
    const lengths = together.flat().map(({ tokens }) => tokens.length);
    // What every decoder should have run: the prompt's plan draws one token, then `chunk` of them between two looks.
    const wanted = new Map<string, number>();
    let rows = 70;
    for (let taken = 1; taken < 25; taken += chunk) {
      const label = `decode ${rows}`;
      wanted.set(label, (wanted.get(label) ?? 0) + Math.min(chunk, 25 - taken));
      const lasting = lengths.filter((length) => length > taken + chunk).length;
      if (lasting === 0) break;
      rows = Math.min(rows, planRows(lasting, 70));
    }
    const ran = [...gpu.pipelines.plans].filter((plan) => !before.has(plan) && plan.label.startsWith("decode "));
    expect(new Map(ran.map(({ label, runs }) => [label, runs]))).toEqual(wanted);
    expect(ran.length).toBeGreaterThan(2);
    expect(await generator.generate(prompts, { ...options, batch: 7 })).toEqual(together);
    expect(await generator.generate(prompts, { ...options, batch: 16 })).toEqual(together);
    await generator.destroy();
  },
);

test("plan sizes: at most two between powers of two, never too small, never above the batch", () => {
  const sizes = new Set<number>();
  for (let active = 1; active <= 768; active++) {
    const size = planRows(active, 768);
    expect(size).toBeGreaterThanOrEqual(active);
    expect(size).toBeLessThanOrEqual(Math.max(16, 1.5 * active + 16));
    sizes.add(size);
  }
  expect([...sizes].sort((a, b) => a - b)).toEqual([16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]);
  expect(planRows(3, 5)).toBe(5);
});

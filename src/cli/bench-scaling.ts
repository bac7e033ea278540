/**
 * `bench --scaling`: time of a training step of this engine as one size grows, against what its floating-point
 * operations predict; a prompt shared by its answers against one copy for each; activations kept against recomputed.
 */
import { rngFor } from "../base/rng.ts";
import { engineOn, likelihood } from "../bench/peers/autodidact.ts";
import type { Session } from "../bench/peers/contestant.ts";
import { ADAMW, flopsOf, llama, type TrainWork, weightsOf } from "../bench/peers/workloads.ts";
import { Pace } from "../gpu/plan.ts";
import { type ModelConfig, tensorShapes } from "../model/config.ts";
import { type PackedRow, rowLength } from "../model/packing.ts";
import { ModelWeights } from "../model/weights.ts";
import { AdapterTraining } from "../train/adapter.ts";
import { stepsAhead } from "../train/ahead.ts";
import { freshAdapter } from "../train/engine.ts";
import type { Group } from "../train/groups.ts";
import { median } from "./peer-report.ts";
import type { NodeRuntime } from "./runtime.ts";

export interface Point {
  readonly size: number;
  readonly ms: number;
  readonly flops: number;
}

export interface Curve {
  /** What grows. */
  readonly axis: string;
  readonly points: readonly Point[];
}

/** Two ways to compute the same, run in turns. */
export interface Comparison {
  readonly name: string;
  readonly firstMs: number;
  readonly secondMs: number;
  /** Time of the second over that of the first: median over the rounds. */
  readonly ratio: number;
  /** The same of the CPU time of all threads: a software adapter's work without its waiting. */
  readonly cpuRatio: number;
  /** What the numbers of operations say: of computed tokens, or one forward pass more in three. */
  readonly expected: number;
}

interface Base {
  readonly batch: number;
  readonly length: number;
  readonly layers: number;
  readonly width: number;
}

const base: Base = { batch: 16, length: 32, layers: 2, width: 64 };
const VOCABULARY = 256;

const model = ({ layers, width }: Omit<Base, "batch" | "length">, vocabulary = VOCABULARY): ModelConfig =>
  llama({
    vocab_size: vocabulary,
    hidden_size: width,
    intermediate_size: (width * 11) / 4,
    num_hidden_layers: layers,
    num_attention_heads: width / 16,
    num_key_value_heads: width / 16,
  });

/** What shared prompts are measured with: the bundled model's sizes at the loop's batch, a wider model, and a small step. */
const SHARING = [
  { name: "the bundled model", config: model({ layers: 3, width: 64 }, 64), prompts: 16 },
  { name: "d 256, 2 layers", config: model({ layers: 2, width: 256 }), prompts: 16 },
  { name: "d 64, 2 layers", config: model({ layers: 2, width: 64 }), prompts: 8 },
] as const;

const trainWork = (sizes: Base): TrainWork => ({
  kind: "train",
  name: "",
  config: model(sizes),
  batch: sizes.batch,
  length: sizes.length,
});

const axes: Readonly<Record<string, readonly (Base & { readonly size: number })[]>> = {
  "batch, sequences of 32 tokens": [8, 16, 32, 64].map((batch) => ({ ...base, batch, size: batch })),
  "tokens a sequence, 16 sequences": [16, 32, 64, 128].map((length) => ({ ...base, length, size: length })),
  layers: [1, 2, 4, 8].map((layers) => ({ ...base, layers, size: layers })),
  width: [32, 64, 128, 256].map((width) => ({ ...base, width, size: width })),
};

/** Answers that share a prompt, on the axis of K. */
const ANSWERS = [2, 4, 8, 16];
const K_AXIS = "K answers to each of 8 prompts, LoRA and GRPO";

/** Milliseconds of each run: by the clock, and of all threads of this process. */
interface Times {
  readonly clock: number[];
  readonly cpu: number[];
}

/** Runs of several sessions in turns, the first one of each not counted but handed to `look`; times by session. */
async function inTurns(
  sessions: readonly Session[],
  rounds: number,
  look: (results: readonly (readonly number[])[]) => void = () => {},
): Promise<Times[]> {
  const results: (readonly number[])[] = [];
  for (const session of sessions) results.push(await session.run());
  look(results);
  const times = sessions.map((): Times => ({ clock: [], cpu: [] }));
  for (let round = 0; round < rounds; round++)
    for (const [i, session] of sessions.entries()) {
      const [began, before] = [performance.now(), process.cpuUsage()];
      await session.run();
      const { user, system } = process.cpuUsage(before);
      times[i]?.clock.push(performance.now() - began);
      times[i]?.cpu.push((user + system) / 1e3);
    }
  for (const session of sessions) await session.close();
  return times;
}

export async function scalingCurves(node: NodeRuntime, rounds: number, note: (line: string) => void): Promise<Curve[]> {
  const engine = engineOn(node.gpu, node.runtime);
  const curves: Curve[] = [];
  const measure = async (
    axis: string,
    works: readonly (Omit<Point, "ms"> & { readonly session: Session })[],
    steps = 1,
  ) => {
    const times = await inTurns(
      works.map(({ session }) => session),
      rounds,
    );
    const points = works.map(({ size, flops }, i) => ({ size, flops, ms: median((times[i] as Times).clock) / steps }));
    curves.push({ axis, points });
  };
  for (const [axis, sizes] of Object.entries(axes)) {
    note(axis);
    const works = [];
    for (const { size, ...base } of sizes) {
      const work = trainWork(base);
      works.push({ size, flops: flopsOf(work), session: await engine.train(work) });
    }
    await measure(axis, works);
  }
  note(K_AXIS);
  const config = model(base);
  const works = [];
  for (const k of ANSWERS) {
    const sizes = { count: 8, k, prompt: 48, answer: 16 };
    const group = groupOf(candidateRows(sizes, VOCABULARY, true));
    const session = await adapterSteps(node, config, group);
    works.push({ size: k, flops: sharedFlops(config, sizes), session });
  }
  await measure(K_AXIS, works, STEPS);
  return curves;
}

/** `count` prompts, `k` answers to each, tokens of a prompt and of an answer. */
interface Candidates {
  readonly count: number;
  readonly k: number;
  readonly prompt: number;
  readonly answer: number;
}

/**
 * Operations of a LoRA step on candidates behind their shared prompts, without the factors' own: weights go by twice (no
 * gradient of a frozen one), attention three times, the head sees predicted tokens only.
 */
export function sharedFlops(config: ModelConfig, { count, k, prompt, answer }: Candidates): number {
  const matrices = [...tensorShapes(config)].filter(([name, shape]) => shape.length === 2 && name.includes("layers"));
  const weights = matrices.reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const own = answer - 1; // the last token predicts nothing, so that it is no input
  const causal = (tokens: number) => (tokens * (tokens + 1)) / 2;
  const pairs = causal(prompt) + k * (own * prompt + causal(own));
  const attention = 4 * config.num_hidden_layers * config.num_attention_heads * config.head_dim * pairs;
  const head = 2 * config.vocab_size * config.hidden_size * k * answer;
  return count * (2 * (2 * weights * (prompt + k * own) + head) + 3 * attention);
}

/** `count` prompts with `k` answers each, the prompt in front of all of them or once for each. */
export function candidateRows(sizes: Candidates, vocabulary: number, shared: boolean): PackedRow[] {
  const rng = rngFor(1, "candidates", sizes.count, sizes.k);
  const words = (n: number) => Array.from({ length: n }, () => rng.int(vocabulary));
  return Array.from({ length: sizes.count }, () => ({
    prompt: words(sizes.prompt),
    answers: Array.from({ length: sizes.k }, () => words(sizes.answer)),
  })).flatMap(({ prompt, answers }) =>
    shared
      ? [{ picture: null, prompt, answers }]
      : answers.map((answer) => ({ picture: null, prompt, answers: [answer] })),
  );
}

const answersOf = (rows: readonly PackedRow[]): readonly (readonly number[])[] =>
  rows.flatMap(({ answers }) => answers);

/** Every two answers are a pair. */
function pairsOf(rows: readonly PackedRow[]): Group {
  const answers = answersOf(rows).length;
  return { rows, pairs: answers / 2, reference: Array(answers).fill(-90), sft: Array(answers).fill(0) };
}

/** On-policy answers with advantages and a divergence from a reference. */
function groupOf(rows: readonly PackedRow[]): Group {
  const answers = answersOf(rows);
  const tokens = answers.reduce((sum, answer) => sum + answer.length, 0);
  return {
    kind: "grpo",
    rows,
    advantage: answers.map((_, s) => (s % 2 === 0 ? 1 : -1)),
    weight: answers.map(() => 1 / tokens),
    old: null,
    reference: answers.map((answer) => answer.map(() => -5.5)),
    beta: 0.04,
    low: 0.2,
    high: 0.2,
  };
}

/** LoRA steps in one run of `adapterSteps`. */
const STEPS = 4;

/** LoRA steps on this group, as the loop and the commands take them, one submitted behind the other: r 8 on all projections. */
async function adapterSteps({ runtime }: NodeRuntime, config: ModelConfig, group: Group): Promise<Session> {
  const weights = new ModelWeights(runtime, config, weightsOf(config));
  await weights.refresh();
  const training = new AdapterTraining(runtime, weights, freshAdapter(config, 1, 8, 16), new Pace());
  const settings = { type: "sigmoid", beta: 0.1, labelSmoothing: 0 } as const;
  return {
    async run() {
      const losses: number[] = [];
      await stepsAhead({
        count: STEPS,
        prepare: () => [[group]],
        submit: (batches) => training.step(batches, settings, { ...ADAMW, maxGradNorm: 1 }),
        seen: ({ loss, finite }) => {
          losses.push(loss);
          return finite;
        },
      });
      return losses;
    },
    async close() {
      await training.destroy();
      for (const tensors of [weights.values, weights.transposed]) tensors.destroy();
    },
  };
}

/** Throws unless the first losses of two ways of the same work agree. */
export function sameLoss(name: string, results: readonly (readonly number[])[]): void {
  const [a, b] = results.map(([loss]) => loss) as [number, number];
  if (!(Math.abs(a - b) <= 1e-4 * Math.max(1, Math.abs(a)))) throw new Error(`${name}: the losses are ${a} and ${b}`);
}

export async function comparisons(
  node: NodeRuntime,
  rounds: number,
  note: (line: string) => void,
): Promise<Comparison[]> {
  const engine = engineOn(node.gpu, node.runtime);
  const results: Comparison[] = [];
  const compare = async (name: string, pair: readonly [Session, Session], expected: number, steps = 1) => {
    note(name);
    const times = await inTurns(pair, rounds, (results) => sameLoss(name, results));
    const [first, second] = times as [Times, Times];
    const ratio = (of: keyof Times) => median(second[of].map((ms, i) => ms / (first[of][i] as number)));
    results.push({
      name,
      firstMs: median(first.clock) / steps,
      secondMs: median(second.clock) / steps,
      ratio: ratio("clock"),
      cpuRatio: ratio("cpu"),
      expected,
    });
  };
  for (const { name: model, config, prompts: count } of SHARING)
    for (const [name, k, group] of [
      ["DPO", 2, pairsOf],
      ["GRPO", 8, groupOf],
    ] as const) {
      const sizes = { count, k, prompt: 48, answer: 16 };
      const [shared, separate] = [true, false].map((share) => candidateRows(sizes, config.vocab_size, share)) as [
        PackedRow[],
        PackedRow[],
      ];
      const sessions = [
        await adapterSteps(node, config, group(shared)),
        await adapterSteps(node, config, group(separate)),
      ] as const;
      const tokens = (rows: readonly PackedRow[]) => rows.reduce((sum, row) => sum + rowLength(config, row), 0);
      await compare(
        `${name}, ${model}, ${count} × ${k} answers to prompts three times as long: one prompt, ${k} prompts`,
        sessions,
        tokens(separate) / tokens(shared),
        STEPS,
      );
    }
  const rows = candidateRows({ count: 16, k: 1, prompt: 1, answer: 64 }, VOCABULARY, true);
  const deep = model({ ...base, layers: 8 });
  const { plans } = node.runtime.pipelines;
  const before = new Set(plans);
  const bytes: number[] = [];
  const sessions: Session[] = [];
  for (const checkpointing of [false, true]) {
    const session = await engine.steps(deep, likelihood(rows), { checkpointing });
    await session.run();
    bytes.push([...plans].filter((plan) => !before.has(plan)).reduce((sum, plan) => sum + plan.bytes, 0));
    for (const plan of plans) before.add(plan);
    sessions.push(session);
  }
  await compare(
    `8 layers, 16 × 64 tokens: activations kept, recomputed (plan ${megabytes(bytes[0])} and ${megabytes(bytes[1])})`,
    sessions as [Session, Session],
    4 / 3,
  );
  return results;
}

const megabytes = (bytes: number | undefined): string => `${((bytes ?? 0) / 1e6).toFixed(1)} MB`;

/** Exponent b of ms ≈ a · flopsᵇ by least squares: 1 or less is no worse than the operations predict. */
export function exponent(points: readonly Point[]): number {
  const x = points.map(({ flops }) => Math.log(flops));
  const y = points.map(({ ms }) => Math.log(ms));
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [mx, my] = [mean(x), mean(y)];
  const covariance = x.reduce((sum, value, i) => sum + (value - mx) * ((y[i] as number) - my), 0);
  return covariance / x.reduce((sum, value) => sum + (value - mx) ** 2, 0);
}

/** Rows of a table, head first: each size's time, and its growth against that of the operations. */
export function curveRows(curves: readonly Curve[]): string[][] {
  const rows = curves.map(({ axis, points }) => {
    const [first] = points as [Point, ...Point[]];
    const cells = points.map(
      ({ size, ms, flops }) =>
        `${size}: ${ms.toFixed(1)} ms (${(ms / first.ms).toFixed(2)}×, operations ${(flops / first.flops).toFixed(2)}×)`,
    );
    return [axis, ...cells, exponent(points).toFixed(2)];
  });
  return [["axis", "1", "2", "3", "4", "time grows as operations to the power of"], ...rows];
}

/** Rows of a table, head first. */
export function comparisonRows(results: readonly Comparison[]): string[][] {
  const reached = (ratio: number, expected: number) => `${((100 * ratio) / expected).toFixed(0)}%`;
  const rows = results.map(({ name, firstMs, secondMs, ratio, cpuRatio, expected }) => [
    name,
    `${firstMs.toFixed(1)} ms`,
    `${secondMs.toFixed(1)} ms`,
    `${ratio.toFixed(2)}×`,
    `${expected.toFixed(2)}×`,
    reached(ratio, expected),
    reached(cpuRatio, expected),
  ]);
  return [
    ["what", "first", "second", "ratio of times", "ratio of operations", "reached", "reached in CPU time"],
    ...rows,
  ];
}

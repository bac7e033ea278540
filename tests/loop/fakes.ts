/**
 * In-memory stand-ins for every port. A fake picture shows three digits and the answer to it is these digits.
 * The fake policy is two numbers, the chance to be right in A and in B; training moves them by how much better
 * the chosen answers really are than the rejected ones. Everything is a function of seeds, as in the real ports.
 */
import { bufferItem } from "../../src/base/buffer.ts";
import { type Contour, defaultContour } from "../../src/base/contour.ts";
import type { DeviceSummary, LoopEvent, Progress } from "../../src/base/events.ts";
import { sha256Hex } from "../../src/base/hash.ts";
import type {
  Candidate,
  HeldOut,
  JudgedCandidate,
  Pair,
  Picture,
  Score,
  StepMetrics,
  Task,
  WorldName,
} from "../../src/base/records.ts";
import { rngFor } from "../../src/base/rng.ts";
import type {
  AdapterSnapshot,
  Commit,
  EnginePort,
  EvaluatorPort,
  JudgePort,
  LoopState,
  Ports,
  SealedPort,
  SourcePort,
  StorePort,
} from "../../src/loop/ports.ts";

export const fakeContour: Contour = {
  ...defaultContour,
  name: "fake",
  rounds: 4,
  propose: { tasks: 24 },
  sample: { ...defaultContour.sample, k: 6 },
  train: { ...defaultContour.train, batchSize: 8, minPairs: 4, replayA: { perStep: 4, weight: 0.5 } },
  gate: { ...defaultContour.gate, period: 2, maxItems: 1000 },
  stop: { patience: 0 },
  evaluate: { every: 2, items: 60, worlds: ["A", "B"] },
};

export interface Skill {
  readonly a: number;
  readonly b: number;
}

export interface FakeOptions {
  readonly base?: Skill;
  /** Gain in B per unit of true preference and per step; loss in A per step. */
  readonly gain?: number;
  readonly forget?: number;
  /** Called once per train call, 1, 2, …: may replace what was learnt. */
  readonly teach?: (skill: Skill, call: number) => Skill;
  readonly divergeAt?: number;
  readonly metrics?: (call: number) => Partial<StepMetrics>;
  /** Share of samples that do not end, by training calls so far of the sampling adapter. */
  readonly unfinished?: (steps: number) => number;
  readonly scrambleTruth?: boolean;
  readonly device?: Partial<DeviceSummary>;
  /** Throws at this commit (1, 2, …), before or after it is applied. */
  readonly crash?: { readonly commit: number; readonly when: "before" | "after" };
}

const EOS = 10;
const digits = (picture: Picture | null): readonly number[] => [...(picture?.rgb ?? [])].map((value) => value % 8);
export const quality = (task: Task, tokens: readonly number[]): number =>
  digits(task.picture).filter((digit, i) => tokens[i] === digit).length / 3;
const parses = (tokens: readonly number[]): boolean => tokens.length === 4 && tokens[3] === EOS;

export function fakeTask(world: WorldName, source: string, round: number, ...labels: (string | number)[]): Task {
  const rng = rngFor("fake-task", world, ...labels);
  const picture: Picture = { size: 1, rgb: Uint8Array.from([rng.int(256), rng.int(256), rng.int(256)]) };
  const prompt = [world === "A" ? 0 : 1];
  return {
    id: sha256Hex(picture.rgb, JSON.stringify([prompt, labels])),
    kind: "describe",
    prompt,
    picture,
    source,
    round,
  };
}

interface Weights extends Skill {
  readonly calls: number;
}

export interface FakeEngine extends EnginePort {
  readonly loads: string[];
  readonly greedyCalls: { adapter: string; count: number }[];
  skillOf(adapter: string): Skill;
}

export function fakeEngine(options: FakeOptions = {}): FakeEngine {
  const base: Weights = { a: 0.97, b: 0.35, ...options.base, calls: 0 };
  const adapters = new Map<string, Weights>([["base", base]]);
  const loads: string[] = [];
  const greedyCalls: { adapter: string; count: number }[] = [];
  let policy: Weights = base;
  const weights = (adapter: string): Weights => {
    const known = adapters.get(adapter);
    if (!known) throw new Error(`fake engine: adapter ${adapter} was never loaded`);
    return known;
  };
  const skill = (adapter: string, task: Task): number => weights(adapter)[task.prompt[0] === 0 ? "a" : "b"];
  const candidate = (tokens: readonly number[], logprob: number, finished: boolean): Candidate => ({
    tokens,
    text: tokens.join(" "),
    logprob,
    finished,
  });
  return {
    device: {
      vendor: "fake",
      architecture: "",
      description: "in memory",
      fallback: true,
      features: [],
      variants: {},
      ...options.device,
    },
    base: sha256Hex(JSON.stringify(base)),
    loads,
    greedyCalls,
    skillOf: weights,
    sample: async (tasks, { adapter, k, seed }) =>
      tasks.map((task, i) =>
        Array.from({ length: k }, (_, j) => {
          const rng = rngFor(seed, "fake-sample", i, j);
          const right = Math.cbrt(skill(adapter, task));
          if (rng.next() < (options.unfinished?.(weights(adapter).calls) ?? 0)) return candidate([1, 2, 3], -9, false);
          if (rng.next() < 0.1) return candidate([9, EOS], -8, true);
          const tokens = digits(task.picture).map((digit) => (rng.next() < right ? digit : rng.int(8)));
          return candidate([...tokens, EOS], -rng.next(), true);
        }),
      ),
    greedy: async (tasks, { adapter }) => {
      greedyCalls.push({ adapter, count: tasks.length });
      return tasks.map((task) => {
        const right = rngFor("fake-greedy", task.id).next() < skill(adapter, task);
        const flipped = rngFor("fake-flip", task.id, adapter).next() < (task.prompt[0] === 0 ? 0.002 : 0.03);
        const tokens = digits(task.picture);
        return candidate([...(right !== flipped ? tokens : tokens.map((token) => (token + 1) % 8)), EOS], -1, true);
      });
    },
    logprobs: async (items, { adapter }) =>
      items.map(({ task, tokens }) => -3 + quality(task, tokens) * skill(adapter, task)),
    begin: async ({ adapter }) => {
      policy = weights(adapter);
    },
    train: async ({ batches, contour, learningRate, onStep }) => {
      const calls = policy.calls + 1;
      if (options.divergeAt === calls) return { steps: [], diverged: { step: 2, detail: "loss is not a number" } };
      const steps: StepMetrics[] = [];
      let { a, b } = policy;
      batches.forEach((batch, step) => {
        const truth = batch.pairs.reduce(
          (sum, { task, chosen, rejected }) => sum + quality(task, chosen.tokens) - quality(task, rejected.tokens),
          0,
        );
        b += (options.gain ?? 0.06) * (truth / Math.max(batch.pairs.length, 1));
        a -= options.forget ?? 0;
        const metrics: StepMetrics = {
          step,
          loss: Math.LN2 - b / 10,
          "rewards/chosen": 0.1,
          "rewards/rejected": -0.1,
          "rewards/accuracies": 0.5,
          "rewards/margins": 0.2,
          "logps/chosen": -3,
          "logps/rejected": -4,
          grad_norm: contour.maxGradNorm,
          learning_rate: learningRate,
          ...options.metrics?.(calls),
        };
        steps.push(metrics);
        onStep?.(metrics);
      });
      const learnt = options.teach?.({ a, b }, calls) ?? { a, b };
      policy = { a: clamp(learnt.a), b: clamp(learnt.b), calls };
      return { steps, diverged: null };
    },
    snapshot: async () => {
      const bytes = new TextEncoder().encode(JSON.stringify(policy));
      const optimizer = new TextEncoder().encode(`moments after ${policy.calls} calls`);
      const hash = sha256Hex(bytes);
      adapters.set(hash, policy);
      return { hash, adapter: bytes, config: "{}", optimizer };
    },
    load: async (snapshot) => {
      if (sha256Hex(snapshot.adapter) !== snapshot.hash)
        throw new Error("fake engine: the bytes do not match the hash");
      loads.push(snapshot.hash);
      adapters.set(snapshot.hash, JSON.parse(new TextDecoder().decode(snapshot.adapter)) as Weights);
    },
  };
}

const clamp = (skill: number): number => Math.min(0.99, Math.max(0.01, skill));

export function fakeSource(): SourcePort {
  return {
    propose: async ({ world, round, count, seed }) =>
      Array.from({ length: count }, (_, i) => fakeTask(world, `camera:${world}`, round, "propose", seed, i)),
    replayA: async ({ count, seed, round }) =>
      Array.from({ length: count }, (_, i) => {
        const task = fakeTask("A", "replay:A", round, "replay", seed, i);
        return { task, answer: [...digits(task.picture), EOS] };
      }),
  };
}

/** Pixels compares with what the picture shows; onnx-image agrees nearly always; self knows nothing. */
export function fakeJudge(): JudgePort {
  return {
    score: async (tasks, { seed }) =>
      tasks.map(({ task, candidates }) => ({
        task,
        candidates: candidates.map((one, i): JudgedCandidate => {
          const rng = rngFor(seed, "fake-judge", task.id, i);
          const good = parses(one.tokens);
          const pixels = good ? quality(task, one.tokens) : -1;
          return {
            ...one,
            scores: {
              pixels,
              "onnx-image": good ? pixels + 0.2 * rng.next() : -1,
              self: rng.next(),
              gold: pixels === 1 ? 1 : 0,
            },
            redrawn: good ? { size: 1, rgb: Uint8Array.from(one.tokens.slice(0, 3)) } : null,
            parses: good,
          };
        }),
      })),
  };
}

export function fakeSealed(options: FakeOptions = {}): SealedPort {
  const item = (key: string, world: WorldName, index: number): Task => fakeTask(world, "sealed", 0, key, index);
  return {
    items: async ({ key, world, from, count }) => Array.from({ length: count }, (_, i) => item(key, world, from + i)),
    grade: ({ key, world, index, answer }) =>
      quality(item(key, world, options.scrambleTruth ? index + 1 : index), answer.tokens) === 1,
    newKey: ({ seed, gate }) => sha256Hex(`key ${seed} ${gate}`),
  };
}

export function fakeEvaluator(): EvaluatorPort & { readonly calls: string[] } {
  const calls: string[] = [];
  return {
    calls,
    evaluate: async ({ engine, adapter, world, items, seed }) => {
      calls.push(`${adapter} ${world}`);
      const tasks = Array.from({ length: items }, (_, i) => fakeTask(world, "evaluator", 0, "held-out", seed, i));
      const answers = await engine.greedy(tasks, { adapter, maxNewTokens: 4 });
      const correct = answers.filter((answer, i) => quality(tasks[i] as Task, answer.tokens) === 1).length;
      const score: Score = { n: items, correct, value: correct / items, ci: [0, 1] };
      return { greedy: score, sampled: score, n: items, ci: score.ci, perKind: { describe: score } } satisfies HeldOut;
    },
  };
}

export interface FakeStore extends StorePort {
  readonly commits: Commit[];
}

export function fakeStore(options: FakeOptions = {}): FakeStore {
  const commits: Commit[] = [];
  const pairs = new Map<string, Pair>();
  const adapters = new Map<string, AdapterSnapshot>();
  const log: LoopEvent[] = [];
  let state: LoopState | null = null;
  let attempts = 0;
  return {
    commits,
    state: async () => structuredClone(state),
    commit: async (change) => {
      attempts += 1;
      const crash = options.crash?.commit === attempts ? options.crash.when : null;
      if (crash === "before") throw new Error("crash before the commit");
      change.events.forEach((event, i) => {
        if (event.seq !== log.length + i)
          throw new Error(`fake store: event ${event.seq} where ${log.length + i} was due`);
      });
      const copy = structuredClone(change);
      commits.push(copy);
      for (const pair of copy.putPairs) pairs.set(pair.id, pair);
      for (const { id, status } of copy.setStatus) {
        const pair = pairs.get(id);
        if (!pair) throw new Error(`fake store: there is no pair ${id}`);
        pairs.set(id, { ...pair, status });
      }
      for (const id of copy.removePairs ?? []) pairs.delete(id);
      for (const adapter of copy.putAdapters) adapters.set(adapter.hash, adapter);
      log.push(...copy.events);
      state = copy.state;
      if (crash === "after") throw new Error("crash after the commit");
    },
    pairs: async ({ status, round, limit }) =>
      [...pairs.values()]
        .filter(
          (pair) => (status === undefined || pair.status === status) && (round === undefined || pair.round === round),
        )
        .slice(0, limit),
    hasPair: async (id) => pairs.has(id),
    pairsById: async (ids) => ids.map((id) => pairs.get(id) as Pair),
    bufferItems: async ({ over }) => {
      const items = [...pairs.values()].map(bufferItem);
      return items.reduce((sum, { bytes }) => sum + bytes, 0) > over ? items : [];
    },
    adapter: async (hash) => adapters.get(hash) ?? null,
    events: async ({ since }) => log.filter((event) => event.seq >= since),
  };
}

export interface FakePorts extends Ports {
  readonly engine: FakeEngine;
  readonly store: FakeStore;
  readonly evaluator: ReturnType<typeof fakeEvaluator>;
  readonly emitted: LoopEvent[];
  readonly progressed: Progress[];
}

/** All ports. Give `store` to open a new process (a new engine) on the memory of an old one. */
export function fakePorts(options: FakeOptions = {}, store: FakeStore = fakeStore(options)): FakePorts {
  const emitted: LoopEvent[] = [];
  const progressed: Progress[] = [];
  let clock = 0;
  return {
    engine: fakeEngine(options),
    source: fakeSource(),
    judge: fakeJudge(),
    sealed: fakeSealed(options),
    evaluator: fakeEvaluator(),
    store,
    now: () => ++clock,
    progress: (progress) => progressed.push(progress),
    emit: (event) => emitted.push(event),
    emitted,
    progressed,
  };
}

export const timeless = (events: readonly LoopEvent[]): readonly LoopEvent[] =>
  events.map((event) => ({ ...event, at: 0 }));

/** Events of one type, typed. */
export function only<T extends LoopEvent["type"]>(
  events: readonly LoopEvent[],
  type: T,
): readonly Extract<LoopEvent, { type: T }>[] {
  return events.filter((event): event is Extract<LoopEvent, { type: T }> => event.type === type);
}

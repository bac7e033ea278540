/** The workloads of `bench` in Node: what a round of the loop is made of, and the engine's own side of --peers. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Contour, defaultContour } from "../base/contour.ts";
import { rngFor } from "../base/rng.ts";
import { engineOn } from "../bench/peers/autodidact.ts";
import { WORKS, type Work } from "../bench/peers/workloads.ts";
import type { Judge } from "../judge/model.ts";
import { loadModel } from "../model/hf.ts";
import { openFolderStore } from "../store/folder.ts";
import { BASE, Engine } from "../train/engine.ts";
import { initialWeights, pretrain } from "../train/pretrain.ts";
import { composeLoop } from "../worker/compose.ts";
import { createCamera } from "../world/camera.ts";
import { createSealed } from "../world/sealed.ts";
import { decode } from "../world/vocabulary.ts";
import { profileRun, type RunProfile, watchRuns } from "./bench-profile.ts";
import { POLICY, pretrainBatch } from "./commands/pretrain.ts";
import { folder } from "./files.ts";
import { openJudge } from "./judge.ts";
import { median } from "./peer-report.ts";
import { type PhaseTime, phaseTimes, roundSeconds } from "./phase-times.ts";
import type { NodeRuntime } from "./runtime.ts";

export interface Measured {
  readonly name: string;
  readonly milliseconds: number;
  readonly detail: string;
  /** Null unless asked for. */
  readonly profile: RunProfile | null;
}

/** Folders of the models that the workloads run, and whether every kernel is timed afterwards. */
export interface Setup {
  readonly model: string;
  readonly judge: string;
  readonly profile: boolean;
  /** Timed runs of the works of --peers. */
  readonly rounds: number;
}

/** Milliseconds of `work`, the median of `times` runs after one that is not counted. */
async function timed(times: number, work: () => Promise<unknown>): Promise<number> {
  await work();
  const runs: number[] = [];
  for (let i = 0; i < times; i++) {
    const began = performance.now();
    await work();
    runs.push(performance.now() - began);
  }
  return median(runs);
}

/** Profile of one more run of `work`. */
async function profiled(
  node: NodeRuntime,
  { profile }: Setup,
  work: () => Promise<unknown>,
): Promise<RunProfile | null> {
  return profile ? profileRun(node, work) : null;
}

async function policyEngine(node: NodeRuntime, model: string): Promise<Engine> {
  const loaded = await loadModel(folder(model)).catch(() => ({
    config: POLICY,
    tensors: initialWeights(POLICY, 0),
    hash: "untrained",
  }));
  return Engine.create({ runtime: node.runtime, gpu: node.gpu, model: loaded, decode });
}

/** One of the works of --peers, in Node. */
const peerWork =
  (index: number) =>
  async (node: NodeRuntime, setup: Setup): Promise<Measured> => {
    const work = WORKS.full[index] as Work;
    const engine = engineOn(node.gpu, node.runtime);
    const session = await (work.kind === "matmul"
      ? engine.matmul(work)
      : work.kind === "train"
        ? engine.train(work)
        : engine.decode(work));
    const milliseconds = await timed(setup.rounds, () => session.run());
    const profile = await profiled(node, setup, () => session.run());
    await session.close();
    return { name: work.name, milliseconds, detail: "as in --peers", profile };
  };

/** By name. */
export const WORKLOADS: Readonly<Record<string, (node: NodeRuntime, setup: Setup) => Promise<Measured>>> = {
  async pretrain(node, setup) {
    const steps = 4;
    const times: number[] = [];
    let last = performance.now();
    const watch = setup.profile ? watchRuns(node) : null;
    let profile: RunProfile | null = null;
    await pretrain(node.runtime, POLICY, {
      steps,
      seed: 0,
      learningRate: 1e-3,
      warmup: 1,
      weightDecay: 0,
      batch: (step) => pretrainBatch(0, step),
      onStep: () => {
        times.push(performance.now() - last);
        last = performance.now();
        watch?.mark();
      },
      onEnd: async () => {
        profile = (await watch?.profile()) ?? null;
      },
    });
    return {
      name: "pretrain",
      milliseconds: median(times.slice(1)),
      detail: "one step of pre-training, all weights",
      profile,
    };
  },
  async sample(node, setup) {
    const engine = await policyEngine(node, setup.model);
    const tasks = await createCamera().propose({ world: "B", round: 1, count: 64, seed: 1 });
    const { sample } = defaultContour;
    const once = () => engine.sample(tasks, { ...sample, adapter: BASE, seed: 1 });
    const milliseconds = await timed(2, once);
    const profile = await profiled(node, setup, once);
    await engine.destroy();
    return {
      name: "sample",
      milliseconds,
      detail: `64 pictures, ${sample.k} answers each, at most ${sample.maxNewTokens} tokens`,
      profile,
    };
  },
  async dpo(node, setup) {
    const engine = await policyEngine(node, setup.model);
    const camera = createCamera();
    const tasks = await camera.propose({ world: "B", round: 1, count: 16, seed: 1 });
    const replay = await camera.replayA({ count: defaultContour.train.replayA.perStep, seed: 1, round: 1 });
    const rng = rngFor(1, "bench");
    const answer = (objects: number) => ({
      tokens: Array.from({ length: 4 * objects + 1 }, () => 4 + rng.int(20)),
      text: "",
      logprob: -5,
      finished: true,
      scores: {},
      redrawn: null,
    });
    const pairs = tasks.map((task, i) => ({
      id: task.id,
      task,
      chosen: answer(1 + (i % 6)),
      rejected: answer(1 + ((i + 2) % 6)),
      margin: 0.1,
      reference: { adapter: BASE, chosen: -5, rejected: -6 },
      status: "fresh" as const,
      round: 1,
      seed: 1,
    }));
    await engine.begin({ adapter: BASE, seed: 1, loraR: 8, loraAlpha: 16 });
    const once = () =>
      engine.train({ batches: [{ pairs, replay }], contour: defaultContour.train, learningRate: 1e-4 });
    const milliseconds = await timed(3, once);
    const profile = await profiled(node, setup, once);
    await engine.destroy();
    return { name: "dpo", milliseconds, detail: "one LoRA + DPO step, 16 pairs and 32 replayed examples", profile };
  },
  async round(node, setup) {
    const engine = await policyEngine(node, setup.model);
    const onnx = await openJudge(setup.judge);
    const first = await oneRound(engine, onnx, 1); // also builds plans
    const second = await oneRound(engine, onnx, 2);
    const profile = await profiled(node, setup, () => oneRound(engine, onnx, 3));
    await engine.destroy();
    const seconds = (times: readonly PhaseTime[]) => roundSeconds(times, 1) ?? 0;
    const phases = second.map((time) => `${time.phase} ${time.seconds.toFixed(1)} s`).join(", ");
    const { propose, sample } = defaultContour;
    const detail = `propose to train: ${propose.tasks} pictures, ${sample.k} answers each, all judges (${phases}; the first time, with the building of plans, ${seconds(first).toFixed(1)} s)`;
    return { name: "round", milliseconds: 1000 * seconds(second), detail, profile };
  },
  async gate(node, setup) {
    const engine = await policyEngine(node, setup.model);
    const { batch } = defaultContour.gate;
    const { loraR, loraAlpha } = defaultContour.train;
    await engine.begin({ adapter: BASE, seed: 1, loraR, loraAlpha });
    const adapters = [BASE, (await engine.snapshot()).hash];
    const sealed = createSealed();
    const key = sealed.newKey({ seed: 1, gate: 0 });
    let from = 0;
    const oneBatch = async () => {
      const items = await sealed.items({ key, world: "B", from, count: batch });
      for (const adapter of adapters) {
        const answers = await engine.greedy(items, { adapter, maxNewTokens: defaultContour.sample.maxNewTokens });
        for (const [i, answer] of answers.entries()) sealed.grade({ key, world: "B", index: from + i, answer });
      }
      from += batch;
    };
    const milliseconds = (1000 / batch) * (await timed(5, oneBatch));
    const profile = await profiled(node, setup, oneBatch);
    await engine.destroy();
    const detail = `1,000 sealed items of world B, greedy answers of ${adapters.length} adapters (median of 5 batches of ${batch}, scaled)`;
    return { name: "gate", milliseconds, detail, profile };
  },
  "matmul-512": peerWork(1),
  "matmul-1024": peerWork(2),
  "step-64": peerWork(3),
  "step-256": peerWork(4),
  "decode-1": peerWork(5),
  "decode-16": peerWork(6),
};

/** The first round of a run that is thrown away, gate and evaluation left out. Throws if there was too little to train on. */
async function oneRound(engine: Engine, onnx: Judge, seed: number): Promise<readonly PhaseTime[]> {
  const directory = await mkdtemp(join(tmpdir(), "autodidact-bench-"));
  const store = await openFolderStore(directory, { run: "bench" });
  const contour: Contour = { ...defaultContour, gate: { ...defaultContour.gate, on: false } };
  try {
    const clock = { now: () => Date.now(), emit: () => {}, progress: () => {} };
    const loop = composeLoop({ engine, store, onnx, ...clock }, { contour, seed });
    await loop.start({ run: store.run, contour, seed });
    await loop.advance(); // propose, sample, judge, filter, pair
    await loop.advance(); // train
    const events = await store.events({ since: 0 });
    const trained = events.find((event) => event.type === "trained");
    if (trained?.outcome.kind !== "trained")
      throw new Error(`the round trained nothing (${trained?.outcome.detail}): give the policy with --model`);
    return phaseTimes(events);
  } finally {
    store.close();
    await rm(directory, { recursive: true, force: true });
  }
}

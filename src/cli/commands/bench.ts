import { mkdtemp, rm } from "node:fs/promises";
import { loadavg, tmpdir } from "node:os";
import { join } from "node:path";
import { type Contour, defaultContour } from "../../base/contour.ts";
import { rngFor } from "../../base/rng.ts";
import type { Plan } from "../../gpu/plan.ts";
import type { Judge } from "../../judge/model.ts";
import { loadModel } from "../../model/hf.ts";
import { openFolderStore } from "../../store/folder.ts";
import { BASE, Engine } from "../../train/engine.ts";
import { initialWeights, pretrain } from "../../train/pretrain.ts";
import { composeLoop } from "../../worker/compose.ts";
import { createCamera } from "../../world/camera.ts";
import { createSealed } from "../../world/sealed.ts";
import { decode } from "../../world/vocabulary.ts";
import { columns, defineCommand, UsageError } from "../args.ts";
import { benchPage, pageRows } from "../bench-page.ts";
import { benchPeers, CONTESTANTS, type ContestantName } from "../bench-peers.ts";
import { folder } from "../files.ts";
import { openJudge } from "../judge.ts";
import { checkRows, firstRunRows, markdownTable, speedRows } from "../peer-report.ts";
import { type PhaseTime, phaseTimes, roundSeconds } from "../phase-times.ts";
import { type NodeRuntime, openNodeRuntime } from "../runtime.ts";
import { POLICY, pretrainBatch } from "./pretrain.ts";

interface Measured {
  readonly name: string;
  readonly milliseconds: number;
  readonly detail: string;
  readonly plans: readonly { label: string; dispatches: number; profile: Awaited<ReturnType<Plan["profile"]>> }[];
}

/** Folders of the models that the workloads run, and whether every kernel is timed afterwards. */
interface Setup {
  readonly model: string;
  readonly judge: string;
  readonly profile: boolean;
}

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

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

async function profiles({ runtime }: NodeRuntime, { profile }: Setup): Promise<Measured["plans"]> {
  const rows: { label: string; dispatches: number; profile: Awaited<ReturnType<Plan["profile"]>> }[] = [];
  if (!profile) return rows;
  for (const plan of runtime.pipelines.plans)
    rows.push({ label: plan.label, dispatches: plan.dispatches, profile: await plan.profile(3) });
  return rows;
}

async function policyEngine(node: NodeRuntime, model: string): Promise<Engine> {
  const loaded = await loadModel(folder(model)).catch(() => ({
    config: POLICY,
    tensors: initialWeights(POLICY, 0),
    hash: "untrained",
  }));
  return Engine.create({ runtime: node.runtime, gpu: node.gpu, model: loaded, decode });
}

/** One entry a workload: what a round of the loop is made of, and a step of pre-training. */
const WORKLOADS: Readonly<Record<string, (node: NodeRuntime, setup: Setup) => Promise<Measured>>> = {
  async pretrain(node, setup) {
    const steps = 4;
    const times: number[] = [];
    let last = performance.now();
    let plans: Measured["plans"] = [];
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
      },
      onEnd: async () => {
        plans = await profiles(node, setup);
      },
    });
    return {
      name: "pretrain",
      milliseconds: median(times.slice(1)),
      detail: "one step of pre-training, all weights",
      plans,
    };
  },
  async sample(node, setup) {
    const engine = await policyEngine(node, setup.model);
    const tasks = await createCamera().propose({ world: "B", round: 1, count: 64, seed: 1 });
    const { sample } = defaultContour;
    const milliseconds = await timed(2, () => engine.sample(tasks, { ...sample, adapter: BASE, seed: 1 }));
    const plans = await profiles(node, setup);
    await engine.destroy();
    return {
      name: "sample",
      milliseconds,
      detail: `64 pictures, ${sample.k} answers each, at most ${sample.maxNewTokens} tokens`,
      plans,
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
    const milliseconds = await timed(3, () =>
      engine.train({ batches: [{ pairs, replay }], contour: defaultContour.train, learningRate: 1e-4 }),
    );
    const plans = await profiles(node, setup);
    await engine.destroy();
    return { name: "dpo", milliseconds, detail: "one LoRA + DPO step, 16 pairs and 32 replayed examples", plans };
  },
  async round(node, setup) {
    const engine = await policyEngine(node, setup.model);
    const onnx = await openJudge(setup.judge);
    const first = await oneRound(engine, onnx, 1); // also builds plans
    const second = await oneRound(engine, onnx, 2);
    const plans = await profiles(node, setup);
    await engine.destroy();
    const seconds = (times: readonly PhaseTime[]) => roundSeconds(times, 1) ?? 0;
    const phases = second.map((time) => `${time.phase} ${time.seconds.toFixed(1)} s`).join(", ");
    const { propose, sample } = defaultContour;
    const detail = `propose to train: ${propose.tasks} pictures, ${sample.k} answers each, all judges (${phases}; the first time, with the building of plans, ${seconds(first).toFixed(1)} s)`;
    return { name: "round", milliseconds: 1000 * seconds(second), detail, plans };
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
    const plans = await profiles(node, setup);
    await engine.destroy();
    const detail = `1,000 sealed items of world B, greedy answers of ${adapters.length} adapters (median of 5 batches of ${batch}, scaled)`;
    return { name: "gate", milliseconds, detail, plans };
  },
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

/** Load average of the last minute: beyond the number of busy processes of the benchmark itself, others slow it down. */
const load = (): number => loadavg()[0] ?? 0;

/** `autodidact bench`: how fast the engine, a round and the page are on this machine. */
export const bench = defineCommand({
  name: "bench",
  summary: "speed of the engine's workloads on this adapter, with a profile by kernel; or of the page",
  options: {
    only: { type: "text", value: "NAME", help: `one workload: ${Object.keys(WORKLOADS).join(", ")}` },
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    "judge-model": { type: "text", value: "DIR", help: "folder of the ONNX judge", default: "public/models/judge" },
    profile: { type: "flag", help: "time every kernel" },
    page: { type: "flag", help: "the built page in a Chromium on SwiftShader instead: two rounds of training" },
    peers: {
      type: "flag",
      help: "this engine against jax-js, TensorFlow.js and onnxruntime-web in a Chromium instead",
    },
    contestants: { type: "text", value: "A,B", help: `with --peers: some of ${CONTESTANTS.join(", ")}` },
    quick: { type: "flag", help: "with --peers: tiny sizes, to see that everything runs" },
    rounds: { type: "whole", min: 1, max: 100, default: 5, help: "with --peers: runs after the first one" },
    software: { type: "flag", help: "with --peers: SwiftShader even where there is a GPU" },
    "page-folder": { type: "text", value: "DIR", help: "the built page (made if missing)", default: "dist/page" },
  },
  example: "autodidact bench --only dpo --profile",
  async run({ values, out }) {
    const before = load();
    const loads = () => ({ before, after: load() });
    const busy = () => `load average ${before.toFixed(1)} before, ${load().toFixed(1)} after`;
    if (values.page) {
      const report = await benchPage(values["page-folder"], out.note);
      const title = `${report.browser}, ${report.device}; ${busy()}`;
      out.result({ ...report, load: loads() }, `${title}\n${columns(pageRows(report))}`);
      return;
    }
    if (values.peers) {
      const report = await benchPeers({
        size: values.quick ? "quick" : "full",
        rounds: values.rounds,
        ...(values.contestants === null ? {} : { contestants: values.contestants.split(",") as ContestantName[] }),
        ...(values.only === null ? {} : { only: values.only }),
        patienceSeconds: 120,
        software: values.software,
        note: out.note,
      });
      const tables = [speedRows, firstRunRows, checkRows].map((rows) =>
        markdownTable(rows(report.results, report.names)),
      );
      out.result(
        { ...report, load: loads() },
        `${report.browser}, ${report.adapter}; ${busy()}\n\n${tables.join("\n\n")}`,
      );
      return;
    }
    const names = values.only === null ? Object.keys(WORKLOADS) : [values.only];
    const results: Measured[] = [];
    const setup = { model: values.model, judge: values["judge-model"], profile: values.profile };
    const node = await openNodeRuntime();
    for (const name of names) {
      const workload = WORKLOADS[name];
      if (!workload)
        throw new UsageError(`--only: there is no workload ${name}; there are ${Object.keys(WORKLOADS).join(", ")}`);
      results.push(await workload(node, setup));
    }
    const rows = results.map(({ name, milliseconds, detail }): [string, string] => [
      name,
      `${milliseconds.toFixed(0)} ms  ${detail}`,
    ]);
    const table = results
      .flatMap(({ plans }) => plans)
      .map(
        ({ label, dispatches, profile }) =>
          `\n${label}: ${dispatches} dispatches\n${columns(profile.slice(0, 14).map(({ shader, count, ms, flops }) => [shader, `${count} ×  ${ms.toFixed(2)} ms  ${(flops / ms / 1e6).toFixed(1)} GFLOP/s`]))}`,
      );
    out.result(
      { adapter: node.gpu.summary, load: loads(), results },
      `${node.gpu.summary.description}; ${busy()}\n${columns(rows)}\n${table.join("\n")}`,
    );
    node.gpu.destroy();
  },
});

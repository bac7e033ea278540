import { defaultContour } from "../../base/contour.ts";
import { rngFor } from "../../base/rng.ts";
import type { Plan } from "../../gpu/plan.ts";
import { loadModel } from "../../model/hf.ts";
import { BASE, Engine } from "../../train/engine.ts";
import { initialWeights, pretrain } from "../../train/pretrain.ts";
import { createCamera } from "../../world/camera.ts";
import { decode } from "../../world/vocabulary.ts";
import { columns, defineCommand, UsageError } from "../args.ts";
import { folder } from "../files.ts";
import { type NodeRuntime, openNodeRuntime } from "../runtime.ts";
import { POLICY, pretrainBatch } from "./pretrain.ts";

interface Measured {
  readonly name: string;
  readonly milliseconds: number;
  readonly detail: string;
  readonly plans: readonly { label: string; dispatches: number; profile: Awaited<ReturnType<Plan["profile"]>> }[];
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

async function profiles({ runtime }: NodeRuntime): Promise<Measured["plans"]> {
  const rows = [];
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
const WORKLOADS: Readonly<Record<string, (node: NodeRuntime, model: string) => Promise<Measured>>> = {
  async pretrain(node) {
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
        plans = await profiles(node);
      },
    });
    return {
      name: "pretrain",
      milliseconds: median(times.slice(1)),
      detail: "one step of pre-training, all weights",
      plans,
    };
  },
  async sample(node, model) {
    const engine = await policyEngine(node, model);
    const tasks = await createCamera().propose({ world: "B", round: 1, count: 64, seed: 1 });
    const { sample } = defaultContour;
    const milliseconds = await timed(2, () => engine.sample(tasks, { ...sample, adapter: BASE, seed: 1 }));
    const plans = await profiles(node);
    await engine.destroy();
    return {
      name: "sample",
      milliseconds,
      detail: `64 pictures, ${sample.k} answers each, at most ${sample.maxNewTokens} tokens`,
      plans,
    };
  },
  async dpo(node, model) {
    const engine = await policyEngine(node, model);
    const camera = createCamera();
    const tasks = await camera.propose({ world: "B", round: 1, count: 16, seed: 1 });
    const replay = await camera.replayA({ count: 16, seed: 1, round: 1 });
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
    const plans = await profiles(node);
    await engine.destroy();
    return { name: "dpo", milliseconds, detail: "one LoRA + DPO step, 16 pairs and 16 replayed examples", plans };
  },
};

/** `autodidact bench`: how fast the engine is on this adapter, kernel by kernel. */
export const bench = defineCommand({
  name: "bench",
  summary: "speed of the engine's workloads on this adapter, with a profile by kernel",
  options: {
    only: { type: "text", value: "NAME", help: `one workload: ${Object.keys(WORKLOADS).join(", ")}` },
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    profile: { type: "flag", help: "time every kernel" },
  },
  example: "autodidact bench --only dpo --profile",
  async run({ values, out }) {
    const names = values.only === null ? Object.keys(WORKLOADS) : [values.only];
    const results: Measured[] = [];
    const node = await openNodeRuntime();
    for (const name of names) {
      const workload = WORKLOADS[name];
      if (!workload)
        throw new UsageError(`--only: there is no workload ${name}; there are ${Object.keys(WORKLOADS).join(", ")}`);
      results.push(await workload(node, values.model));
    }
    const rows = results.map(({ name, milliseconds, detail }): [string, string] => [
      name,
      `${milliseconds.toFixed(0)} ms  ${detail}`,
    ]);
    const table = (values.profile ? results.flatMap(({ plans }) => plans) : []).map(
      ({ label, dispatches, profile }) =>
        `\n${label}: ${dispatches} dispatches\n${columns(profile.slice(0, 14).map(({ shader, count, ms, flops }) => [shader, `${count} ×  ${ms.toFixed(2)} ms  ${(flops / ms / 1e6).toFixed(1)} GFLOP/s`]))}`,
    );
    out.result(
      { adapter: node.gpu.summary, results },
      `${node.gpu.summary.description}\n${columns(rows)}\n${table.join("\n")}`,
    );
    node.gpu.destroy();
  },
});

/** This engine as a contestant, used as the page's engine worker uses it. */
import { type Gpu, openGpu } from "../../gpu/device.ts";
import { Graph } from "../../gpu/graph.ts";
import { compile, Pace } from "../../gpu/plan.ts";
import type { ModelConfig } from "../../model/config.ts";
import { Generator } from "../../model/generate.ts";
import type { PackedRow } from "../../model/packing.ts";
import { runtimeOn } from "../../model/runtime.ts";
import { ModelWeights, type Runtime } from "../../model/weights.ts";
import { matmulNN } from "../../ops/matmul.ts";
import type { Group } from "../../train/groups.ts";
import { Trainer, type TrainerOptions } from "../../train/step.ts";
import type { Contestant, Session } from "./contestant.ts";
import {
  ADAMW,
  type DecodeWork,
  factorsOf,
  type MatmulWork,
  promptsOf,
  sampledPlaces,
  sequencesOf,
  type TrainWork,
  weightsOf,
} from "./workloads.ts";

export async function open(): Promise<Contestant> {
  const gpu = await openGpu(navigator.gpu, { powerPreference: "high-performance" });
  return engineOn(gpu, runtimeOn(gpu));
}

/** −log π of the rows' answers, mean over the tokens. */
export function likelihood(rows: readonly PackedRow[]): Group {
  const answers = rows.flatMap((row) => row.answers);
  const tokens = answers.reduce((sum, answer) => sum + answer.length, 0);
  return { rows, pairs: 0, reference: [], sft: answers.map(() => 1 / tokens) };
}

type Works = { readonly [Name in keyof Contestant]: NonNullable<Contestant[Name]> } & {
  /** One AdamW step a run on this group, all weights. */
  steps(config: ModelConfig, group: Group, options?: TrainerOptions): Promise<Session>;
};

/** The engine on a device that is open already: the same works in Node. */
export function engineOn(gpu: Gpu, runtime: Runtime): Works {
  const { device } = runtime;

  async function matmul(work: MatmulWork): Promise<Session> {
    const { n, times } = work;
    const g = new Graph();
    const [a, b, y] = [g.input("a", [n, n]), g.input("b", [n, n]), g.output("y", [n, n])];
    matmulNN({ g, variants: runtime.variants }, a, b, y);
    const plan = await compile(work.name, g, device, runtime.pipelines);
    const [left, right] = factorsOf(work);
    plan.write(a, left);
    plan.write(b, right);
    return {
      async run() {
        await plan.run(undefined, times);
        await runtime.pipelines.patience.around(() => device.queue.onSubmittedWorkDone());
        return [];
      },
      async check() {
        const [product] = (await plan.read(y)) as [Float32Array];
        return sampledPlaces(work).map((place) => product[place] as number);
      },
      close: async () => plan.destroy(),
    };
  }

  async function steps(config: ModelConfig, group: Group, options?: TrainerOptions): Promise<Session> {
    const weights = new ModelWeights(runtime, config, weightsOf(config));
    const { values } = weights;
    const trainable = { lora: null, values, grads: values.like("gradients"), m: values.like("m"), v: values.like("v") };
    const trainer = new Trainer(runtime, weights, trainable, new Pace(), options);
    let step = 0;
    return {
      async run() {
        step++;
        const hyper = { ...ADAMW, maxGradNorm: 0, step };
        const result = await trainer.step([group], { type: "sigmoid", beta: 0.1, labelSmoothing: 0 }, hyper);
        return [result.loss];
      },
      async close() {
        await trainer.destroy();
        for (const tensors of [weights.values, weights.transposed, trainable.grads, trainable.m, trainable.v])
          tensors.destroy();
      },
    };
  }

  const train = (work: TrainWork): Promise<Session> =>
    steps(
      work.config,
      likelihood(
        sequencesOf(work).map(([first, ...rest]) => ({ picture: null, prompt: [first as number], answers: [rest] })),
      ),
    );

  async function decode(work: DecodeWork): Promise<Session> {
    const { config, batch, newTokens } = work;
    const weights = new ModelWeights(runtime, config, weightsOf(config));
    await weights.refresh();
    const generator = new Generator(runtime, weights, null, new Pace());
    const prompts = promptsOf(work).map((prompt) => ({ picture: null, prompt }));
    const greedy = { temperature: 0, topK: 0, topP: 1, minP: 0, seed: 0 };
    return {
      async run() {
        const answers = await generator.generate(prompts, { ...greedy, k: 1, batch, maxNewTokens: newTokens });
        return answers.flatMap(([answer]) => answer?.tokens ?? []);
      },
      async close() {
        await generator.destroy();
        weights.values.destroy();
        weights.transposed.destroy();
      },
    };
  }

  return { adapter: gpu.summary.description, matmul, train, decode, steps };
}

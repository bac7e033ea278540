/** Generation for any number of prompts, in batches (decoding.ts). */
import type { Picture } from "../base/records.ts";
import type { Pace } from "../gpu/plan.ts";
import type { Sampling } from "../ops/sample.ts";
import { imageTokens } from "./config.ts";
import { type BatchShape, Decoding, planRows } from "./decoding.ts";
import type { FlatTensors, ModelWeights, Runtime } from "./weights.ts";

export interface Prompt {
  readonly picture: Picture | null;
  readonly prompt: readonly number[];
}

export interface Generated {
  /** New tokens; the last one is the stop token if the answer finished. */
  readonly tokens: number[];
  /** Sum of their log-probabilities at temperature 1. */
  readonly logprob: number;
  readonly finished: boolean;
}

/** Answers a prompt, and tokens of the longest. */
interface Lengths {
  readonly k: number;
  readonly maxNewTokens: number;
}

const PLANS_KEPT = 16; // each with caches of its own

/** Generates for any number of prompts, with plans kept per shape. */
export class Generator {
  private readonly plans = new Map<string, Promise<Decoding>>();
  private readonly runtime: Runtime;
  private readonly weights: ModelWeights;
  private readonly merged: FlatTensors | null;
  private readonly pace: Pace | undefined;

  constructor(runtime: Runtime, weights: ModelWeights, merged: FlatTensors | null, pace?: Pace) {
    this.runtime = runtime;
    this.weights = weights;
    this.merged = merged;
    this.pace = pace;
  }

  /**
   * K answers for every prompt, in batches of `batch` prompts. The draw of (prompt i, sample k) depends on
   * (seed, first + i, k) only, not on the batch.
   */
  async generate(
    prompts: readonly Prompt[],
    options: Sampling &
      Lengths & {
        batch: number;
        first?: number;
        onBatch?: (done: number) => void;
        /** At every look at a batch: answers to each of its prompts that have ended so far. */
        onAnswers?: ((answers: Generated[][]) => void) | undefined;
      },
  ): Promise<Generated[][]> {
    const { batch, onAnswers } = options;
    const results: Generated[][] = [];
    for (let from = 0; from < prompts.length; from += batch) {
      const slice = prompts.slice(from, from + batch);
      const G = from === 0 ? slice.length : planRows(slice.length, batch);
      const plan = await this.plan(this.shapeOf(slice, G, options));
      const first = (options.first ?? 0) + from;
      const how = { first, sampling: options, maxNew: options.maxNewTokens, pace: this.pace, onAnswers };
      results.push(...(await plan.run(slice, how)));
      options.onBatch?.(results.length);
    }
    return results;
  }

  /** Builds what `generate` needs for one batch of such prompts, so that it is there when they come. */
  async prepare(prompts: readonly Prompt[], options: Pick<Sampling, "grammar"> & Lengths): Promise<void> {
    await this.plan(this.shapeOf(prompts, prompts.length, options));
  }

  private shapeOf(
    prompts: readonly Prompt[],
    G: number,
    { k: K, maxNewTokens: TS, grammar }: Pick<Sampling, "grammar"> & Lengths,
  ): BatchShape {
    const { config } = this.weights;
    const pictures = prompts.some((p) => p.picture !== null);
    const longest = Math.max(...prompts.map((p) => p.prompt.length + (p.picture ? imageTokens(config) : 0)));
    const TP = config.vision ? longest : Math.ceil(longest / 16) * 16;
    const limit = config.max_position_embeddings;
    if (longest + TS > limit)
      throw new Error(`prompt of ${longest} tokens and ${TS} new ones exceed the model's ${limit} positions`);
    return { G, K, TP, TS, pictures, grammar: grammar?.states ?? 0 };
  }

  /** The plan of a shape, built if it is not there. */
  private async plan(shape: BatchShape): Promise<Decoding> {
    const key = JSON.stringify(shape);
    let plan = this.plans.get(key);
    if (plan)
      this.plans.delete(key); // set again below: the map is in the order of last use
    else {
      plan = Decoding.build({ runtime: this.runtime, weights: this.weights, merged: this.merged }, shape);
      plan.catch(() => this.plans.delete(key));
    }
    this.plans.set(key, plan);
    if (this.plans.size > PLANS_KEPT) {
      const [[oldest, old]] = this.plans as unknown as [[string, Promise<Decoding>]];
      this.plans.delete(oldest);
      (await old).destroy();
    }
    return plan;
  }

  async destroy(): Promise<void> {
    for (const plan of await Promise.allSettled(this.plans.values()))
      if (plan.status === "fulfilled") plan.value.destroy();
    this.plans.clear();
  }
}

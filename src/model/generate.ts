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
    options: Sampling & {
      k: number;
      maxNewTokens: number;
      batch: number;
      first?: number;
      onBatch?: (done: number) => void;
    },
  ): Promise<Generated[][]> {
    const { config } = this.weights;
    const { k: K, batch } = options;
    const results: Generated[][] = [];
    for (let from = 0; from < prompts.length; from += batch) {
      const slice = prompts.slice(from, from + batch);
      const pictures = slice.some((p) => p.picture !== null);
      const longest = Math.max(...slice.map((p) => p.prompt.length + (p.picture ? imageTokens(config) : 0)));
      const TP = config.vision ? longest : Math.ceil(longest / 16) * 16;
      const limit = config.max_position_embeddings;
      if (longest + options.maxNewTokens > limit)
        throw new Error(
          `prompt of ${longest} tokens and ${options.maxNewTokens} new ones exceed the model's ${limit} positions`,
        );
      const G = from === 0 ? slice.length : planRows(slice.length, batch);
      const grammar = options.grammar?.states ?? 0;
      const shape: BatchShape = { G, K, TP, TS: options.maxNewTokens, pictures, grammar };
      const key = JSON.stringify(shape);
      let plan = this.plans.get(key);
      if (plan) this.plans.delete(key); // set again below: the map is in the order of last use
      plan ??= Decoding.build({ runtime: this.runtime, weights: this.weights, merged: this.merged }, shape);
      this.plans.set(key, plan);
      if (this.plans.size > PLANS_KEPT) {
        const [[oldest, old]] = this.plans as unknown as [[string, Promise<Decoding>]];
        this.plans.delete(oldest);
        (await old).destroy();
      }
      const first = (options.first ?? 0) + from;
      const how = { first, sampling: options, maxNew: options.maxNewTokens, pace: this.pace };
      results.push(...(await (await plan).run(slice, how)));
      options.onBatch?.(results.length);
    }
    return results;
  }

  async destroy(): Promise<void> {
    for (const plan of this.plans.values()) (await plan).destroy();
    this.plans.clear();
  }
}

/**
 * Batched generation: the prompts of G tasks are computed once, each is answered by K samples that share its cache.
 * A decoded token is one static plan; several fit in one submit, since the step counter lives on the GPU.
 */
import type { Picture } from "../base/records.ts";
import { Graph, type Tensor } from "../gpu/graph.ts";
import { compile, type Pace, type Plan } from "../gpu/plan.ts";
import { attentionDecode, type DecodeCache } from "../ops/attention.ts";
import { embed, gatherRows } from "../ops/embedding.ts";
import { PAD } from "../ops/mask.ts";
import { reduceSum } from "../ops/matmul.ts";
import { ropeTable } from "../ops/rope.ts";
import { SAMPLE_SETTING, type SampleState, type Sampling, sampleNext, sampleSetting } from "../ops/sample.ts";
import { imageTokens, type ModelConfig } from "./config.ts";
import { decoderLayers, decodeSequences, logitsOf } from "./decoder.ts";
import { pack } from "./packing.ts";
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

interface Shape {
  readonly G: number;
  readonly K: number;
  readonly TP: number;
  readonly TS: number;
  readonly pictures: boolean;
}

const STORAGE = 0x80 | 0x8 | 0x4;
const PLANS_KEPT = 16; // each with caches of its own
const CHUNK = 6; // tokens a submit, then one look at who has finished

/** Plans and caches for one shape of batch. */
class Decoding {
  readonly shape: Shape;
  private readonly prefill: Plan;
  private readonly decode: Plan;
  private readonly inputs: { id: Tensor; info: Tensor; pos: Tensor; patches: Tensor | null; last: Tensor };
  private readonly state: SampleState;
  private readonly caches: readonly GPUBuffer[];
  private readonly stateBuffers: readonly GPUBuffer[];
  private readonly config: ModelConfig;

  private constructor(
    config: ModelConfig,
    shape: Shape,
    parts: Pick<Decoding, never> & {
      prefill: Plan;
      decode: Plan;
      inputs: Decoding["inputs"];
      state: SampleState;
      caches: GPUBuffer[];
      stateBuffers: GPUBuffer[];
    },
  ) {
    this.config = config;
    this.shape = shape;
    this.prefill = parts.prefill;
    this.decode = parts.decode;
    this.inputs = parts.inputs;
    this.state = parts.state;
    this.caches = parts.caches;
    this.stateBuffers = parts.stateBuffers;
  }

  static async build(
    runtime: Runtime,
    weights: ModelWeights,
    merged: FlatTensors | null,
    shape: Shape,
  ): Promise<Decoding> {
    const { device, variants } = runtime;
    const { config } = weights;
    const { G, K, TP, TS, pictures } = shape;
    const N = G * K;
    const H = config.num_attention_heads;
    const KV = config.num_key_value_heads;
    const D = config.head_dim;
    const buffer = (label: string, elements: number) =>
      device.createBuffer({ label, size: Math.max(16, elements * 4), usage: STORAGE });
    const caches = Array.from({ length: config.num_hidden_layers }, (_, i) => [
      buffer(`kp ${i}`, G * TP * KV * D),
      buffer(`vp ${i}`, G * TP * KV * D),
      buffer(`ks ${i}`, N * TS * KV * D),
      buffer(`vs ${i}`, N * TS * KV * D),
    ]);
    const sizes = { setting: SAMPLE_SETTING, step: 1, rows: 2 * N, next: N, done: N, tokens: N * TS, logp: N, pos: N };
    const held = Object.fromEntries(Object.entries(sizes).map(([name, size]) => [name, buffer(name, size)])) as Record<
      keyof typeof sizes,
      GPUBuffer
    >;
    const promptInfo = buffer("prompt info", G * TP);
    const bindState = (g: Graph): SampleState => ({
      setting: g.bound("setting", [SAMPLE_SETTING], held.setting, 0, { dtype: "u32" }),
      step: g.bound("step", [1], held.step, 0, { dtype: "u32" }),
      rows: g.bound("rows", [N, 2], held.rows, 0, { dtype: "u32" }),
      next: g.bound("next", [N], held.next, 0, { dtype: "u32" }),
      done: g.bound("done", [N], held.done, 0, { dtype: "u32" }),
      tokens: g.bound("tokens", [N, TS], held.tokens, 0, { dtype: "u32" }),
      logp: g.bound("logp", [N], held.logp),
      pos: g.bound("pos", [N], held.pos, 0, { dtype: "u32" }),
    });
    const bindCache = (g: Graph, i: number): DecodeCache => {
      const [kp, vp, ks, vs] = caches[i] as [GPUBuffer, GPUBuffer, GPUBuffer, GPUBuffer];
      return {
        kp: g.bound(`kp${i}`, [G * TP, KV * D], kp),
        vp: g.bound(`vp${i}`, [G * TP, KV * D], vp),
        ks: g.bound(`ks${i}`, [N * TS, KV * D], ks),
        vs: g.bound(`vs${i}`, [N * TS, KV * D], vs),
      };
    };
    const rope = ropeTable(Math.min(config.max_position_embeddings, TP + TS), D, config.rope_theta);
    const tableShape = [rope.length / D, 2, D / 2];
    const options = merged ? { merged } : {};

    // Prompt: fill the shared caches, draw the first token of every sample.
    const g = new Graph();
    const ctx = { g, variants };
    const count = imageTokens(config);
    const inputs = {
      id: g.input("id", [G * TP], "u32"),
      info: g.bound("info", [G * TP], promptInfo, 0, { dtype: "u32" }),
      pos: g.input("pos", [G * TP], "u32"),
      patches:
        pictures && config.vision
          ? g.input("patches", [G * count, config.vision.num_channels * config.vision.patch_size ** 2])
          : null,
      last: g.input("last", [N], "u32"),
    };
    const none = g.input("unused", [G * TP], "u32");
    const table = g.input("rope", tableShape);
    const tensors = weights.bind(g, options);
    const hidden = decodeSequences(ctx, config, tensors, { ...inputs, table }, { B: G, T: TP }, (k, v, layer) => {
      const cache = bindCache(g, layer);
      reduceSum(ctx, k, cache.kp, 1, false);
      reduceSum(ctx, v, cache.vp, 1, false);
    });
    const state = bindState(g);
    sampleNext(ctx, logitsOf(ctx, config, tensors, gatherRows(ctx, hidden, inputs.last, none)), state);
    const prefill = await compile("prompt", g, device, runtime.pipelines);
    prefill.write(table, rope);

    // One more token for every sample.
    const d = new Graph();
    const dctx = { g: d, variants };
    const dstate = bindState(d);
    const dtable = d.input("rope", tableShape);
    const words = d.input("words", [N], "u32");
    const dinfo = d.bound("info", [G * TP], promptInfo, 0, { dtype: "u32" });
    const dtensors = weights.bind(d, options);
    // The step that is being decoded reads token step − 1; its own cache position is therefore step − 1 as well.
    const slot = d.input("slot", [1], "u32");
    const embedded = embed(dctx, { id: dstate.next, info: words }, dtensors.table, null);
    const out = decoderLayers(dctx, config, dtensors, embedded, dstate.pos, dtable, (q, k, v, layer) =>
      attentionDecode(dctx, q, k, v, bindCache(d, layer), dinfo, slot, { N, K, H, KV, D, TP, TS }),
    );
    sampleNext(dctx, logitsOf(dctx, config, dtensors, out), dstate);
    d.dispatch({
      shader: "advance",
      constants: {},
      uniforms: [0],
      bindings: [
        { tensor: slot, access: "write" },
        { tensor: dstate.pos, access: "write" },
      ],
      workgroups: [1, 1, 1],
      flops: 0,
    });
    const decode = await compile("decode", d, device, runtime.pipelines);
    decode.write(dtable, rope);
    const decoding = new Decoding(config, shape, {
      prefill,
      decode,
      inputs,
      state,
      caches: caches.flat(),
      stateBuffers: [...Object.values(held), promptInfo],
    });
    decoding.slot = { plan: decode, tensor: slot };
    return decoding;
  }

  private slot: { plan: Plan; tensor: Tensor } | null = null;

  /** Answers to at most G prompts, K each. `rows[n]` = (task number, sample number) of the random stream. */
  async run(
    prompts: readonly Prompt[],
    rows: Uint32Array<ArrayBuffer>,
    sampling: Sampling,
    maxNew: number,
    pace?: Pace,
  ): Promise<Generated[][]> {
    const { G, K, TP, TS, pictures } = this.shape;
    const N = G * K;
    const stops = this.config.eos_token_id;
    // The packing of training with the whole prompt in front: an answer of one token puts the last prompt token last.
    const packed = pack(
      this.config,
      prompts.map(({ picture, prompt }) => ({ picture, prompt: [...prompt, 0], answers: [] })),
      { B: G, T: TP, M: 1, S: 1, pictures },
    );
    const last = new Uint32Array(N);
    const pos = new Uint32Array(N);
    const done = new Uint32Array(N).fill(1);
    for (const [b] of prompts.entries()) {
      let end = TP - 1;
      while (end > 0 && ((packed.info[b * TP + end] as number) & PAD) !== 0) end--;
      for (let k = 0; k < K; k++) {
        last[b * K + k] = b * TP + end;
        // `advance` runs after every sampled token, the first one included.
        pos[b * K + k] = packed.pos[b * TP + end] as number;
        done[b * K + k] = 0;
      }
    }
    this.prefill.write(this.inputs.id, packed.id);
    this.prefill.write(this.inputs.info, packed.info);
    this.prefill.write(this.inputs.pos, packed.pos);
    if (this.inputs.patches && packed.patches) this.prefill.write(this.inputs.patches, packed.patches);
    this.prefill.write(this.inputs.last, last);
    this.prefill.write(this.state.setting, sampleSetting(sampling, stops));
    this.prefill.write(this.state.step, new Uint32Array(1));
    this.prefill.write(this.state.rows, rows);
    this.prefill.write(this.state.next, new Uint32Array(N));
    this.prefill.write(this.state.done, done);
    this.prefill.write(this.state.logp, new Float32Array(N));
    this.prefill.write(this.state.pos, pos);
    if (this.slot) this.slot.plan.write(this.slot.tensor, new Uint32Array(1));
    await this.prefill.run(pace);
    let taken = 1;
    let finished: Uint32Array | null = null;
    while (taken < Math.min(maxNew, TS)) {
      const chunk = Math.min(CHUNK, Math.min(maxNew, TS) - taken);
      await this.decode.run(pace, chunk);
      taken += chunk;
      [finished] = (await this.prefill.read(this.state.done)) as [Uint32Array];
      if (finished.every((flag) => flag === 1)) break;
    }
    const [tokens, ended, logp] = (await this.prefill.read(this.state.tokens, this.state.done, this.state.logp)) as [
      Uint32Array,
      Uint32Array,
      Float32Array,
    ];
    return prompts.map((_, b) =>
      Array.from({ length: K }, (_, k): Generated => {
        const n = b * K + k;
        const all = Array.from(tokens.subarray(n * TS, n * TS + taken));
        const stop = all.findIndex((token) => stops.includes(token));
        const isDone = ended[n] === 1 && stop >= 0;
        return { tokens: isDone ? all.slice(0, stop + 1) : all, logprob: logp[n] as number, finished: isDone };
      }),
    );
  }

  destroy(): void {
    this.prefill.destroy();
    this.decode.destroy();
    for (const buffer of [...this.caches, ...this.stateBuffers]) buffer.destroy();
  }
}

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
      const G = slice.length < batch && from === 0 ? slice.length : batch;
      const shape: Shape = { G, K, TP, TS: options.maxNewTokens, pictures };
      const key = JSON.stringify(shape);
      let plan = this.plans.get(key);
      if (plan) this.plans.delete(key); // set again below: the map is in the order of last use
      plan ??= Decoding.build(this.runtime, this.weights, this.merged, shape);
      this.plans.set(key, plan);
      if (this.plans.size > PLANS_KEPT) {
        const [[oldest, old]] = this.plans as unknown as [[string, Promise<Decoding>]];
        this.plans.delete(oldest);
        (await old).destroy();
      }
      const rows = new Uint32Array(G * K * 2);
      for (let n = 0; n < G * K; n++) rows.set([(options.first ?? 0) + from + Math.floor(n / K), n % K], 2 * n);
      results.push(...(await (await plan).run(slice, rows, options, options.maxNewTokens, this.pace)));
      options.onBatch?.(results.length);
    }
    return results;
  }

  async destroy(): Promise<void> {
    for (const plan of this.plans.values()) (await plan).destroy();
    this.plans.clear();
  }
}

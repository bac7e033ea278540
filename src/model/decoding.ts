/**
 * Plans and caches that answer one batch: the prompts of G tasks are computed once, each is answered by K samples that
 * share its cache. A decoded token is one static plan; several fit in one submit, since positions live on the GPU.
 * Rows that have finished are dropped: the rest moves together into a smaller plan, and its caches stay where they are.
 */
import { Graph, type Tensor } from "../gpu/graph.ts";
import { compile, type Pace, type Plan } from "../gpu/plan.ts";
import type { MatmulVariant } from "../ops/context.ts";
import type { DecodeCache } from "../ops/decode.ts";
import { embed } from "../ops/embedding.ts";
import { PAD } from "../ops/mask.ts";
import { ropeTable } from "../ops/rope.ts";
import { type SampleState, type Sampling, sampleNext, sampleSetting, settingSize } from "../ops/sample.ts";
import { onGpu } from "../ops/variants.ts";
import { imageTokens, type ModelConfig } from "./config.ts";
import { embedPatches, logitsOf } from "./decoder.ts";
import type { Generated, Prompt } from "./generate.ts";
import { decodePrompts, decodeToken } from "./inference.ts";
import { pack } from "./packing.ts";
import type { FlatTensors, ModelWeights, Runtime } from "./weights.ts";

/** Sizes of a batch: G prompts of at most TP tokens, with pictures or without, K samples each of at most TS tokens. */
export interface BatchShape {
  readonly G: number;
  readonly K: number;
  readonly TP: number;
  readonly TS: number;
  readonly pictures: boolean;
  /** States of the grammar, 0: none. */
  readonly grammar: number;
}

/** Where the answers of a batch come from: what the kernels compute with, and the model's tensors. */
export interface Policy {
  readonly runtime: Runtime;
  readonly weights: ModelWeights;
  /** The projections with an adapter added; null: those of the weights. */
  readonly merged: FlatTensors | null;
}

const STORAGE = 0x80 | 0x8 | 0x4;
const LEAST_ROWS = 16;

/** Rows of a plan that takes `active` ones: at most two sizes between powers of two, multiples of 16. */
export function planRows(active: number, most: number): number {
  const step = Math.max(LEAST_ROWS, 2 ** (Math.floor(Math.log2(Math.max(1, active - 1))) - 1));
  return Math.min(most, Math.ceil(active / step) * step);
}

/**
 * Tokens between two looks at who has finished: many where nobody can finish, and where no smaller plan could take the
 * others. A look costs a GPU as much as several tokens, a software adapter less than the rows that have finished.
 */
function chunkOf(rows: number, stops: readonly number[], family: MatmulVariant): number {
  if (stops.length === 0) return 16;
  return rows <= LEAST_ROWS || onGpu(family) ? 8 : 4;
}

const ended = (done: Uint32Array, row: number): boolean => ((done[row] as number) & 1) === 1;

interface Inputs {
  readonly id: Tensor;
  readonly info: Tensor;
  readonly pos: Tensor;
  readonly patches: Tensor | null;
  readonly last: Tensor;
  readonly endSlots: Tensor;
  readonly endPos: Tensor;
}

/** Buffers that all plans of a batch share. */
class Buffers {
  private readonly named = new Map<string, GPUBuffer>();
  private readonly device: GPUDevice;

  constructor(device: GPUDevice) {
    this.device = device;
  }

  /** The buffer `name` as a tensor of `g`; created with the size of the first call, which must be the largest. */
  bind(g: Graph, name: string, shape: readonly number[], dtype: "f32" | "u32" = "f32"): Tensor {
    let buffer = this.named.get(name);
    if (!buffer) {
      const size = Math.max(
        16,
        shape.reduce((a, b) => a * b, 4),
      );
      buffer = this.device.createBuffer({ label: name, size, usage: STORAGE });
      this.named.set(name, buffer);
    }
    return g.bound(name, shape, buffer, 0, { dtype });
  }

  destroy(): void {
    for (const buffer of this.named.values()) buffer.destroy();
  }
}

export class Decoding {
  readonly shape: BatchShape;
  private readonly policy: Policy;
  private readonly buffers: Buffers;
  private readonly prefill: Plan;
  private readonly inputs: Inputs;
  private readonly state: SampleState;
  /** One plan for each number of rows: that for all of them, the others built when they are first needed. */
  private readonly decoders: Map<number, Plan>;

  private constructor(
    policy: Policy,
    shape: BatchShape,
    buffers: Buffers,
    prompt: { prefill: Plan; inputs: Inputs; state: SampleState },
    decoders: Map<number, Plan>,
  ) {
    this.policy = policy;
    this.shape = shape;
    this.buffers = buffers;
    this.prefill = prompt.prefill;
    this.inputs = prompt.inputs;
    this.state = prompt.state;
    this.decoders = decoders;
  }

  static async build(policy: Policy, shape: BatchShape): Promise<Decoding> {
    const buffers = new Buffers(policy.runtime.device);
    const prefill = buildPrefill(policy, shape, buffers); // first: it gives the buffers their sizes
    const rows = shape.G * shape.K;
    const decoder = buildDecoder(policy, shape, buffers, rows);
    const [prompt, plan] = await Promise.all([prefill, decoder]);
    return new Decoding(policy, shape, buffers, prompt, new Map([[rows, plan]]));
  }

  private async decoder(rows: number): Promise<Plan> {
    let plan = this.decoders.get(rows);
    if (!plan) {
      plan = await buildDecoder(this.policy, this.shape, this.buffers, rows);
      this.decoders.set(rows, plan);
    }
    return plan;
  }

  /**
   * Answers to at most G prompts, K each. The draw of (prompt b, sample k) depends on (seed, first + b, k) only.
   * Greedy or not, an answer does not depend on the batch it is made in. `onAnswers`: told at every look those of each
   * prompt that have ended so far.
   */
  async run(
    prompts: readonly Prompt[],
    {
      first,
      sampling,
      maxNew,
      pace,
      onAnswers,
    }: {
      first: number;
      sampling: Sampling;
      maxNew: number;
      pace?: Pace | undefined;
      onAnswers?: ((answers: Generated[][]) => void) | undefined;
    },
  ): Promise<Generated[][]> {
    const { weights, runtime } = this.policy;
    const { config } = weights;
    const { K, TS } = this.shape;
    const lengths = this.start(prompts, first, sampling);
    await this.prefill.run(pace);
    const slotOf = (r: number) => [first + Math.floor(r / K), r % K, r, lengths[Math.floor(r / K)] as number];
    let rows = Array.from({ length: prompts.length * K }, (_, r) => r);
    let plan = await this.decoder(planRows(rows.length, this.shape.G * K));
    let taken = 1;
    while (taken < Math.min(maxNew, TS)) {
      const chunk = Math.min(
        chunkOf(rows.length, config.eos_token_id, runtime.variants.matmul),
        Math.min(maxNew, TS) - taken,
      );
      await plan.run(pace, chunk);
      taken += chunk;
      if (taken >= maxNew) break;
      const [done, next] = (await this.prefill.read(this.state.done, this.state.next)) as [Uint32Array, Uint32Array];
      const active = rows.filter((r) => !ended(done, r));
      if (active.length === 0) break;
      if (onAnswers) {
        const soFar = await this.collect(prompts.length, taken, config.eos_token_id);
        onAnswers(soFar.map((all) => all.filter(({ finished }) => finished)));
      }
      const size = planRows(active.length, this.shape.G * K);
      if (size >= planRows(rows.length, this.shape.G * K)) continue;
      // Finished rows fill the new plan up: they are computed in vain and change nothing.
      const tokens = new Map(rows.map((r, n) => [r, next[n] as number]));
      rows = [...active, ...rows.filter((r) => ended(done, r))].slice(0, size);
      this.move(
        rows.map(slotOf),
        rows.map((r) => tokens.get(r) as number),
        rows.map((r) => (lengths[Math.floor(r / K)] as number) + taken - 1),
      );
      plan = await this.decoder(size);
    }
    return this.collect(prompts.length, taken, config.eos_token_id);
  }

  /** Writes everything that the prompt plan reads; returns the length of each prompt, its image tokens included. */
  private start(prompts: readonly Prompt[], first: number, sampling: Sampling): number[] {
    const { G, K, TP, pictures } = this.shape;
    const { config } = this.policy.weights;
    const rows = prompts.map(({ picture, prompt }) => ({ picture, prompt, answers: [] }));
    const packed = pack(config, [{ rows, shape: { B: G, T: TP, M: 1, S: 1, pictures } }]);
    const lengths = Array.from({ length: G }, (_, b) => {
      let length = TP;
      while (length > 1 && ((packed.info[b * TP + length - 1] as number) & PAD) !== 0) length--;
      return length;
    });
    const N = G * K;
    const slots = Uint32Array.from({ length: 4 * N }, (_, i) => {
      const r = i >> 2;
      const b = Math.floor(r / K);
      return [first + b, r % K, r, lengths[b] as number][i & 3] as number;
    });
    const { prefill, inputs, state } = this;
    prefill.write(inputs.id, packed.id);
    prefill.write(inputs.info, packed.info);
    prefill.write(inputs.pos, packed.pos);
    if (inputs.patches && packed.patches) prefill.write(inputs.patches, packed.patches);
    prefill.write(
      inputs.last,
      Uint32Array.from(lengths, (length, b) => b * TP + length - 1),
    );
    prefill.write(
      inputs.endSlots,
      Uint32Array.from({ length: 4 * G }, (_, i) => slots[(i >> 2) * 4 * K + (i & 3)] as number),
    );
    prefill.write(
      inputs.endPos,
      Uint32Array.from(lengths, (length) => length - 1),
    );
    prefill.write(state.setting, sampleSetting(sampling, config.eos_token_id));
    prefill.write(state.slots, slots);
    prefill.write(
      state.pos,
      Uint32Array.from({ length: N }, (_, r) => (lengths[Math.floor(r / K)] as number) - 1),
    );
    prefill.write(state.next, new Uint32Array(N));
    prefill.write(
      state.done,
      Uint32Array.from({ length: N }, (_, r) => (r < prompts.length * K ? 0 : 1)),
    );
    prefill.write(state.logp, new Float32Array(N));
    return lengths;
  }

  /** Puts other rows in front of slots, next and pos. */
  private move(slots: readonly (readonly number[])[], next: readonly number[], pos: readonly number[]): void {
    const { queue } = this.policy.runtime.device;
    for (const [tensor, values] of [
      [this.state.slots, slots.flat()],
      [this.state.next, next],
      [this.state.pos, pos],
    ] as const)
      queue.writeBuffer(this.prefill.bufferOf(tensor).buffer, 0, Uint32Array.from(values));
  }

  private async collect(prompts: number, taken: number, stops: readonly number[]): Promise<Generated[][]> {
    const { K, TS } = this.shape;
    const { state } = this;
    const [tokens, done, logp] = (await this.prefill.read(state.tokens, state.done, state.logp)) as [
      Uint32Array,
      Uint32Array,
      Float32Array,
    ];
    return Array.from({ length: prompts }, (_, b) =>
      Array.from({ length: K }, (_, k): Generated => {
        const r = b * K + k;
        const all = Array.from(tokens.subarray(r * TS, r * TS + taken));
        const stop = all.findIndex((token) => stops.includes(token));
        const finished = ended(done, r) && stop >= 0;
        return { tokens: finished ? all.slice(0, stop + 1) : all, logprob: logp[r] as number, finished };
      }),
    );
  }

  destroy(): void {
    this.prefill.destroy();
    for (const plan of this.decoders.values()) plan.destroy();
    this.buffers.destroy();
  }
}

/** What both plans bind: the model, the caches of every layer, the rotary table. */
function bindCommon({ weights, merged }: Policy, { G, K, TP, TS }: BatchShape, buffers: Buffers, g: Graph) {
  const { config } = weights;
  const { num_attention_heads: H, num_key_value_heads: KV, head_dim: D } = config;
  const caches = Array.from(
    { length: config.num_hidden_layers },
    (_, layer): DecodeCache => ({
      k: buffers.bind(g, `k${layer}`, [G * (TP + K * TS), KV * D]),
      v: buffers.bind(g, `v${layer}`, [G * (TP + K * TS), KV * D]),
    }),
  );
  return {
    config,
    tensors: weights.bind(g, merged ? { merged } : {}),
    caches,
    table: buffers.bind(g, "rope", [positions(config, TP + TS), 2, D / 2]),
    shape: { G, K, H, KV, D, TP, TS },
  };
}

const positions = (config: ModelConfig, wanted: number): number => Math.min(config.max_position_embeddings, wanted);

/** `rows` decoded rows of the N samples that `buffers` keeps. */
function bindState(buffers: Buffers, g: Graph, shape: BatchShape, V: number, rows: number): SampleState {
  const { G, K, TS, grammar } = shape;
  const N = G * K;
  return {
    setting: buffers.bind(g, "setting", [settingSize(grammar, V)], "u32"),
    slots: buffers.bind(g, "slots", [rows, 4], "u32"),
    pos: buffers.bind(g, "pos", [rows], "u32"),
    next: buffers.bind(g, "next", [rows], "u32"),
    done: buffers.bind(g, "done", [N], "u32"),
    tokens: buffers.bind(g, "tokens", [N, TS], "u32"),
    logp: buffers.bind(g, "logp", [N]),
  };
}

/** Fills the prompt caches and draws the first token of every sample. */
async function buildPrefill(policy: Policy, shape: BatchShape, buffers: Buffers) {
  const { device, pipelines, variants } = policy.runtime;
  const { G, K, TP, TS, pictures } = shape;
  const g = new Graph();
  const ctx = { g, variants };
  const common = bindCommon(policy, shape, buffers, g);
  const { config, tensors, table } = common;
  const { vision } = config;
  const inputs: Inputs = {
    id: g.input("id", [G * TP], "u32"),
    info: g.input("info", [G * TP], "u32"),
    pos: g.input("pos", [G * TP], "u32"),
    patches:
      pictures && vision
        ? g.input("patches", [G * imageTokens(config), vision.num_channels * vision.patch_size ** 2])
        : null,
    last: g.input("last", [G], "u32"),
    endSlots: g.input("ends", [G, 4], "u32"),
    endPos: g.input("end positions", [G], "u32"),
  };
  const patches = inputs.patches ? embedPatches(ctx, tensors, inputs.patches) : null;
  const embedded = embed(ctx, inputs, tensors.table, patches);
  const ends = { slots: inputs.endSlots, pos: inputs.endPos };
  const hidden = decodePrompts(ctx, tensors, embedded, { ...inputs, ends }, common);
  const state = bindState(buffers, g, shape, config.vocab_size, G * K);
  sampleNext(ctx, logitsOf(ctx, config, tensors, hidden), state);
  const prefill = await compile("prompt", g, device, pipelines);
  prefill.write(table, ropeTable(positions(config, TP + TS), config.head_dim, config.rope_theta));
  return { prefill, inputs, state };
}

/** One more token for each of `rows` rows. */
async function buildDecoder(policy: Policy, shape: BatchShape, buffers: Buffers, rows: number): Promise<Plan> {
  const { device, pipelines, variants } = policy.runtime;
  const g = new Graph();
  const ctx = { g, variants };
  const common = bindCommon(policy, shape, buffers, g);
  const { config, tensors } = common;
  const state = bindState(buffers, g, shape, config.vocab_size, rows);
  const info = g.input("text", [rows], "u32"); // zeros: every decoded token is text
  const embedded = embed(ctx, { id: state.next, info }, tensors.table, null);
  const hidden = decodeToken(ctx, tensors, embedded, state, common);
  sampleNext(ctx, logitsOf(ctx, config, tensors, hidden), state);
  return compile(`decode ${rows}`, g, device, pipelines);
}

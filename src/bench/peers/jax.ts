/**
 * jax-js as a contestant: one jit for the whole training step, one for the prompt and one for a decoded token, its own
 * attention with shared key-value heads, tokens that stay on the GPU until the end. jax-js counts references: an array
 * that is passed on is gone, `.ref` keeps it.
 */
import {
  blockUntilReady,
  defaultDevice,
  getWebGPUDevice,
  init,
  jit,
  nn,
  numpy as np,
  tree,
  valueAndGrad,
} from "@jax-js/jax";
import { type ModelConfig, PROJECTIONS, projectionPath } from "../../model/config.ts";
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

type Params = Record<string, np.Array>;
/** Keys and values of one layer, (batch, capacity, key-value heads, head size) each. */
type Cache = { key: np.Array; value: np.Array };

/** Linear weights as (in, out), so that y = x W. */
function paramsOf(config: ModelConfig): Params {
  return Object.fromEntries(
    [...weightsOf(config)].map(([name, { shape, data }]) => {
      const array = np.array(Float32Array.from(data), { shape: [...shape] });
      return [name, isLinear(name) ? array.transpose() : array];
    }),
  );
}

const isLinear = (name: string): boolean => /_proj\.weight$|lm_head/.test(name);

const ids = (rows: readonly (readonly number[])[]): np.Array =>
  np.array(Int32Array.from(rows.flat()), {
    shape: [rows.length, (rows[0] as readonly number[]).length],
    dtype: np.int32,
  });

function rmsnorm(x: np.Array, weight: np.Array, eps: number): np.Array {
  const square = x.ref.mul(x.ref).mean(-1, { keepdims: true });
  return x.div(np.sqrt(square.add(eps))).mul(weight);
}

/** Rotates (batch, time, heads, size); `first` is the position of the first token. */
function rope(x: np.Array, first: np.Array | number, theta: number): np.Array {
  const [, length, , size] = x.shape as [number, number, number, number];
  const half = size / 2;
  const steps = np.arange(half, undefined, undefined, { dtype: np.float32 });
  const frequency = np.exp(steps.mul(-Math.log(theta) / half));
  const position = np.arange(length, undefined, undefined, { dtype: np.float32 }).add(first).reshape([length, 1]);
  const angle = position.mul(frequency).reshape([length, 1, half]);
  const cos = np.cos(angle.ref);
  const sin = np.sin(angle);
  const [left, right] = np.split(x, 2, -1) as [np.Array, np.Array];
  return np.concatenate([left.ref.mul(cos.ref).sub(right.ref.mul(sin.ref)), right.mul(cos).add(left.mul(sin))], -1);
}

/** How a layer attends: rotated q, k and v, (batch, time, heads, size) each → the same as q. */
type Attend = (q: np.Array, k: np.Array, v: np.Array, layer: number) => np.Array;

/** (batch, time) tokens → (batch · time, hidden) after the final norm. Uses each of `p` but the head's once. */
function layers(config: ModelConfig, p: Params, tokens: np.Array, first: np.Array | number, attend: Attend): np.Array {
  const { num_attention_heads: heads, num_key_value_heads: shared, head_dim: size, rms_norm_eps: eps } = config;
  const [batch, length] = tokens.shape as [number, number];
  const rows = batch * length;
  const get = (name: string): np.Array => p[name] as np.Array;
  const again = () => (typeof first === "number" ? first : first.ref);
  let x = get("model.embed_tokens.weight").slice(tokens.reshape([rows]));
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const [q, k, v, o, gate, up, down] = PROJECTIONS.map((name) => get(`${projectionPath(layer, name)}.weight`)) as [
      np.Array,
      np.Array,
      np.Array,
      np.Array,
      np.Array,
      np.Array,
      np.Array,
    ];
    const split = (y: np.Array, count: number) => y.reshape([batch, length, count, size]);
    const h = rmsnorm(x.ref, get(`model.layers.${layer}.input_layernorm.weight`), eps);
    const attended = attend(
      rope(split(np.dot(h.ref, q), heads), again(), config.rope_theta),
      rope(split(np.dot(h.ref, k), shared), again(), config.rope_theta),
      split(np.dot(h, v), shared),
      layer,
    );
    x = x.add(np.dot(attended.reshape([rows, heads * size]), o));
    const m = rmsnorm(x.ref, get(`model.layers.${layer}.post_attention_layernorm.weight`), eps);
    x = x.add(np.dot(nn.silu(np.dot(m.ref, gate)).mul(np.dot(m, up)), down));
  }
  if (typeof first !== "number") first.dispose();
  return rmsnorm(x, get("model.norm.weight"), eps);
}

const causal: Attend = (q, k, v) => nn.dotProductAttention(q, k, v, { isCausal: true });

/** One AdamW step: loss, new weights, new moments. `scales`: 1/(1 − β₁ᵗ) and 1/(1 − β₂ᵗ). */
function trainStep(config: ModelConfig) {
  const { learningRate, beta1, beta2, eps, weightDecay } = ADAMW;
  const loss = (p: Params, tokens: np.Array, targets: np.Array): np.Array => {
    const logits = np.dot(layers(config, p, tokens, 0, causal), p["lm_head.weight"] as np.Array);
    const chosen = nn.oneHot(targets.reshape([-1]), config.vocab_size);
    return nn.logSoftmax(logits).mul(chosen).sum(-1).mean().neg();
  };
  return jit((p: Params, m: Params, v: Params, tokens: np.Array, targets: np.Array, scales: np.Array) => {
    const [value, grads] = valueAndGrad(loss)(tree.ref(p), tokens, targets) as [np.Array, Params];
    const [scale1, scale2] = scales as unknown as Iterable<np.Array> as [np.Array, np.Array];
    const next: { p: Params; m: Params; v: Params } = { p: {}, m: {}, v: {} };
    for (const name of Object.keys(p)) {
      const grad = grads[name] as np.Array;
      const first = (m[name] as np.Array).mul(beta1).add(grad.ref.mul(1 - beta1));
      const second = (v[name] as np.Array).mul(beta2).add(grad.ref.mul(grad).mul(1 - beta2));
      const update = first.ref.mul(scale1.ref).div(np.sqrt(second.ref.mul(scale2.ref)).add(eps));
      next.p[name] = (p[name] as np.Array).mul(1 - learningRate * weightDecay).sub(update.mul(learningRate));
      next.m[name] = first;
      next.v[name] = second;
    }
    scale1.dispose();
    scale2.dispose();
    return { loss: value, ...next };
  });
}

async function train(work: TrainWork): Promise<Session> {
  const { config } = work;
  const { beta1, beta2 } = ADAMW;
  const sequences = sequencesOf(work);
  const tokens = ids(sequences.map((row) => row.slice(0, -1)));
  const targets = ids(sequences.map((row) => row.slice(1)));
  let p = paramsOf(config);
  let m = tree.map((w: np.Array) => np.zerosLike(w.ref), p) as Params;
  let v = tree.map((w: np.Array) => np.zerosLike(w.ref), p) as Params;
  const step = trainStep(config);
  let count = 0;
  return {
    async run() {
      count++;
      const scales = np.array([1 / (1 - beta1 ** count), 1 / (1 - beta2 ** count)]);
      const result = step(p, m, v, tokens.ref, targets.ref, scales);
      ({ p, m, v } = result);
      await blockUntilReady({ p, m, v });
      return [...(await result.loss.data())];
    },
    async close() {
      tree.dispose([p, m, v, tokens, targets]);
      step.dispose();
    },
  };
}

async function decode(work: DecodeWork): Promise<Session> {
  const { config, batch, prompt, newTokens } = work;
  const capacity = prompt + newTokens;
  const params = paramsOf(config);
  const prompts = ids(promptsOf(work));
  const greedy = (p: Params, hidden: np.Array) =>
    np.argmax(np.dot(hidden, p["lm_head.weight"] as np.Array), -1).reshape([batch, 1]);

  const start = jit((p: Params, tokens: np.Array) => {
    const caches: Cache[] = [];
    const hidden = layers(config, p, tokens, 0, (q, k, v) => {
      const room = { 1: [0, newTokens] as [number, number] };
      caches.push({ key: np.pad(k.ref, room), value: np.pad(v.ref, room) });
      return causal(q, k, v, 0);
    });
    const last = hidden.reshape([batch, prompt, config.hidden_size]).slice([], prompt - 1, []);
    return { next: greedy(p, last), caches };
  });

  const step = jit((p: Params, old: Cache[], token: np.Array, position: np.Array) => {
    const place = np.arange(capacity);
    const here = place.ref.equal(position.ref).reshape([1, capacity, 1, 1]);
    const seen = place.lessEqual(position.ref);
    const caches: Cache[] = [];
    const hidden = layers(config, p, token, position.astype(np.float32), (q, k, v, layer) => {
      const cache = old[layer] as Cache;
      const key = np.where(here.ref, k, cache.key);
      const value = np.where(here.ref, v, cache.value);
      caches.push({ key: key.ref, value: value.ref });
      return nn.dotProductAttention(q, key, value, { mask: seen.ref });
    });
    here.dispose();
    seen.dispose();
    return { next: greedy(p, hidden), caches };
  });

  return {
    async run() {
      let { next, caches } = start(tree.ref(params), prompts.ref);
      const tokens = [next.ref];
      for (let i = 0; i + 1 < newTokens; i++) {
        const position = np.array(Int32Array.of(prompt + i), { shape: [], dtype: np.int32 });
        ({ next, caches } = step(tree.ref(params), caches, next, position));
        tokens.push(next.ref);
        await blockUntilReady(next);
      }
      next.dispose();
      tree.dispose(caches);
      return [...(await np.concatenate(tokens, 1).data())];
    },
    async close() {
      tree.dispose([params, prompts]);
      start.dispose();
      step.dispose();
    },
  };
}

async function matmul(work: MatmulWork): Promise<Session> {
  const { n, times } = work;
  const [a, b] = factorsOf(work).map((data) => np.array(data, { shape: [n, n] })) as [np.Array, np.Array];
  const product = jit((x: np.Array, y: np.Array) => np.matmul(x, y));
  return {
    async run() {
      const results = Array.from({ length: times }, () => product(a.ref, b.ref));
      await blockUntilReady(results);
      tree.dispose(results);
      return [];
    },
    async check() {
      const values = await product(a.ref, b.ref).data();
      return sampledPlaces(work).map((place) => values[place] as number);
    },
    async close() {
      tree.dispose([a, b]);
      product.dispose();
    },
  };
}

export async function open(): Promise<Contestant> {
  const devices = await init("webgpu");
  if (!devices.includes("webgpu")) throw new Error("jax-js found no WebGPU adapter");
  defaultDevice("webgpu");
  const { description, architecture, vendor } = getWebGPUDevice().adapterInfo;
  return { adapter: description || `${vendor} ${architecture}`, matmul, train, decode };
}

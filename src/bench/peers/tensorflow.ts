/**
 * TensorFlow.js with its WebGPU backend as a contestant: variables, its own Adam with decoupled weight decay in front,
 * intermediate tensors freed by `tidy`. Query heads that share a key-value head are stacked as rows, so that keys and
 * values are never repeated. It has no training-grade decoding with a cache: `decode` is null.
 */
import * as tf from "@tensorflow/tfjs-core";
import "@tensorflow/tfjs-core/dist/register_all_gradients";
import "@tensorflow/tfjs-backend-webgpu";
import type { WebGPUBackend } from "@tensorflow/tfjs-backend-webgpu";
import { type ModelConfig, projectionPath } from "../../model/config.ts";
import type { Contestant, Session } from "./contestant.ts";
import {
  ADAMW,
  factorsOf,
  type MatmulWork,
  rotations,
  sampledPlaces,
  sequencesOf,
  type TrainWork,
  weightsOf,
} from "./workloads.ts";

/** Waits until the GPU has computed `tensor`, by reading one element of it. */
async function finished(tensor: tf.Tensor2D): Promise<void> {
  const element = tf.slice(tensor, [0, 0], [1, 1]);
  await element.data();
  element.dispose();
}

/** Linear weights as (in, out), so that y = x W. */
function variablesOf(config: ModelConfig): Map<string, tf.Variable> {
  return new Map(
    [...weightsOf(config)].map(([name, { shape, data }]) => {
      const tensor = tf.tensor(Float32Array.from(data), [...shape]);
      return [name, tf.variable(/_proj\.weight$|lm_head/.test(name) ? tf.transpose(tensor) : tensor)];
    }),
  );
}

function rmsnorm(x: tf.Tensor, weight: tf.Tensor, eps: number): tf.Tensor {
  return tf.mul(tf.mul(x, tf.rsqrt(tf.add(tf.mean(tf.square(x), -1, true), eps))), weight);
}

class Model {
  private readonly config: ModelConfig;
  private readonly weights: ReadonlyMap<string, tf.Variable>;
  private readonly cos: tf.Tensor;
  private readonly sin: tf.Tensor;
  /** (group · time, time): 0 where a token sees, −1e9 where not. */
  private readonly mask: tf.Tensor;
  private readonly length: number;

  constructor(config: ModelConfig, weights: ReadonlyMap<string, tf.Variable>, length: number) {
    this.config = config;
    this.weights = weights;
    this.length = length;
    const half = config.head_dim / 2;
    const { cos, sin } = rotations(config, length);
    this.cos = tf.tensor2d(cos, [length, half]);
    this.sin = tf.tensor2d(sin, [length, half]);
    const group = config.num_attention_heads / config.num_key_value_heads;
    const rows = Float32Array.from({ length: group * length * length }, (_, i) =>
      i % length <= Math.floor(i / length) % length ? 0 : -1e9,
    );
    this.mask = tf.tensor(rows, [group * length, length]);
  }

  private weight(name: string): tf.Variable {
    return this.weights.get(name) as tf.Variable;
  }

  /** (rows, heads · size) → (batch, heads, time, size). */
  private heads(x: tf.Tensor, count: number): tf.Tensor {
    return tf.transpose(tf.reshape(x, [-1, this.length, count, this.config.head_dim]), [0, 2, 1, 3]);
  }

  /** Rotates (batch, heads, time, size). */
  private rope(x: tf.Tensor): tf.Tensor {
    const [left, right] = tf.split(x, 2, 3) as [tf.Tensor, tf.Tensor];
    const { cos, sin } = this;
    return tf.concat([tf.sub(tf.mul(left, cos), tf.mul(right, sin)), tf.add(tf.mul(right, cos), tf.mul(left, sin))], 3);
  }

  private attend(q: tf.Tensor, k: tf.Tensor, v: tf.Tensor): tf.Tensor {
    const { num_attention_heads: heads, num_key_value_heads: shared, head_dim: size } = this.config;
    const rows = (heads / shared) * this.length;
    const scores = tf.matMul(tf.reshape(tf.mul(q, 1 / Math.sqrt(size)), [-1, shared, rows, size]), k, false, true);
    const attended = tf.matMul(tf.softmax(tf.add(scores, this.mask)), v);
    const split = tf.reshape(attended, [-1, heads, this.length, size]);
    return tf.reshape(tf.transpose(split, [0, 2, 1, 3]), [-1, heads * size]);
  }

  /** (batch, time) tokens → logits (batch · time, vocabulary). */
  logits(tokens: tf.Tensor): tf.Tensor {
    const { config } = this;
    const { num_attention_heads: heads, num_key_value_heads: shared, rms_norm_eps: eps } = config;
    let x = tf.gather(this.weight("model.embed_tokens.weight"), tf.reshape(tokens, [-1])) as tf.Tensor;
    for (let layer = 0; layer < config.num_hidden_layers; layer++) {
      const linear = (y: tf.Tensor, name: Parameters<typeof projectionPath>[1]) =>
        tf.matMul(y, this.weight(`${projectionPath(layer, name)}.weight`) as tf.Tensor2D);
      const h = rmsnorm(x, this.weight(`model.layers.${layer}.input_layernorm.weight`), eps);
      const q = this.rope(this.heads(linear(h, "q_proj"), heads));
      const k = this.rope(this.heads(linear(h, "k_proj"), shared));
      const v = this.heads(linear(h, "v_proj"), shared);
      x = tf.add(x, linear(this.attend(q, k, v), "o_proj"));
      const m = rmsnorm(x, this.weight(`model.layers.${layer}.post_attention_layernorm.weight`), eps);
      const gate = linear(m, "gate_proj");
      x = tf.add(x, linear(tf.mul(tf.mul(gate, tf.sigmoid(gate)), linear(m, "up_proj")), "down_proj"));
    }
    return tf.matMul(rmsnorm(x, this.weight("model.norm.weight"), eps), this.weight("lm_head.weight") as tf.Tensor2D);
  }

  dispose(): void {
    tf.dispose([this.cos, this.sin, this.mask]);
  }
}

async function train(work: TrainWork): Promise<Session> {
  const { config, length } = work;
  const { learningRate, beta1, beta2, eps, weightDecay } = ADAMW;
  const sequences = sequencesOf(work);
  const tokens = tf.tensor2d(
    sequences.map((row) => row.slice(0, -1)),
    undefined,
    "int32",
  );
  const targets = tf.tensor1d(
    sequences.flatMap((row) => row.slice(1)),
    "int32",
  );
  const weights = variablesOf(config);
  const variables = [...weights.values()];
  const model = new Model(config, weights, length);
  const adam = tf.train.adam(learningRate, beta1, beta2, eps);
  return {
    async run() {
      const loss = tf.tidy(() => {
        const { value, grads } = tf.variableGrads(
          () => tf.losses.softmaxCrossEntropy(tf.oneHot(targets, config.vocab_size), model.logits(tokens)) as tf.Scalar,
          variables,
        );
        for (const variable of variables) variable.assign(tf.mul(variable, 1 - learningRate * weightDecay));
        adam.applyGradients(variables.map(({ name }) => ({ name, tensor: grads[name] as tf.Tensor })));
        return value;
      });
      const values = await loss.data();
      loss.dispose();
      return [...values];
    },
    async close() {
      model.dispose();
      adam.dispose();
      tf.dispose([tokens, targets, ...variables]);
    },
  };
}

async function matmul(work: MatmulWork): Promise<Session> {
  const { n, times } = work;
  const [a, b] = factorsOf(work).map((data) => tf.tensor2d(data, [n, n])) as [tf.Tensor2D, tf.Tensor2D];
  return {
    async run() {
      const products = Array.from({ length: times }, () => tf.matMul(a, b));
      await finished(products.at(-1) as tf.Tensor2D);
      tf.dispose(products);
      return [];
    },
    async check() {
      const product = tf.matMul(a, b);
      const values = await product.data();
      product.dispose();
      return sampledPlaces(work).map((place) => values[place] as number);
    },
    close: async () => tf.dispose([a, b]),
  };
}

export async function open(): Promise<Contestant> {
  if (!(await tf.setBackend("webgpu"))) throw new Error("TensorFlow.js could not start its WebGPU backend");
  await tf.ready();
  const { description, architecture, vendor } = (tf.backend() as WebGPUBackend).device.adapterInfo;
  return { adapter: description || `${vendor} ${architecture}`, matmul, train, decode: null };
}

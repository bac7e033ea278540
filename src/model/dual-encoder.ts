/**
 * Two encoders in one space, as in CLIP: pictures and captions become rows of length 1 whose cosine says how well they
 * fit. Built for pictures on a grid of cells and captions that are sets of four-word phrases:
 *
 *   picture  cells → patch embedding → residual SwiGLU layers, cell by cell → all cells side by side → projection
 *   caption  phrase = sum of its word embeddings → residual SwiGLU layers → sum over phrases → projection
 *
 * Both are sums over objects (Zaheer 2017, Deep Sets), so that a scene with more objects than any seen in training is
 * still in the space, and the order of the phrases does not count.
 */
import type { Graph, Tensor } from "../gpu/graph.ts";
import type { OpContext } from "../ops/context.ts";
import { l2norm } from "../ops/contrastive.ts";
import { addResidual, swiglu } from "../ops/elementwise.ts";
import { embed } from "../ops/embedding.ts";
import { linear, type Weight } from "../ops/linear.ts";
import { transpose } from "../ops/matmul.ts";
import { poolRows, reshape } from "../ops/pool.ts";
import { FlatTensors, type Runtime } from "./weights.ts";

export interface DualEncoderConfig {
  readonly image_size: number;
  readonly patch_size: number;
  readonly num_channels: number;
  readonly vocab_size: number;
  /** Words of a phrase. */
  readonly phrase_length: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly vision_layers: number;
  readonly text_layers: number;
  readonly projection_dim: number;
}

export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array<ArrayBuffer>;
}

/** Patches of a picture. */
export const patchCount = (config: DualEncoderConfig): number => (config.image_size / config.patch_size) ** 2;
/** Numbers of a patch, in the order (channel, row, column). */
export const patchWidth = (config: DualEncoderConfig): number => config.num_channels * config.patch_size ** 2;

export const NAMES = {
  patch: "vision_model.patch_embedding",
  visual: "visual_projection",
  words: "text_model.token_embedding.weight",
  text: "text_projection",
  mlp: (tower: "vision" | "text", layer: number, part: "gate" | "up" | "down") =>
    `${tower}_model.layers.${layer}.mlp.${part}_proj`,
} as const;

/** Name → shape of every tensor, in the order of the file. Linear weights are (out, in), as in Hugging Face files. */
export function dualEncoderShapes(config: DualEncoderConfig): Map<string, readonly number[]> {
  const { hidden_size: d, intermediate_size: m, projection_dim: e } = config;
  const shapes = new Map<string, readonly number[]>();
  const layers = (tower: "vision" | "text", count: number) => {
    for (let layer = 0; layer < count; layer++) {
      shapes.set(`${NAMES.mlp(tower, layer, "gate")}.weight`, [m, d]);
      shapes.set(`${NAMES.mlp(tower, layer, "gate")}.bias`, [m]);
      shapes.set(`${NAMES.mlp(tower, layer, "up")}.weight`, [m, d]);
      shapes.set(`${NAMES.mlp(tower, layer, "up")}.bias`, [m]);
      shapes.set(`${NAMES.mlp(tower, layer, "down")}.weight`, [d, m]);
    }
  };
  shapes.set(`${NAMES.patch}.weight`, [d, patchWidth(config)]);
  shapes.set(`${NAMES.patch}.bias`, [d]);
  layers("vision", config.vision_layers);
  shapes.set(`${NAMES.visual}.weight`, [e, patchCount(config) * d]);
  shapes.set(NAMES.words, [config.vocab_size, d]);
  layers("text", config.text_layers);
  shapes.set(`${NAMES.text}.weight`, [e, d]);
  return shapes;
}

/** Caption inputs of a plan: words in rows, phrases as segments of words, captions as segments of phrases. */
export interface CaptionInputs {
  readonly id: Tensor; // (W) u32
  readonly info: Tensor; // (W) u32, zeros
  readonly order: Tensor;
  readonly start: Tensor;
  readonly phraseSpan: Tensor; // (P,2) u32
  readonly phraseOwner: Tensor; // (W) u32
  readonly captionSpan: Tensor; // (S,2) u32
  readonly captionOwner: Tensor; // (P) u32
}

/** Inputs for `captions` captions of at most `phrases` phrases together. */
export function captionInputs(
  g: Graph,
  config: DualEncoderConfig,
  size: { readonly captions: number; readonly phrases: number },
): CaptionInputs {
  const W = size.phrases * config.phrase_length;
  return {
    id: g.input("words", [W], "u32"),
    info: g.input("word info", [W], "u32"),
    order: g.input("words by id", [W], "u32"),
    start: g.input("first of id", [config.vocab_size + 1], "u32"),
    phraseSpan: g.input("phrase span", [size.phrases, 2], "u32"),
    phraseOwner: g.input("phrase of word", [W], "u32"),
    captionSpan: g.input("caption span", [size.captions, 2], "u32"),
    captionOwner: g.input("caption of phrase", [size.phrases], "u32"),
  };
}

/** The tensors of the two encoders on a GPU. */
export class DualEncoder {
  readonly config: DualEncoderConfig;
  readonly values: FlatTensors;
  private readonly transposed: FlatTensors;

  constructor(runtime: Runtime, config: DualEncoderConfig, tensors: ReadonlyMap<string, HostTensor>) {
    this.config = config;
    const shapes = dualEncoderShapes(config);
    this.values = new FlatTensors(runtime.device, "judge", shapes);
    const linears = [...shapes].filter(([name, shape]) => shape.length === 2 && name !== NAMES.words);
    const flipped = new Map(linears.map(([name, shape]) => [name, [...shape].reverse()]));
    this.transposed = new FlatTensors(runtime.device, "judge, transposed", flipped);
    for (const name of shapes.keys()) {
      const tensor = tensors.get(name);
      if (!tensor) throw new Error(`the judge has no tensor ${name}`);
      this.values.write(name, tensor.data);
    }
  }

  /** Appends the transposition of every linear weight: the first dispatches of a plan. */
  appendRefresh(ctx: OpContext): void {
    for (const name of this.transposed.places.keys())
      transpose(ctx, this.values.bind(ctx.g, name), this.transposed.bind(ctx.g, name));
  }

  /** Binds the tensors into a graph, with gradients into `grads` if given. */
  bind(g: Graph, grads?: FlatTensors): BoundEncoder {
    const tensors = new Map<string, Tensor>();
    for (const name of this.values.places.keys())
      tensors.set(name, this.values.bind(g, name, grads ? { requiresGrad: true, grad: grads.bind(g, name) } : {}));
    for (const name of this.transposed.places.keys()) tensors.set(`${name}ᵀ`, this.transposed.bind(g, name));
    return new BoundEncoder(this.config, tensors);
  }

  async toHost(): Promise<Map<string, HostTensor>> {
    const host = await this.values.read();
    return new Map(
      [...this.values.places].map(([name, { shape }]) => [name, { shape, data: this.values.slice(host, name) }]),
    );
  }

  destroy(): void {
    this.values.destroy();
    this.transposed.destroy();
  }
}

/** The tensors as one graph sees them; bound once, so that all uses add to the same gradients. */
export class BoundEncoder {
  private readonly config: DualEncoderConfig;
  private readonly tensors: ReadonlyMap<string, Tensor>;

  constructor(config: DualEncoderConfig, tensors: ReadonlyMap<string, Tensor>) {
    this.config = config;
    this.tensors = tensors;
  }

  private weight(name: string): Weight {
    const bias = this.tensors.get(`${name}.bias`);
    const w = this.tensors.get(`${name}.weight`) as Tensor;
    const wT = this.tensors.get(`${name}.weightᵀ`) as Tensor;
    return { name, w, wT, ...(bias ? { bias } : {}) };
  }

  private layers(ctx: OpContext, tower: "vision" | "text", count: number, embedded: Tensor): Tensor {
    let x = embedded;
    for (let layer = 0; layer < count; layer++) {
      const project = (part: "gate" | "up" | "down", from: Tensor) =>
        linear(ctx, from, this.weight(NAMES.mlp(tower, layer, part)));
      x = addResidual(ctx, x, project("down", swiglu(ctx, project("gate", x), project("up", x))));
    }
    return x;
  }

  /** patches: (N · patches, channels · patch²), photometrically normalised → (N, projection), rows of length 1. */
  pictures(ctx: OpContext, patches: Tensor): Tensor {
    const { config } = this;
    const cells = this.layers(ctx, "vision", config.vision_layers, linear(ctx, patches, this.weight(NAMES.patch)));
    const N = (patches.shape[0] as number) / patchCount(config);
    const joined = reshape(ctx, cells, [N, patchCount(config) * config.hidden_size]);
    return l2norm(ctx, linear(ctx, joined, this.weight(NAMES.visual)));
  }

  /** (captions, projection), rows of length 1. */
  captions(ctx: OpContext, inputs: CaptionInputs): Tensor {
    const words = embed(ctx, inputs, this.tensors.get(NAMES.words) as Tensor, null);
    const phrases = poolRows(ctx, words, inputs.phraseSpan, inputs.phraseOwner);
    const objects = this.layers(ctx, "text", this.config.text_layers, phrases);
    const pooled = poolRows(ctx, objects, inputs.captionSpan, inputs.captionOwner);
    return l2norm(ctx, linear(ctx, pooled, this.weight(NAMES.text)));
  }
}

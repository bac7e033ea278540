/**
 * The judge's two encoders as ONNX files (opset 17), of operators that every runtime has. The graph is the one of
 * the WGSL encoders, operator by operator; N is free.
 *
 *   image_encoder.onnx  pixel_values (N, 3, size, size) f32 → image_embeds (N, projection), rows of length 1
 *   text_encoder.onnx   phrases (N, P, 4) i64, a phrase of zeros is padding → text_embeds (N, projection)
 */
import { FLOAT, GraphWriter, INT64, modelFile, valueInfo } from "./onnx-graph.ts";

/** As in the kernels: added to the square of a row's length. */
const L2_EPS = 1e-12;

/** What the export reads of a DualEncoderConfig. */
export interface EncoderShape {
  readonly image_size: number;
  readonly patch_size: number;
  readonly num_channels: number;
  readonly phrase_length: number;
  readonly hidden_size: number;
  readonly vision_layers: number;
  readonly text_layers: number;
  readonly projection_dim: number;
}

export interface HostTensor {
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

class Encoders {
  readonly graph = new GraphWriter();
  private readonly tensors: ReadonlyMap<string, HostTensor>;

  constructor(tensors: ReadonlyMap<string, HostTensor>) {
    this.tensors = tensors;
  }

  private tensor(name: string): HostTensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`the judge has no tensor ${name}`);
    return tensor;
  }

  table(name: string): string {
    const { shape, data } = this.tensor(name);
    return this.graph.floats(name, shape, data);
  }

  /** y = x Wᵀ (+ bias); the weight is stored transposed, as MatMul reads it. */
  linear(x: string, name: string, output?: string): string {
    const { shape, data } = this.tensor(`${name}.weight`);
    const [rows, columns] = shape as [number, number];
    const flipped = new Float32Array(data.length);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) flipped[c * rows + r] = data[r * columns + c] as number;
    const w = this.graph.floats(`${name}.weight`, [columns, rows], flipped);
    if (!this.tensors.has(`${name}.bias`)) return this.graph.node("MatMul", [x, w], {}, output);
    return this.graph.node("Add", [this.graph.node("MatMul", [x, w]), this.table(`${name}.bias`)], {}, output);
  }

  /** Residual SwiGLU layers: x + down(silu(gate x) · up x). */
  layers(tower: "vision" | "text", count: number, embedded: string): string {
    let x = embedded;
    for (let layer = 0; layer < count; layer++) {
      const part = (name: string) => `${tower}_model.layers.${layer}.mlp.${name}_proj`;
      const gate = this.linear(x, part("gate"));
      const silu = this.graph.node("Mul", [gate, this.graph.node("Sigmoid", [gate])]);
      const gated = this.graph.node("Mul", [silu, this.linear(x, part("up"))]);
      x = this.graph.node("Add", [x, this.linear(gated, part("down"))]);
    }
    return x;
  }

  /** Rows of length 1. */
  unit(x: string, output: string): string {
    const { graph } = this;
    const square = graph.node("ReduceSum", [graph.node("Mul", [x, x]), graph.ints("last_axis", [1])], { keepdims: 1 });
    const eps = graph.floats("l2_eps", [1], new Float32Array([L2_EPS]));
    return graph.node("Div", [x, graph.node("Sqrt", [graph.node("Add", [square, eps])])], {}, output);
  }
}

/** image_encoder.onnx of the judge's tensors (names of DualEncoder). */
export function exportImageEncoder(
  config: EncoderShape,
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const { image_size: size, patch_size: side, num_channels: channels, hidden_size: d } = config;
  const cells = size / side;
  const encoders = new Encoders(tensors);
  const { graph } = encoders;
  const split = graph.node("Reshape", ["pixel_values", graph.ints("split", [-1, channels, cells, side, cells, side])]);
  const patches = graph.node("Transpose", [split], { perm: [0, 2, 4, 1, 3, 5] });
  const rows = graph.node("Reshape", [patches, graph.ints("rows", [-1, channels * side * side])]);
  const tokens = encoders.layers("vision", config.vision_layers, encoders.linear(rows, "vision_model.patch_embedding"));
  const joined = graph.node("Reshape", [tokens, graph.ints("joined", [-1, cells * cells * d])]);
  encoders.unit(encoders.linear(joined, "visual_projection"), "image_embeds");
  const input = valueInfo("pixel_values", FLOAT, ["N", channels, size, size]);
  const output = valueInfo("image_embeds", FLOAT, ["N", config.projection_dim]);
  return modelFile("image_encoder", graph, [input], [output], metadata);
}

/** text_encoder.onnx of the judge's tensors (names of DualEncoder). */
export function exportTextEncoder(
  config: EncoderShape,
  tensors: ReadonlyMap<string, HostTensor>,
  metadata: Readonly<Record<string, string>> = {},
): Uint8Array<ArrayBuffer> {
  const encoders = new Encoders(tensors);
  const { graph } = encoders;
  const words = graph.node("Gather", [encoders.table("text_model.token_embedding.weight"), "phrases"], { axis: 0 });
  const phrases = graph.node("ReduceSum", [words, graph.ints("word_axis", [2])], { keepdims: 0 });
  const objects = encoders.layers("text", config.text_layers, phrases);
  // A phrase of zeros is padding: it adds nothing to its caption.
  const total = graph.node("ReduceSum", ["phrases", graph.ints("word_axis", [2])], { keepdims: 1 });
  const real = graph.node("Cast", [graph.node("Greater", [total, graph.ints("zero", [0])])], { to: FLOAT });
  const pooled = graph.node("ReduceSum", [graph.node("Mul", [objects, real]), graph.ints("phrase_axis", [1])], {
    keepdims: 0,
  });
  encoders.unit(encoders.linear(pooled, "text_projection"), "text_embeds");
  const input = valueInfo("phrases", INT64, ["N", "P", config.phrase_length]);
  const output = valueInfo("text_embeds", FLOAT, ["N", config.projection_dim]);
  return modelFile("text_encoder", graph, [input], [output], metadata);
}

/** The two encoders in f64, plain loops, picture by picture and caption by caption. */
import type { DualEncoderConfig } from "../../src/model/dual-encoder.ts";

export type Weights = ReadonlyMap<string, Float64Array>;

/** y = W x + bias; W: (out, in) by rows. */
function linear(weights: Weights, name: string, x: Float64Array): Float64Array {
  const w = weights.get(`${name}.weight`) as Float64Array;
  const bias = weights.get(`${name}.bias`);
  const y = new Float64Array(w.length / x.length);
  for (let o = 0; o < y.length; o++) {
    let sum = bias ? (bias[o] as number) : 0;
    for (let i = 0; i < x.length; i++) sum += (w[o * x.length + i] as number) * (x[i] as number);
    y[o] = sum;
  }
  return y;
}

/** x + down(silu(gate x) · up x), layer by layer. */
function layers(weights: Weights, tower: string, count: number, embedded: Float64Array): Float64Array {
  let x = embedded;
  for (let layer = 0; layer < count; layer++) {
    const path = `${tower}_model.layers.${layer}.mlp`;
    const gate = linear(weights, `${path}.gate_proj`, x);
    const up = linear(weights, `${path}.up_proj`, x);
    const gated = gate.map((a, i) => (a / (1 + Math.exp(-a))) * (up[i] as number));
    const down = linear(weights, `${path}.down_proj`, gated);
    x = x.map((value, i) => value + (down[i] as number));
  }
  return x;
}

function unit(x: Float64Array): Float64Array {
  const length = Math.sqrt(x.reduce((sum, value) => sum + value * value, 1e-12));
  return x.map((value) => value / length);
}

/** picture: (channel, row, column) → a vector of length 1. */
export function encodePicture(config: DualEncoderConfig, weights: Weights, picture: ArrayLike<number>): Float64Array {
  const { image_size: size, patch_size: side, num_channels: channels } = config;
  const cells: number[] = [];
  for (let py = 0; py < size / side; py++)
    for (let px = 0; px < size / side; px++) {
      const patch = new Float64Array(channels * side * side);
      for (let c = 0; c < channels; c++)
        for (let y = 0; y < side; y++)
          for (let x = 0; x < side; x++)
            patch[(c * side + y) * side + x] = picture[(c * size + py * side + y) * size + px * side + x] as number;
      cells.push(
        ...layers(weights, "vision", config.vision_layers, linear(weights, "vision_model.patch_embedding", patch)),
      );
    }
  return unit(linear(weights, "visual_projection", Float64Array.from(cells)));
}

/** caption: phrases of token ids → a vector of length 1. */
export function encodeCaption(
  config: DualEncoderConfig,
  weights: Weights,
  caption: readonly (readonly number[])[],
): Float64Array {
  const d = config.hidden_size;
  const table = weights.get("text_model.token_embedding.weight") as Float64Array;
  const total = new Float64Array(d);
  for (const phrase of caption) {
    const words = new Float64Array(d);
    for (const token of phrase)
      for (let c = 0; c < d; c++) words[c] = (words[c] as number) + (table[token * d + c] as number);
    for (const [c, value] of layers(weights, "text", config.text_layers, words).entries())
      total[c] = (total[c] as number) + value;
  }
  return unit(linear(weights, "text_projection", total));
}

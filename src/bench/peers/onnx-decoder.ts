/**
 * A Llama-style decoder as an ONNX file, of the operators that ONNX Runtime's own model builder writes for WebGPU:
 * grouped-query attention with rotary positions and key-value cache, skip-RMSNorm, greedy choice inside the graph.
 *
 *   input_ids (B, S) i64, seqlens (B) i32 = tokens so far with this run's − 1, total (1) i32 = the same + 1,
 *   past_key_i, past_value_i (B, key-value heads, P, head size)
 *   → next (B, 1) i64, present_key_i, present_value_i (B, key-value heads, P + S, head size)
 */
import { FLOAT, GraphWriter, INT32, INT64, MICROSOFT, modelFile, valueInfo } from "../../judge/onnx-graph.ts";
import { type ModelConfig, type Projection, projectionPath } from "../../model/config.ts";
import type { Tensor } from "../../model/safetensors.ts";
import { rotations } from "./workloads.ts";

export function exportDecoder(config: ModelConfig, tensors: ReadonlyMap<string, Tensor>): Uint8Array<ArrayBuffer> {
  const graph = new GraphWriter();
  const { num_attention_heads: heads, num_key_value_heads: shared, head_dim: size, rms_norm_eps: epsilon } = config;
  const tensor = (name: string): Tensor => tensors.get(name) as Tensor;
  const table = (name: string) => graph.floats(name, tensor(name).shape, Float32Array.from(tensor(name).data));

  /** y = x Wᵀ; the weight is stored transposed, as MatMul reads it. */
  const linear = (x: string, name: string): string => {
    const { shape, data } = tensor(name);
    const [rows, columns] = shape as [number, number];
    const flipped = new Float32Array(data.length);
    for (let r = 0; r < rows; r++)
      for (let c = 0; c < columns; c++) flipped[c * rows + r] = data[r * columns + c] as number;
    return graph.node("MatMul", [x, graph.floats(name, [columns, rows], flipped)]);
  };

  /** (norm of x + y, x + y). */
  const skipNorm = (x: string, y: string, weight: string): readonly [string, string] => {
    const outputs = [`${weight}.normed`, "", "", `${weight}.sum`] as const;
    graph.nodeOf(MICROSOFT, "SkipSimplifiedLayerNormalization", [x, y, table(weight)], outputs, {
      epsilon: { float: epsilon },
    });
    return [outputs[0], outputs[3]];
  };

  const positions = config.max_position_embeddings;
  const tables = rotations(config, positions);
  const cos = graph.floats("cos", [positions, size / 2], tables.cos);
  const sin = graph.floats("sin", [positions, size / 2], tables.sin);

  let x = graph.node("Gather", [table("model.embed_tokens.weight"), "input_ids"], { axis: 0 });
  let h = graph.node("SimplifiedLayerNormalization", [x, table("model.layers.0.input_layernorm.weight")], {
    axis: 2,
    epsilon: { float: epsilon },
  });
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const project = (y: string, name: Projection) => linear(y, `${projectionPath(layer, name)}.weight`);
    const attended = `attention_${layer}`;
    graph.nodeOf(
      MICROSOFT,
      "GroupQueryAttention",
      [
        project(h, "q_proj"),
        project(h, "k_proj"),
        project(h, "v_proj"),
        `past_key_${layer}`,
        `past_value_${layer}`,
        "seqlens",
        "total",
        cos,
        sin,
      ],
      [attended, `present_key_${layer}`, `present_value_${layer}`],
      { num_heads: heads, kv_num_heads: shared, do_rotary: 1, rotary_interleaved: 0 },
    );
    const [m, between] = skipNorm(
      x,
      project(attended, "o_proj"),
      `model.layers.${layer}.post_attention_layernorm.weight`,
    );
    const gate = project(m, "gate_proj");
    const silu = graph.node("Mul", [gate, graph.node("Sigmoid", [gate])]);
    const down = project(graph.node("Mul", [silu, project(m, "up_proj")]), "down_proj");
    const last = layer + 1 === config.num_hidden_layers;
    [h, x] = skipNorm(between, down, last ? "model.norm.weight" : `model.layers.${layer + 1}.input_layernorm.weight`);
  }
  const end = graph.node("Gather", [h, graph.ints("end", [-1])], { axis: 1 });
  graph.node("ArgMax", [linear(end, "lm_head.weight")], { axis: 2, keepdims: 0 }, "next");

  const caches = (prefix: string, length: string) =>
    Array.from({ length: config.num_hidden_layers }, (_, layer) => [
      valueInfo(`${prefix}_key_${layer}`, FLOAT, ["B", shared, length, size]),
      valueInfo(`${prefix}_value_${layer}`, FLOAT, ["B", shared, length, size]),
    ]).flat();
  const inputs = [
    valueInfo("input_ids", INT64, ["B", "S"]),
    valueInfo("seqlens", INT32, ["B"]),
    valueInfo("total", INT32, [1]),
    ...caches("past", "P"),
  ];
  return modelFile("decoder", graph, inputs, [valueInfo("next", INT64, ["B", 1]), ...caches("present", "T")]);
}

/** y = a b for (n, n) matrices. */
export function exportMatmul(n: number): Uint8Array<ArrayBuffer> {
  const graph = new GraphWriter();
  graph.node("MatMul", ["a", "b"], {}, "y");
  const square = (name: string) => valueInfo(name, FLOAT, [n, n]);
  return modelFile("matmul", graph, [square("a"), square("b")], [square("y")]);
}

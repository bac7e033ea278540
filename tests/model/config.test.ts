import { describe, expect, test } from "vitest";
import {
  configJson,
  imageTokens,
  type ModelConfig,
  parameterCount,
  parseConfig,
  projectionPath,
  projectionShape,
  tensorShapes,
} from "../../src/model/config.ts";
import { goldenText } from "./golden.ts";

const llama = {
  architectures: ["LlamaForCausalLM"],
  vocab_size: 97,
  hidden_size: 32,
  intermediate_size: 48,
  num_hidden_layers: 2,
  num_attention_heads: 4,
};

const bundled = {
  ...llama,
  architectures: ["AutodidactForCausalLM"],
  tie_word_embeddings: true,
  vision: { image_size: 32, patch_size: 8, num_channels: 3 },
};

describe("parseConfig", () => {
  test("fills in the defaults of Transformers' LlamaConfig", () => {
    const config = parseConfig(llama);
    expect(config).toMatchObject({
      model_type: "llama",
      num_key_value_heads: 4,
      head_dim: 8,
      rms_norm_eps: 1e-6,
      rope_theta: 10000,
      tie_word_embeddings: false,
      max_position_embeddings: 2048,
      bos_token_id: null,
      eos_token_id: [],
      vision: null,
    });
  });

  test("reads the golden models", () => {
    expect(parseConfig(goldenText("llama-untied/config.json"))).toMatchObject({
      num_attention_heads: 3,
      num_key_value_heads: 1,
      head_dim: 16,
      rope_theta: 500000,
      eos_token_id: [2],
    });
  });

  test("reads SmolLM2's and Llama 2's habits: rope_interleaved, pad −1, Transformers 5's rope_parameters", () => {
    expect(parseConfig({ ...llama, rope_interleaved: false, pad_token_id: -1 }).pad_token_id).toBeNull();
    expect(parseConfig({ ...llama, rope_parameters: { rope_theta: 100000, rope_type: "default" } }).rope_theta).toBe(
      100000,
    );
    expect(parseConfig({ ...llama, eos_token_id: [2, 5] }).eos_token_id).toEqual([2, 5]);
  });

  test.each<[string, object, RegExp]>([
    [
      "unknown architecture",
      { architectures: ["MambaForCausalLM"] },
      /"MambaForCausalLM" is not supported; supported are LlamaForCausalLM, Auto/,
    ],
    ["an architecture named as an Object method", { architectures: ["toString"] }, /"toString" is not supported/],
    ["no architecture", { architectures: null }, /"architectures" is missing/],
    ["a missing field", { hidden_size: undefined }, /"hidden_size" is missing/],
    [
      "a field of the wrong type",
      { vocab_size: "97" },
      /"vocab_size" must be a whole number from 1 to \d+, found "97"/,
    ],
    ["a negative size", { num_hidden_layers: -1 }, /"num_hidden_layers" must be a whole number/],
    ["a size beyond reason", { hidden_size: 1e12 }, /"hidden_size" must be a whole number/],
    ["heads that do not divide", { num_attention_heads: 5 }, /"num_attention_heads" must divide hidden_size \(32\)/],
    [
      "key-value heads that do not divide",
      { num_key_value_heads: 3 },
      /"num_key_value_heads" must divide num_attention_heads \(4\)/,
    ],
    ["an odd head", { head_dim: 7 }, /"head_dim" must be even/],
    ["epsilon zero", { rms_norm_eps: 0 }, /"rms_norm_eps" must be a number above 0, found 0/],
    ["attention bias", { attention_bias: true }, /"attention_bias" asks for something that is not supported/],
    ["MLP bias", { mlp_bias: true }, /"mlp_bias" asks for something that is not supported/],
    ["another activation", { hidden_act: "gelu" }, /"hidden_act" .*found "gelu"/],
    [
      "Llama 3's rotary scaling",
      { rope_scaling: { rope_type: "llama3", factor: 8 } },
      /rotary scaling of type "llama3", which is not supported/,
    ],
    ["old rotary scaling", { rope_scaling: { type: "linear", factor: 2 } }, /type "linear"/],
    ["quantised weights", { quantization_config: { bits: 4 } }, /"quantization_config".*quantised weights/],
    ["EOS outside the vocabulary", { eos_token_id: [2, 97] }, /"eos_token_id" must be a token id from 0 to 96/],
  ])("names %s", (_, change, message) => {
    expect(() => parseConfig({ ...llama, ...change } as never)).toThrow(message);
  });

  test("names what is wrong with the picture part", () => {
    expect(() => parseConfig({ ...bundled, vision: undefined } as never)).toThrow(/"vision" is missing/);
    expect(() => parseConfig({ ...bundled, vision: { image_size: 32, patch_size: 7, num_channels: 3 } })).toThrow(
      /vision: "patch_size" must divide image_size \(32\), found 7/,
    );
  });

  test("names a file that is not JSON, or no object", () => {
    expect(() => parseConfig("{")).toThrow(/config\.json is not valid JSON/);
    expect(() => parseConfig("[]")).toThrow(/config\.json must be a JSON object, found \[\]/);
  });

  test.each<[string, ModelConfig]>([
    ["llama", parseConfig({ ...llama, eos_token_id: [2, 5], pad_token_id: 0 })],
    ["bundled", parseConfig(bundled)],
  ])("%s: what configJson writes reads back the same", (_, config) => {
    expect(parseConfig(configJson(config))).toEqual(config);
    expect(configJson(config)).toBe(configJson(parseConfig(configJson(config))));
  });
});

describe("tensorShapes", () => {
  test("names and shapes of a grouped-query Llama with its own head", () => {
    const shapes = tensorShapes(parseConfig(goldenText("llama-untied/config.json")));
    expect(shapes.size).toBe(3 + 2 * 9);
    expect(shapes.get("model.layers.1.self_attn.k_proj.weight")).toEqual([16, 32]);
    expect(shapes.get("model.layers.0.self_attn.o_proj.weight")).toEqual([32, 48]);
    expect(shapes.get("model.layers.1.mlp.down_proj.weight")).toEqual([32, 40]);
    expect(shapes.get("lm_head.weight")).toEqual([97, 32]);
  });

  test("the bundled model has picture tensors and no head of its own", () => {
    const config = parseConfig(bundled);
    const shapes = tensorShapes(config);
    expect(imageTokens(config)).toBe(16);
    expect(shapes.get("model.vision_embed.weight")).toEqual([32, 192]);
    expect(shapes.get("model.vision_embed.bias")).toEqual([32]);
    expect(shapes.get("model.vision_embed.position")).toEqual([16, 32]);
    expect(shapes.has("lm_head.weight")).toBe(false);
  });

  test("parameters of the tied golden model, by hand", () => {
    const layer = 32 * 32 + 2 * 16 * 32 + 32 * 32 + 3 * 48 * 32 + 2 * 32;
    expect(parameterCount(parseConfig(goldenText("llama-tied/config.json")))).toBe(97 * 32 + 2 * layer + 32);
  });

  test("paths and shapes of projections", () => {
    const config = parseConfig(llama);
    expect(projectionPath(3, "o_proj")).toBe("model.layers.3.self_attn.o_proj");
    expect(projectionPath(0, "up_proj")).toBe("model.layers.0.mlp.up_proj");
    expect(projectionShape(config, "down_proj")).toEqual([32, 48]);
  });
});

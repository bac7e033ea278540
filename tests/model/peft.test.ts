import { createHash } from "node:crypto";
import { describe, expect, test } from "vitest";
import { type ModelConfig, PROJECTIONS, parseConfig } from "../../src/model/config.ts";
import { memoryFiles } from "../../src/model/hf.ts";
import {
  adapterShapes,
  type LoraAdapter,
  loadAdapter,
  loraScaling,
  parseAdapter,
  parseTargets,
  writeAdapter,
} from "../../src/model/peft.ts";
import { readSafetensors, type Tensor, toFloat32, writeSafetensors } from "../../src/model/safetensors.ts";
import { GOLDEN, golden, goldenBytes, goldenText } from "./golden.ts";

const modelOf = (name: string): ModelConfig => parseConfig(goldenText(`${name}/config.json`));
const tied = modelOf("llama-tied");
const settings = JSON.parse(goldenText("llama-tied/adapter/adapter_config.json")) as Record<string, unknown>;
const weights = goldenBytes("llama-tied/adapter/adapter_model.safetensors");

function spoilt(change: (tensors: Map<string, Tensor>) => void): Uint8Array {
  const tensors = new Map<string, Tensor>();
  for (const [name, view] of readSafetensors(weights, "golden").tensors) {
    tensors.set(name, { shape: view.shape, data: toFloat32(view).slice() });
  }
  change(tensors);
  return writeSafetensors(tensors);
}

const parse = (change: object, bytes = weights, model = tied): LoraAdapter =>
  parseAdapter(JSON.stringify({ ...settings, ...change }), bytes, model);

describe("reading", () => {
  test("the given adapter on all seven projections", async () => {
    const adapter = await loadAdapter(golden("llama-tied/adapter"), tied);
    expect(adapter).toMatchObject({
      r: 4,
      alpha: 8,
      scaling: 2,
      rslora: false,
      targets: [...PROJECTIONS],
      baseModel: null,
    });
    expect(adapter.tensors.size).toBe(14);
    const down = adapter.tensors.get("model.layers.1.mlp.down_proj");
    expect(down?.A.shape).toEqual([4, 48]);
    expect(down?.B.shape).toEqual([32, 4]);
    expect(down?.B.data.some((value) => value !== 0)).toBe(true);
  });

  test("rank-stabilised, on three projections of a model with other head sizes", async () => {
    const adapter = await loadAdapter(golden("llama-untied/adapter"), modelOf("llama-untied"));
    expect(adapter.targets).toEqual(["q_proj", "v_proj", "down_proj"]);
    expect(adapter.scaling).toBeCloseTo(6 / Math.sqrt(3), 12);
    expect([...adapter.tensors.keys()].slice(0, 3)).toEqual([
      "model.layers.0.self_attn.q_proj",
      "model.layers.0.self_attn.v_proj",
      "model.layers.0.mlp.down_proj",
    ]);
  });

  test("accepts what newer PEFT versions write beside it", () => {
    parse({
      target_modules: "all-linear",
      lora_dropout: 0.05,
      inference_mode: false,
      peft_version: "0.18.0",
      loftq_config: {},
      eva_config: null,
      megatron_config: null,
      megatron_core: "megatron.core",
      qalora_group_size: 16,
      trainable_token_indices: null,
      ensure_weight_tying: false,
      rank_pattern: null,
    });
  });

  test.each<[string, object, RegExp]>([
    ["another kind of adapter", { peft_type: "IA3" }, /"peft_type" must be "LORA".*found "IA3"/],
    ["DoRA", { use_dora: true }, /"use_dora" asks for something that is not supported, found true/],
    ["saved modules", { modules_to_save: ["lm_head"] }, /"modules_to_save" asks .*found \["lm_head"\]/],
    ["a rank pattern", { rank_pattern: { q_proj: 2 } }, /"rank_pattern" asks/],
    ["an alpha pattern", { alpha_pattern: { q_proj: 2 } }, /"alpha_pattern" asks/],
    ["a choice of layers", { layers_to_transform: [0] }, /"layers_to_transform" asks/],
    ["layer 0 alone", { layers_to_transform: 0 }, /"layers_to_transform" asks/],
    ["biases", { bias: "lora_only" }, /"bias" must be "none"/],
    ["another task", { task_type: "SEQ_CLS" }, /"task_type" must be "CAUSAL_LM"/],
    ["PiSSA", { init_lora_weights: "pissa_niter_4" }, /"init_lora_weights" changes the base model's weights/],
    ["rank zero", { r: 0 }, /"r" must be a whole number from 1 to 4096, found 0/],
    ["no alpha", { lora_alpha: "16" }, /"lora_alpha" must be a number above 0, found "16"/],
    [
      "an unknown module",
      { target_modules: ["q_proj", "lm_head"] },
      /"target_modules": "lm_head" is not supported; supported are q_proj/,
    ],
    ["no module", { target_modules: null }, /"target_modules" must be a list of names, found null/],
    [
      "a rank that the tensors do not have",
      { r: 8 },
      /\[shape\] base_model\.model\.model\.layers\.0\.self_attn\.q_proj\.lora_A\.weight: want \(8, 32\), got \(4, 32\)/,
    ],
    [
      "tensors beyond the targets",
      { target_modules: ["q_proj"] },
      /24 tensors that do not belong to this model: base_model\.model\.model\.layers\.0\.mlp\.down_proj/,
    ],
  ])("names %s", (_, change, message) => {
    expect(() => parse(change)).toThrow(message);
  });

  test("names missing, misshaped and non-finite tensors", () => {
    const name = "base_model.model.model.layers.1.mlp.up_proj.lora_B.weight";
    expect(() =>
      parse(
        {},
        spoilt((tensors) => tensors.delete(name)),
      ),
    ).toThrow(`the adapter lacks 1 tensors: ${name}`);
    expect(() =>
      parse(
        {},
        spoilt((tensors) => tensors.set(name, { shape: [192], data: new Float32Array(192) })),
      ),
    ).toThrow(`[shape] ${name}: want (48, 4), got (192)`);
    expect(() =>
      parse(
        {},
        spoilt((tensors) => ((tensors.get(name) as Tensor).data[3] = Number.POSITIVE_INFINITY)),
      ),
    ).toThrow(`${name} has the value Infinity at element 3`);
  });

  test("names an adapter that was made for another model, and a folder that holds none", async () => {
    expect(() => parse({}, weights, { ...tied, num_hidden_layers: 3 })).toThrow(
      /lacks 14 tensors: base_model\.model\.model\.layers\.2/,
    );
    await expect(loadAdapter(memoryFiles("empty", new Map()), tied)).rejects.toThrow(
      "empty is not a PEFT adapter: it has no adapter_config.json (the folder is empty or does not exist)",
    );
    await expect(loadAdapter(golden("llama-tied"), tied)).rejects.toThrow(
      /it has no adapter_config\.json \(it has adapter, config\.json/,
    );
  });
});

describe("writing", () => {
  test.each(GOLDEN)("%s: bytes are reproducible, read back the same, and name the adapter", async (name) => {
    const adapter = await loadAdapter(golden(`${name}/adapter`), modelOf(name));
    const written = writeAdapter(adapter);
    expect(parseAdapter(written.config, written.adapter, modelOf(name))).toEqual(adapter);
    expect(writeAdapter({ ...adapter, tensors: new Map([...adapter.tensors].reverse()) })).toEqual(written);
    expect(written.hash).toBe(createHash("sha256").update(written.adapter).digest("hex"));
    const theirs = JSON.parse(goldenText(`${name}/adapter/adapter_config.json`)) as object;
    expect(JSON.parse(written.config)).toEqual(theirs);
    expect(Object.keys(JSON.parse(written.config) as object)).toEqual(Object.keys(theirs));
  });
});

test("scaling, targets and shapes", () => {
  expect(loraScaling(8, 16)).toBe(2);
  expect(loraScaling(16, 16, true)).toBe(4);
  expect(parseTargets("all-linear")).toEqual([...PROJECTIONS]);
  expect(parseTargets("v_proj, q_proj", "--target-modules")).toEqual(["q_proj", "v_proj"]);
  expect(() => parseTargets("q_prj", "--target-modules")).toThrow(/--target-modules: "q_prj" is not supported/);
  expect(adapterShapes(tied, 2, ["k_proj"]).get("model.layers.1.self_attn.k_proj")).toEqual({ A: [2, 32], B: [16, 2] });
});

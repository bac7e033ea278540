import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { folder, writeFolder } from "../../src/cli/files.ts";
import { parseConfig, tensorShapes } from "../../src/model/config.ts";
import { inspectModel, loadModel, memoryFiles, writeModel } from "../../src/model/hf.ts";
import {
  product,
  readSafetensors,
  type Tensor,
  type TensorView,
  toFloat32,
  writeSafetensors,
} from "../../src/model/safetensors.ts";
import { GOLDEN, golden, goldenBytes, goldenText } from "./golden.ts";

const utf8 = (value: unknown): Uint8Array =>
  new TextEncoder().encode(typeof value === "string" ? value : JSON.stringify(value));

/** Files of the tied golden model, and its tensors, to be spoilt. */
function parts(): { files: Map<string, Uint8Array>; tensors: Map<string, Tensor> } {
  const tensors = new Map<string, Tensor>();
  for (const [name, view] of readSafetensors(goldenBytes("llama-tied/model.safetensors"), "golden").tensors) {
    tensors.set(name, { shape: view.shape, data: toFloat32(view).slice() });
  }
  return { files: new Map([["config.json", utf8(goldenText("llama-tied/config.json"))]]), tensors };
}

const load = (files: Map<string, Uint8Array>): Promise<unknown> => loadModel(memoryFiles("tiny", files));

describe("loadModel", () => {
  test.each(GOLDEN)("%s: every tensor, its generation defaults, and the hash of its weights", async (name) => {
    const model = await loadModel(golden(name));
    expect([...model.tensors.keys()]).toEqual([...tensorShapes(model.config).keys()]);
    for (const { shape, data } of model.tensors.values()) expect(data.length).toBe(product(shape));
    expect(model.hash).toBe(
      createHash("sha256")
        .update(goldenBytes(`${name}/model.safetensors`))
        .digest("hex"),
    );
    expect(model.generationConfig).toMatchObject({ eos_token_id: [2], temperature: null });
    expect(model.tokenizer).toBeNull();
  });

  test("shards with an index give the same tensors", async () => {
    const { files, tensors } = parts();
    const entries = [...tensors];
    const shards = [entries.slice(0, 7), entries.slice(7)];
    const weight_map: Record<string, string> = {};
    shards.forEach((shard, i) => {
      const name = `model-0000${i + 1}-of-00002.safetensors`;
      files.set(name, writeSafetensors(shard));
      for (const [tensor] of shard) weight_map[tensor] = name;
    });
    files.set("model.safetensors.index.json", utf8({ metadata: {}, weight_map }));
    const model = await loadModel(memoryFiles("sharded", files));
    const whole = await loadModel(golden("llama-tied"));
    expect(model.tensors).toEqual(whole.tensors);
    expect(model.hash).not.toBe(whole.hash);

    files.delete("model-00002-of-00002.safetensors");
    await expect(load(files)).rejects.toThrow(
      /tiny has no model-00002-of-00002\.safetensors \(it has config\.json, model-00001/,
    );
    files.set("model.safetensors.index.json", utf8({ weight_map: { x: "../secret.safetensors" } }));
    await expect(load(files)).rejects.toThrow(
      /tensor "x" stands in "\.\.\/secret\.safetensors", which is not the name of a safetensors file/,
    );
  });

  test("names the missing tensors", async () => {
    const { files, tensors } = parts();
    tensors.delete("model.norm.weight");
    tensors.delete("model.layers.1.mlp.up_proj.weight");
    files.set("model.safetensors", writeSafetensors(tensors));
    await expect(load(files)).rejects.toThrow(
      "tiny: the weights lack 2 of 20 tensors: model.layers.1.mlp.up_proj.weight, model.norm.weight",
    );
  });

  test("names unexpected tensors, and lets pass what is only redundant", async () => {
    const { files, tensors } = parts();
    tensors.set("model.layers.0.self_attn.rotary_emb.inv_freq", { shape: [4], data: new Float32Array(4) });
    tensors.set("lm_head.weight", tensors.get("model.embed_tokens.weight") as Tensor);
    files.set("model.safetensors", writeSafetensors(tensors));
    await load(files);
    tensors.set("model.layers.0.self_attn.q_proj.bias", { shape: [32], data: new Float32Array(32) });
    files.set("model.safetensors", writeSafetensors(tensors));
    await expect(load(files)).rejects.toThrow(
      /1 tensors that LlamaForCausalLM does not use: model\.layers\.0\.self_attn\.q_proj\.bias/,
    );
  });

  test("names a misshaped tensor", async () => {
    const { files, tensors } = parts();
    const { data } = tensors.get("model.layers.0.self_attn.k_proj.weight") as Tensor;
    tensors.set("model.layers.0.self_attn.k_proj.weight", { shape: [32, 16], data });
    files.set("model.safetensors", writeSafetensors(tensors));
    await expect(load(files)).rejects.toThrow(
      "[shape] model.layers.0.self_attn.k_proj.weight: want (16, 32), got (32, 16)",
    );
  });

  test("names a weight that is not finite", async () => {
    const { files, tensors } = parts();
    (tensors.get("model.norm.weight") as Tensor).data[5] = Number.NaN;
    files.set("model.safetensors", writeSafetensors(tensors));
    await expect(load(files)).rejects.toThrow(
      'tensor "model.norm.weight" has the value NaN at element 5: the weights are damaged',
    );
  });

  test("says what a folder without a model holds", async () => {
    await expect(loadModel(folder("/nowhere/at/all"))).rejects.toThrow(
      "/nowhere/at/all has no config.json (the folder is empty or does not exist)",
    );
    await expect(load(new Map([["README.md", utf8("")]]))).rejects.toThrow(
      "tiny has no config.json (it has README.md)",
    );
    await expect(load(parts().files)).rejects.toThrow(
      "tiny has neither model.safetensors nor model.safetensors.index.json (it has config.json)",
    );
  });
});

test("inspectModel counts parameters and names the dtypes", async () => {
  const summary = await inspectModel(golden("llama-tied"));
  expect(summary).toMatchObject({
    architecture: "LlamaForCausalLM",
    parameters: 18624,
    dtypes: ["F32"],
    vocabulary: 97,
    tokenizer: null,
  });
});

describe("writeModel", () => {
  test("a written model loads again, bit for bit, also from disk", async () => {
    const { config, tensors } = await loadModel(golden("llama-untied"));
    const { files, hash } = writeModel({ config, tensors });
    const shuffled = writeModel({ config, tensors: new Map([...tensors].reverse()) });
    expect(shuffled).toEqual({ files, hash });
    const directory = await mkdtemp(join(tmpdir(), "autodidact-"));
    try {
      await writeFolder(join(directory, "a", "b"), files);
      const again = await loadModel(folder(join(directory, "a", "b")));
      expect(again.config).toEqual(config);
      expect(again.tensors).toEqual(tensors);
      expect(again.hash).toBe(hash);
      expect(await folder(join(directory, "a", "b")).list()).toEqual([
        "config.json",
        "generation_config.json",
        "model.safetensors",
      ]);
    } finally {
      await rm(directory, { recursive: true });
    }
  });

  test("the bundled architecture, with its picture tensors and tokenizer", async () => {
    const config = parseConfig({
      architectures: ["AutodidactForCausalLM"],
      vocab_size: 8,
      hidden_size: 8,
      intermediate_size: 12,
      num_hidden_layers: 1,
      num_attention_heads: 2,
      tie_word_embeddings: true,
      eos_token_id: 2,
      vision: { image_size: 32, patch_size: 8, num_channels: 3 },
    });
    const tensors = new Map(
      [...tensorShapes(config)].map(([name, shape]) => [
        name,
        { shape, data: new Float32Array(product(shape)).fill(0.5) },
      ]),
    );
    const tokenizer = {
      model: { type: "WordLevel", vocab: { "<unk>": 0, red: 1 }, unk_token: "<unk>" },
      pre_tokenizer: { type: "WhitespaceSplit" },
    };
    const { files } = writeModel({ config, tensors, extra: { "tokenizer.json": JSON.stringify(tokenizer) } });
    const again = await loadModel(memoryFiles("bundled", files));
    expect(again.config).toEqual(config);
    expect(again.tensors.get("model.vision_embed.position")?.shape).toEqual([16, 8]);
    expect(again.tokenizer?.encode("red red")).toEqual([1, 1]);
  });

  test("refuses tensors that do not fit the config", async () => {
    const { config, tensors } = await loadModel(golden("llama-tied"));
    const less = new Map(tensors);
    less.delete("model.norm.weight");
    expect(() => writeModel({ config, tensors: less })).toThrow(
      /the model to be written: the weights lack 1 of 20 tensors: model\.norm\.weight/,
    );
  });
});

test("half-precision weights load as f32", async () => {
  const { files, tensors } = parts();
  const whole = writeSafetensors(tensors);
  const { tensors: views } = readSafetensors(whole, "whole");
  // The same file in bfloat16: the upper halves of all elements.
  const header: Record<string, unknown> = {};
  const chunks: Uint8Array[] = [];
  let offset = 0;
  for (const [name, view] of views) {
    const upper = Uint16Array.from(new Uint32Array(toFloat32(view).slice().buffer), (bits) => bits >>> 16);
    header[name] = { dtype: "BF16", shape: view.shape, data_offsets: [offset, offset + upper.byteLength] };
    chunks.push(new Uint8Array(upper.buffer));
    offset += upper.byteLength;
  }
  const text = utf8(header);
  const length = new Uint8Array(new BigUint64Array([BigInt(text.length)]).buffer);
  files.set("model.safetensors", new Uint8Array(Buffer.concat([length, text, ...chunks])));
  const model = await loadModel(memoryFiles("bf16", files));
  for (const [name, { data }] of model.tensors) {
    const exact = toFloat32(views.get(name) as TensorView);
    data.forEach((value, i) => {
      const want = exact[i] as number;
      expect(Math.abs(value - want)).toBeLessThanOrEqual(Math.abs(want) * 2 ** -7);
    });
  }
  expect((await inspectModel(memoryFiles("bf16", files))).dtypes).toEqual(["BF16"]);
});

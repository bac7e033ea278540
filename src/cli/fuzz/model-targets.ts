/** The files of models, adapters and training data. */

import { type Rng, rngFor } from "../../base/rng.ts";
import { configJson, type ModelConfig, parseConfig, tensorShapes } from "../../model/config.ts";
import { loadModel, memoryFiles, writeModel } from "../../model/hf.ts";
import { ADAPTER_CONFIG, ADAPTER_WEIGHTS, parseAdapter, writeAdapter } from "../../model/peft.ts";
import { parseCompletion, parsePreference, parseRows, parseSequence, type RowOptions } from "../../model/rows.ts";
import { product, readSafetensors, toFloat32, writeSafetensors } from "../../model/safetensors.ts";
import { parseTokenizer } from "../../model/tokenizer.ts";
import { freshAdapter } from "../../train/engine.ts";
import { tokenizerConfigJson, tokenizerJson, VOCABULARY_SIZE } from "../../world/vocabulary.ts";
import { bounded } from "../bounded.ts";
import { type Target, WrongRead } from "./fuzz.ts";
import { mutateBytes, mutateJson, mutateLines } from "./mutate.ts";
import { same, text, utf8 } from "./same.ts";

/** A whole model of a few kilobytes. */
const CONFIG: ModelConfig = parseConfig({
  architectures: ["LlamaForCausalLM"],
  vocab_size: VOCABULARY_SIZE,
  hidden_size: 4,
  intermediate_size: 6,
  num_hidden_layers: 1,
  num_attention_heads: 2,
  num_key_value_heads: 1,
  max_position_embeddings: 64,
  tie_word_embeddings: true,
  bos_token_id: 1,
  eos_token_id: [2],
  pad_token_id: 0,
});

const noise = (length: number, rng: Rng): Float32Array => Float32Array.from({ length }, () => rng.normal());

function modelFiles(): Map<string, Uint8Array> {
  const rng = rngFor(0, "fuzz", "model");
  const tensors = new Map(
    [...tensorShapes(CONFIG)].map(([name, shape]) => [name, { shape, data: noise(product(shape), rng) }]),
  );
  const extra = { "tokenizer.json": tokenizerJson(), "tokenizer_config.json": tokenizerConfigJson() };
  return writeModel({ config: CONFIG, tensors, extra }).files;
}

/** Changes the header as JSON (its length follows), or any byte. */
function mutateSafetensors(file: Uint8Array, rng: Rng): Uint8Array {
  if (rng.next() < 0.4) return mutateBytes(file, file, rng);
  const length = Number(new DataView(file.buffer, file.byteOffset).getBigUint64(0, true));
  const header = utf8(mutateJson(text(file.subarray(8, 8 + length)), rng));
  const changed = new Uint8Array(8 + header.length + file.length - 8 - length);
  new DataView(changed.buffer).setBigUint64(0, BigInt(header.length), true);
  changed.set(header, 8);
  changed.set(file.subarray(8 + length), 8 + header.length);
  return changed;
}

const safetensors: Target = {
  name: "safetensors",
  what: "weights and optimizer states",
  async prepare() {
    const rng = rngFor(0, "fuzz", "safetensors");
    const plain = writeSafetensors(
      [
        ["m", { shape: [3, 2], data: noise(6, rng) }],
        ["step", { shape: [], data: Int32Array.of(7) }],
        ["bytes", { shape: [5], data: Uint8Array.of(1, 2, 3, 4, 5) }],
      ],
      { format: "pt", step: "7" },
    );
    const half = utf8(
      JSON.stringify({
        h: { dtype: "F16", shape: [2], data_offsets: [0, 4] },
        b: { dtype: "BF16", shape: [1, 2], data_offsets: [4, 8] },
        d: { dtype: "F64", shape: [1], data_offsets: [8, 16] },
        i: { dtype: "I64", shape: [1], data_offsets: [16, 24] },
      }),
    );
    const mixed = new Uint8Array(8 + half.length + 24);
    new DataView(mixed.buffer).setBigUint64(0, BigInt(half.length), true);
    mixed.set(half, 8);
    return (rng) => {
      const file = mutateSafetensors(rng.pick([plain, mixed]), rng);
      const { tensors } = readSafetensors(file, "x.safetensors");
      const read = [...tensors].map(([name, view]) => [name, { shape: view.shape, data: toFloat32(view) }] as const);
      for (const [name, { shape, data }] of read)
        if (data.length !== product(shape)) throw new WrongRead(`${name} has ${data.length} elements`);
      const again = readSafetensors(writeSafetensors(read), "again").tensors;
      for (const [name, { data }] of read)
        same(
          new Uint8Array(toFloat32(again.get(name) as never).slice().buffer),
          new Uint8Array(data.slice().buffer),
          name,
        );
    };
  },
};

const model: Target = {
  name: "model",
  what: "a model folder: config, weights, tokenizer, generation config",
  async prepare() {
    const files = modelFiles();
    const config = text(files.get("config.json") as Uint8Array);
    return async (rng) => {
      const name = rng.pick([...files.keys(), "config.json", "config.json"]);
      const file = files.get(name) as Uint8Array;
      const changed = name.endsWith(".safetensors") ? mutateSafetensors(file, rng) : utf8(mutateJson(text(file), rng));
      if (name === "config.json" && rng.next() < 0.5) {
        const read = parseConfig(mutateJson(config, rng));
        same(parseConfig(configJson(read)), read, "the config");
        return;
      }
      const loaded = await loadModel(memoryFiles("x", new Map(files).set(name, changed)));
      for (const [tensor, { shape, data }] of loaded.tensors)
        if (data.length !== product(shape)) throw new WrongRead(`${tensor} has ${data.length} elements`);
      same(parseConfig(configJson(loaded.config)), loaded.config, "the config");
    };
  },
};

const BPE = JSON.stringify({
  added_tokens: [{ id: 0, content: "<s>", special: true, normalized: false }],
  normalizer: {
    type: "Sequence",
    normalizers: [{ type: "NFC" }, { type: "Replace", pattern: { String: "x" }, content: "b" }],
  },
  pre_tokenizer: { type: "Split", pattern: { Regex: "\\s?\\p{L}+|." }, behavior: "Isolated", invert: false },
  post_processor: {
    type: "TemplateProcessing",
    single: [{ SpecialToken: { id: "<s>", type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
    pair: [],
    special_tokens: { "<s>": { id: "<s>", ids: [0], tokens: ["<s>"] } },
  },
  decoder: { type: "ByteLevel" },
  model: { type: "BPE", vocab: { "<s>": 0, a: 1, b: 2, " ": 3, ab: 4, "?": 5 }, merges: ["a b"], unk_token: "?" },
});
const UNIGRAM = JSON.stringify({
  normalizer: { type: "Lowercase" },
  pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "always" },
  decoder: { type: "Metaspace", replacement: "▁" },
  model: {
    type: "Unigram",
    unk_id: 0,
    vocab: [
      ["<unk>", 0],
      ["▁", -2],
      ["a", -1],
      ["▁red", -1.5],
      ["b", -3],
    ],
  },
});

const tokenizer: Target = {
  name: "tokenizer",
  what: "tokenizer.json: word level, BPE, Unigram",
  async prepare() {
    const samples = [tokenizerJson(), BPE, UNIGRAM];
    return (rng) => {
      const read = parseTokenizer(mutateJson(rng.pick(samples), rng), tokenizerConfigJson(), VOCABULARY_SIZE, bounded);
      for (const words of ["red circle b 3", "ab abx é <s>", ""]) {
        const ids = read.encode(words, { addSpecialTokens: true });
        const bad = ids.find((id) => !Number.isInteger(id) || id < 0 || id >= VOCABULARY_SIZE);
        if (bad !== undefined) throw new WrongRead(`it encodes to the id ${bad}`);
        if (typeof read.decode(ids) !== "string") throw new WrongRead("it decodes to no text");
      }
    };
  },
};

const adapter: Target = {
  name: "adapter",
  what: `PEFT's ${ADAPTER_CONFIG} and ${ADAPTER_WEIGHTS}`,
  async prepare() {
    const { config, adapter: weights } = writeAdapter(freshAdapter(CONFIG, 0, 2, 4, ["q_proj", "down_proj"]));
    return (rng) => {
      const changesConfig = rng.next() < 0.5;
      const read = parseAdapter(
        changesConfig ? mutateJson(config, rng) : config,
        changesConfig ? weights : mutateSafetensors(weights, rng),
        CONFIG,
        "x",
      );
      const again = writeAdapter(read);
      same(writeAdapter(parseAdapter(again.config, again.adapter, CONFIG)).hash, again.hash, "the adapter");
    };
  },
};

const ROWS = `${[
  { prompt: "describe", chosen: "red circle b 3", rejected: "blue square a 1", score: 0.5 },
  { prompt_ids: [1, 5], chosen_ids: [9, 2], rejected_ids: [8, 2], image: null },
  { prompt: "describe", completion: "red circle b 3" },
  { prompt_ids: [1, 5], completion_ids: [9, 2] },
  { tokens: [1, 5, 9] },
  { text: "red circle" },
]
  .map((row) => JSON.stringify(row))
  .join("\n")}\n`;

const rows: Target = {
  name: "rows",
  what: "JSON Lines of preferences, completions and sequences",
  async prepare() {
    const options: RowOptions = {
      tokenizer: parseTokenizer(tokenizerJson(), tokenizerConfigJson(), VOCABULARY_SIZE),
      vocabulary: VOCABULARY_SIZE,
    };
    return (rng) => {
      for (const row of parseRows(mutateLines(ROWS, rng), "x.jsonl")) {
        const ids = [];
        if ("chosen" in row.json || "chosen_ids" in row.json) {
          const { prompt_ids, chosen_ids, rejected_ids } = parsePreference(row, options);
          ids.push(prompt_ids, chosen_ids, rejected_ids);
        } else if ("completion" in row.json || "completion_ids" in row.json) {
          const { prompt_ids, completion_ids } = parseCompletion(row, options);
          ids.push(prompt_ids, completion_ids);
        } else ids.push(parseSequence(row, options));
        for (const id of ids.flat())
          if (!Number.isInteger(id) || id < 0 || id >= VOCABULARY_SIZE) throw new WrongRead(`a row has the id ${id}`);
      }
    };
  },
};

export const MODEL_TARGETS: readonly Target[] = [safetensors, model, tokenizer, adapter, rows];

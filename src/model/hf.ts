import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
import { InputError } from "../base/input.ts";
import { configJson, type ModelConfig, parameterCount, parseConfig, tensorShapes } from "./config.ts";
import { asObject, decodeUtf8, describe, Fields, type JsonObject, parseObject } from "./json.ts";
import type { Bounded } from "./patterns.ts";
import {
  type Dtype,
  readSafetensors,
  type Tensor,
  type TensorView,
  toFloat32,
  writeSafetensors,
} from "./safetensors.ts";
import { parseTokenizer, type Tokenizer } from "./tokenizer.ts";

/** A folder of files, wherever it lies: on disk, behind a URL, in an archive, in the browser's storage. */
export interface Files {
  /** What to call the folder in messages. */
  readonly name: string;
  /** The file's bytes, or null if there is no such file. */
  read(name: string): Promise<Uint8Array | null>;
  /** Names of the files in it, sorted. */
  list(): Promise<readonly string[]>;
  /** Given where the files are somebody else's: their tokenizer's patterns are run with a time limit. */
  readonly bounded?: Bounded;
}

/** Defaults of generation_config.json; null: the file says nothing. */
export interface GenerationConfig {
  readonly eos_token_id: readonly number[];
  readonly temperature: number | null;
  readonly top_k: number | null;
  readonly top_p: number | null;
  readonly max_new_tokens: number | null;
}

export interface LoadedModel {
  readonly config: ModelConfig;
  /** Exactly the tensors of `tensorShapes(config)`, as f32. */
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly tokenizer: Tokenizer | null;
  readonly generationConfig: GenerationConfig | null;
  /** SHA-256 of the weight file; of several shards, of their bytes one after another in the order of their names. */
  readonly hash: string;
}

/** What `info` prints: the file formats only, no weight is converted. */
export interface ModelSummary {
  readonly architecture: string;
  readonly model_type: string;
  readonly parameters: number;
  readonly dtypes: readonly Dtype[];
  readonly vocabulary: number;
  readonly tokenizer: { readonly tokens: number } | null;
  readonly weights: readonly string[];
  readonly hash: string;
  readonly config: ModelConfig;
}

const SINGLE = "model.safetensors";
const INDEX = "model.safetensors.index.json";

/** Buffers that old exports carry and that are computed here. */
const IGNORED = /\.rotary_emb\.inv_freq$/;

/**
 * Loads a model folder: config.json, model.safetensors or shards with model.safetensors.index.json, and, where present,
 * tokenizer.json, tokenizer_config.json, generation_config.json.
 * Throws an error in plain words: no such file, unknown architecture, missing, unexpected or misshaped tensors (named),
 * a weight that is not finite.
 */
export async function loadModel(files: Files): Promise<LoadedModel> {
  const config = await loadConfig(files);
  const { views, hash } = await loadWeights(files, config);
  const tensors = new Map<string, Tensor>();
  for (const [name, shape] of tensorShapes(config)) {
    const data = toFloat32(views.get(name) as TensorView);
    const bad = data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new InputError(
        `${files.name}: tensor "${name}" has the value ${data[bad]} at element ${bad}: the weights are damaged`,
      );
    tensors.set(name, { shape, data });
  }
  return {
    config,
    tensors,
    tokenizer: await loadTokenizer(files, config),
    generationConfig: await loadGenerationConfig(files, config),
    hash,
  };
}

/** Reads and checks a model folder without converting its weights. Errors as `loadModel`. */
export async function inspectModel(files: Files): Promise<ModelSummary> {
  const config = await loadConfig(files);
  const { views, weights, hash } = await loadWeights(files, config);
  const tokenizer = await loadTokenizer(files, config);
  return {
    architecture: config.architectures[0],
    model_type: config.model_type,
    parameters: parameterCount(config),
    dtypes: [...new Set([...views.values()].map((view) => view.dtype))].sort(),
    vocabulary: config.vocab_size,
    tokenizer: tokenizer === null ? null : { tokens: tokenizer.size },
    weights,
    hash,
    config,
  };
}

/** config.json of a model folder. */
export async function loadConfig(files: Files): Promise<ModelConfig> {
  return parseConfig(decodeUtf8(await readRequired(files, "config.json"), "config.json"), `${files.name}: config.json`);
}

/** The folder's tokenizer, null if it has none. */
export async function loadTokenizer(files: Files, config: ModelConfig): Promise<Tokenizer | null> {
  const json = await files.read("tokenizer.json");
  if (json === null) return null;
  const settings = await files.read("tokenizer_config.json");
  return parseTokenizer(
    decodeUtf8(json, "tokenizer.json"),
    settings === null ? null : decodeUtf8(settings, "tokenizer_config.json"),
    config.vocab_size,
    files.bounded,
  );
}

async function loadGenerationConfig(files: Files, config: ModelConfig): Promise<GenerationConfig | null> {
  const bytes = await files.read("generation_config.json");
  if (bytes === null) return null;
  const source = "generation_config.json";
  const fields = new Fields(parseObject(decodeUtf8(bytes, source), source), source);
  const number = (name: string): number | null => {
    const value = fields.json[name] ?? null;
    if (value !== null && !(Number.isFinite(value) && (value as number) >= 0))
      fields.fail(name, "must be a number, 0 or more", value);
    return value as number | null;
  };
  return {
    eos_token_id: fields.tokenIds("eos_token_id", config.vocab_size),
    temperature: number("temperature"),
    top_k: number("top_k"),
    top_p: number("top_p"),
    max_new_tokens: number("max_new_tokens"),
  };
}

/** Views of all weights, checked against the config, and their hash. */
async function loadWeights(
  files: Files,
  config: ModelConfig,
): Promise<{ views: Map<string, TensorView>; weights: string[]; hash: string }> {
  const single = await files.read(SINGLE);
  const views = new Map<string, TensorView>();
  const digest = sha256.create();
  const add = (name: string, bytes: Uint8Array): void => {
    digest.update(bytes);
    for (const [tensor, view] of readSafetensors(bytes, `${files.name}: ${name}`).tensors) {
      if (views.has(tensor)) throw new InputError(`${files.name}: tensor "${tensor}" stands in more than one shard`);
      views.set(tensor, view);
    }
  };
  let weights = [SINGLE];
  if (single !== null) {
    add(SINGLE, single);
  } else {
    weights = await shardNames(files);
    for (const name of weights) add(name, await readRequired(files, name));
  }
  checkTensors(views, config, files.name);
  return { views, weights, hash: bytesToHex(digest.digest()) };
}

/** The shards that the index names, sorted. */
async function shardNames(files: Files): Promise<string[]> {
  const bytes = await files.read(INDEX);
  if (bytes === null) throw new InputError(`${files.name} has neither ${SINGLE} nor ${INDEX}${await others(files)}`);
  const index = parseObject(decodeUtf8(bytes, INDEX), INDEX);
  const map = asObject(index.weight_map, `${INDEX}: "weight_map"`);
  const names = new Set<string>();
  for (const [tensor, file] of Object.entries(map)) {
    // Plain names only: an index must not reach outside its folder.
    if (typeof file !== "string" || !/^[\w.-]+\.safetensors$/.test(file)) {
      throw new InputError(
        `${INDEX}: tensor "${tensor}" stands in ${describe(file)}, which is not the name of a safetensors file`,
      );
    }
    names.add(file);
  }
  if (names.size === 0) throw new InputError(`${INDEX}: "weight_map" is empty`);
  return [...names].sort();
}

function checkTensors(views: ReadonlyMap<string, TensorView>, config: ModelConfig, source: string): void {
  const expected = tensorShapes(config);
  const missing = [...expected.keys()].filter((name) => !views.has(name));
  if (missing.length > 0) {
    throw new InputError(
      `${source}: the weights lack ${missing.length} of ${expected.size} tensors: ${someOf(missing)}`,
    );
  }
  const tied = config.tie_word_embeddings ? "lm_head.weight" : null;
  const extra = [...views.keys()].filter((name) => !expected.has(name) && name !== tied && !IGNORED.test(name));
  if (extra.length > 0) {
    throw new InputError(
      `${source}: the weights have ${extra.length} tensors that ${config.architectures[0]} does not use: ${someOf(extra)}`,
    );
  }
  for (const [name, shape] of expected) {
    const found = (views.get(name) as TensorView).shape;
    if (found.length !== shape.length || found.some((size, i) => size !== shape[i])) {
      throw new InputError(`${source}: [shape] ${name}: want (${shape.join(", ")}), got (${found.join(", ")})`);
    }
  }
}

/** Up to eight names. */
export function someOf(names: readonly string[]): string {
  const shown = names.slice(0, 8).join(", ");
  return names.length > 8 ? `${shown} and ${names.length - 8} more` : shown;
}

async function readRequired(files: Files, name: string): Promise<Uint8Array> {
  const bytes = await files.read(name);
  if (bytes === null) throw new InputError(`${files.name} has no ${name}${await others(files)}`);
  return bytes;
}

async function others(files: Files): Promise<string> {
  const names = await files.list();
  return names.length === 0 ? " (the folder is empty or does not exist)" : ` (it has ${someOf(names)})`;
}

/**
 * The files of a model folder, ready to be written. The same model gives the same bytes.
 * `extra`: further files as text, such as tokenizer.json or README.md.
 */
export function writeModel(model: {
  readonly config: ModelConfig;
  readonly tensors: ReadonlyMap<string, Tensor>;
  readonly generationConfig?: JsonObject;
  readonly extra?: Readonly<Record<string, string>>;
}): { files: Map<string, Uint8Array>; hash: string } {
  const { config, tensors } = model;
  const views = new Map<string, TensorView>();
  for (const [name, { shape, data }] of tensors) {
    views.set(name, {
      name,
      shape,
      dtype: "F32",
      bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
    });
  }
  checkTensors(views, config, "the model to be written");
  const weights = writeSafetensors([...tensorShapes(config).keys()].map((name) => [name, tensors.get(name) as Tensor]));
  const generation = model.generationConfig ?? {
    bos_token_id: config.bos_token_id,
    eos_token_id: config.eos_token_id,
    pad_token_id: config.pad_token_id,
  };
  const encode = (text: string): Uint8Array => new TextEncoder().encode(text);
  const files = new Map<string, Uint8Array>([
    ["config.json", encode(configJson(config))],
    ["generation_config.json", encode(`${JSON.stringify(generation, null, 2)}\n`)],
    [SINGLE, weights],
  ]);
  for (const [name, text] of Object.entries(model.extra ?? {})) files.set(name, encode(text));
  return { files, hash: bytesToHex(sha256(weights)) };
}

/** A folder in memory. */
export function memoryFiles(name: string, files: ReadonlyMap<string, Uint8Array>): Files {
  return {
    name,
    read: async (file) => files.get(file) ?? null,
    list: async () => [...files.keys()].sort(),
  };
}

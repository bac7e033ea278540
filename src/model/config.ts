import { InputError } from "../base/input.ts";
import { asObject, describe, Fields, type JsonObject, parseObject } from "./json.ts";

/** Architectures that this engine runs; the names stand in config.json under "architectures". */
export type Architecture = "LlamaForCausalLM" | "AutodidactForCausalLM";

/** How a model's matrices are held on the GPU, as Transformers names it. Everything is computed in f32. */
export const DTYPES = ["float32", "float16"] as const;
export type ModelDtype = (typeof DTYPES)[number];

/** Picture input of the bundled model: square RGB pictures cut into square patches, one token a patch. */
export interface VisionConfig {
  readonly image_size: number;
  readonly patch_size: number;
  readonly num_channels: number;
}

/** A model's shape, under the names of Hugging Face's config.json. Defaults are filled in and everything is checked. */
export interface ModelConfig {
  readonly architectures: readonly [Architecture];
  readonly model_type: string;
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly intermediate_size: number;
  readonly num_hidden_layers: number;
  readonly num_attention_heads: number;
  readonly num_key_value_heads: number;
  readonly head_dim: number;
  readonly rms_norm_eps: number;
  readonly rope_theta: number;
  readonly tie_word_embeddings: boolean;
  readonly max_position_embeddings: number;
  readonly bos_token_id: number | null;
  /** Empty: the model does not stop by itself. */
  readonly eos_token_id: readonly number[];
  readonly pad_token_id: number | null;
  /** Null: text only. */
  readonly vision: VisionConfig | null;
}

/** What distinguishes one architecture from another. A new one is a new row of ARCHITECTURES. */
interface ArchitectureRules {
  readonly modelType: string;
  /** Tensors of one decoder layer besides the seven projections: name after "model.layers.N." → shape. */
  readonly layerNorms: (config: ModelConfig) => readonly (readonly [string, readonly number[]])[];
  readonly vision: boolean;
}

const llamaNorms: ArchitectureRules["layerNorms"] = (config) => [
  ["input_layernorm.weight", [config.hidden_size]],
  ["post_attention_layernorm.weight", [config.hidden_size]],
];

const ARCHITECTURES: Readonly<Record<Architecture, ArchitectureRules>> = {
  LlamaForCausalLM: { modelType: "llama", layerNorms: llamaNorms, vision: false },
  AutodidactForCausalLM: { modelType: "autodidact", layerNorms: llamaNorms, vision: true },
};

/** Names of the architectures that `parseConfig` accepts. */
export const SUPPORTED_ARCHITECTURES = Object.keys(ARCHITECTURES) as readonly Architecture[];

/** The linear layers of a decoder layer, in the order of the forward pass. LoRA's "all-linear" means these. */
export const PROJECTIONS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"] as const;
export type Projection = (typeof PROJECTIONS)[number];

/** Projections that read the same input and are computed as one product, under the names that Transformers gives such weights. */
export const PROJECTION_GROUPS = {
  qkv_proj: ["q_proj", "k_proj", "v_proj"],
  o_proj: ["o_proj"],
  gate_up_proj: ["gate_proj", "up_proj"],
  down_proj: ["down_proj"],
} as const satisfies Record<string, readonly Projection[]>;
export type ProjectionGroup = keyof typeof PROJECTION_GROUPS;

const ATTENTION_PROJECTIONS: readonly Projection[] = ["q_proj", "k_proj", "v_proj", "o_proj"];

/** Sizes above these are typing errors, not models. */
const LIMITS = {
  vocabulary: 2 ** 21,
  width: 2 ** 17,
  layers: 512,
  heads: 1024,
  positions: 2 ** 24,
  theta: 1e12,
} as const;

/** Features of a config.json that change the result and that this engine does not compute: field → the value that is fine. */
const UNSUPPORTED: readonly { readonly field: string; readonly fine: readonly unknown[]; readonly why: string }[] = [
  { field: "attention_bias", fine: [false], why: "biases in the attention projections" },
  { field: "mlp_bias", fine: [false], why: "biases in the MLP" },
  { field: "hidden_act", fine: ["silu", "swish"], why: "only the SwiGLU activation (silu) is" },
  { field: "partial_rotary_factor", fine: [1], why: "rotary embedding of a part of each head" },
  { field: "sliding_window", fine: [], why: "sliding-window attention" },
  {
    field: "quantization_config",
    fine: [],
    why: "quantised weights; export the model in float32, float16 or bfloat16",
  },
];

/**
 * Reads config.json.
 * Throws an error that names the unknown architecture, the missing or invalid field, or the unsupported feature.
 * @param json the text of the file, or the parsed object
 */
export function parseConfig(json: string | JsonObject, source = "config.json"): ModelConfig {
  const object = typeof json === "string" ? parseObject(json, source) : asObject(json, source);
  const fields = new Fields(object, source);
  const architecture = readArchitecture(fields);
  const rules = ARCHITECTURES[architecture];
  refuseUnsupported(fields);

  const hidden_size = fields.count("hidden_size", LIMITS.width);
  const num_attention_heads = fields.count("num_attention_heads", LIMITS.heads);
  const num_key_value_heads = fields.count("num_key_value_heads", LIMITS.heads, num_attention_heads);
  if (num_attention_heads % num_key_value_heads !== 0) {
    fields.fail("num_key_value_heads", `must divide num_attention_heads (${num_attention_heads})`, num_key_value_heads);
  }
  if (!fields.has("head_dim") && hidden_size % num_attention_heads !== 0) {
    fields.fail(
      "num_attention_heads",
      `must divide hidden_size (${hidden_size}) when head_dim is absent`,
      num_attention_heads,
    );
  }
  const head_dim = fields.count("head_dim", LIMITS.width, hidden_size / num_attention_heads);
  if (head_dim % 2 !== 0) fields.fail("head_dim", "must be even, since rotary embedding turns pairs", head_dim);
  const vocab_size = fields.count("vocab_size", LIMITS.vocabulary);

  return {
    architectures: [architecture],
    model_type: rules.modelType,
    vocab_size,
    hidden_size,
    intermediate_size: fields.count("intermediate_size", LIMITS.width * 8),
    num_hidden_layers: fields.count("num_hidden_layers", LIMITS.layers),
    num_attention_heads,
    num_key_value_heads,
    head_dim,
    rms_norm_eps: fields.positive("rms_norm_eps", 1, 1e-6),
    rope_theta: readRopeTheta(fields),
    tie_word_embeddings: fields.flag("tie_word_embeddings", false),
    max_position_embeddings: fields.count("max_position_embeddings", LIMITS.positions, 2048),
    bos_token_id: fields.tokenId("bos_token_id", vocab_size),
    eos_token_id: fields.tokenIds("eos_token_id", vocab_size),
    // Llama 2's files say −1 for "none".
    pad_token_id: object.pad_token_id === -1 ? null : fields.tokenId("pad_token_id", vocab_size),
    vision: rules.vision ? readVision(fields) : null,
  };
}

/** config.json of a model: two spaces of indentation, keys in a fixed order, so that the bytes are reproducible. */
export function configJson(config: ModelConfig): string {
  const { vision, eos_token_id, ...rest } = config;
  const eos = eos_token_id.length === 0 ? null : eos_token_id.length === 1 ? eos_token_id[0] : eos_token_id;
  const json = {
    ...rest,
    eos_token_id: eos,
    hidden_act: "silu",
    attention_bias: false,
    mlp_bias: false,
    torch_dtype: "float32",
    ...(vision === null ? {} : { vision }),
  };
  return `${JSON.stringify(json, null, 2)}\n`;
}

/** (3, "q_proj") → "model.layers.3.self_attn.q_proj": the path of the module, without ".weight". */
export function projectionPath(layer: number, name: Projection): string {
  return `model.layers.${layer}.${ATTENTION_PROJECTIONS.includes(name) ? "self_attn" : "mlp"}.${name}`;
}

/** (out, in) of a projection's weight, as torch.nn.Linear stores it: y = x Wᵀ. */
export function projectionShape(config: ModelConfig, name: Projection): readonly [number, number] {
  const query = config.num_attention_heads * config.head_dim;
  const keyValue = config.num_key_value_heads * config.head_dim;
  switch (name) {
    case "q_proj":
      return [query, config.hidden_size];
    case "k_proj":
    case "v_proj":
      return [keyValue, config.hidden_size];
    case "o_proj":
      return [config.hidden_size, query];
    case "gate_proj":
    case "up_proj":
      return [config.intermediate_size, config.hidden_size];
    case "down_proj":
      return [config.hidden_size, config.intermediate_size];
  }
}

/** Patches of one picture = image tokens in front of the text; 0 for a text model. */
export function imageTokens(config: ModelConfig): number {
  return config.vision === null ? 0 : (config.vision.image_size / config.vision.patch_size) ** 2;
}

/**
 * Every tensor of the model: name (Llama's in Transformers) → shape, in the order of the forward pass.
 * Bundled model: model.vision_embed.weight (hidden, channels·patch·patch) multiplies a patch flattened as
 * (channel, row, column); .bias (hidden); .position (patches, hidden) is added per patch, patches row by row.
 */
export function tensorShapes(config: ModelConfig): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  const { hidden_size: hidden, vocab_size: vocabulary, vision } = config;
  const rules = ARCHITECTURES[config.architectures[0]];
  shapes.set("model.embed_tokens.weight", [vocabulary, hidden]);
  if (vision !== null) {
    shapes.set("model.vision_embed.weight", [hidden, vision.num_channels * vision.patch_size ** 2]);
    shapes.set("model.vision_embed.bias", [hidden]);
    shapes.set("model.vision_embed.position", [imageTokens(config), hidden]);
  }
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    for (const name of PROJECTIONS) shapes.set(`${projectionPath(layer, name)}.weight`, projectionShape(config, name));
    for (const [name, shape] of rules.layerNorms(config)) shapes.set(`model.layers.${layer}.${name}`, shape);
  }
  shapes.set("model.norm.weight", [hidden]);
  if (!config.tie_word_embeddings) shapes.set("lm_head.weight", [vocabulary, hidden]);
  return shapes;
}

/** Number of parameters; a tied head counts once. */
export function parameterCount(config: ModelConfig): number {
  let count = 0;
  for (const shape of tensorShapes(config).values()) count += shape.reduce((a, b) => a * b, 1);
  return count;
}

function readArchitecture(fields: Fields): Architecture {
  const value = fields.json.architectures;
  const name = Array.isArray(value) ? (value as unknown[])[0] : value;
  if (name === undefined || name === null) throw new InputError(`${fields.source}: "architectures" is missing`);
  if (typeof name !== "string" || !Object.hasOwn(ARCHITECTURES, name)) {
    throw new InputError(
      `${fields.source}: architecture ${describe(name)} is not supported; supported are ${SUPPORTED_ARCHITECTURES.join(", ")}`,
    );
  }
  return name as Architecture;
}

function refuseUnsupported(fields: Fields): void {
  for (const { field, fine, why } of UNSUPPORTED) {
    if (fields.has(field) && !fine.includes(fields.json[field])) {
      fields.fail(field, `asks for something that is not supported (${why})`, fields.json[field]);
    }
  }
  // Transformers 4 writes rope_scaling, Transformers 5 rope_parameters; the kind stands under rope_type, earlier type.
  for (const field of ["rope_scaling", "rope_parameters"]) {
    if (!fields.has(field)) continue;
    const rope = asObject(fields.json[field], `${fields.source}: "${field}"`);
    const kind = rope.rope_type ?? rope.type ?? "default";
    if (kind !== "default")
      fields.fail(field, `asks for rotary scaling of type ${describe(kind)}, which is not supported`, rope);
  }
}

function readRopeTheta(fields: Fields): number {
  if (fields.has("rope_parameters")) {
    const rope = new Fields(
      asObject(fields.json.rope_parameters, "rope_parameters"),
      `${fields.source}: rope_parameters`,
    );
    if (rope.has("rope_theta")) return rope.positive("rope_theta", LIMITS.theta);
  }
  return fields.positive("rope_theta", LIMITS.theta, 10000);
}

function readVision(fields: Fields): VisionConfig {
  if (!fields.has("vision")) throw new InputError(`${fields.source}: "vision" is missing`);
  const source = `${fields.source}: vision`;
  const vision = new Fields(asObject(fields.json.vision, source), source);
  const image_size = vision.count("image_size", 4096);
  const patch_size = vision.count("patch_size", 4096);
  if (image_size % patch_size !== 0) vision.fail("patch_size", `must divide image_size (${image_size})`, patch_size);
  return { image_size, patch_size, num_channels: vision.count("num_channels", 4) };
}

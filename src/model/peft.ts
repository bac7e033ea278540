/** LoRA adapters in PEFT's format: adapter_config.json and adapter_model.safetensors. */
import { sha256Hex } from "../base/hash.ts";
import { InputError } from "../base/input.ts";
import { type ModelConfig, PROJECTIONS, type Projection, projectionPath, projectionShape } from "./config.ts";
import { type Files, someOf } from "./hf.ts";
import { decodeUtf8, describe, Fields, parseObject } from "./json.ts";
import { readSafetensors, type Tensor, toFloat32, writeSafetensors } from "./safetensors.ts";

/** y = W x + scaling · B (A x), with A (r, in) and B (out, r) on every target projection of every layer. */
export interface LoraAdapter {
  readonly r: number;
  readonly alpha: number;
  /** alpha / r, or alpha / √r with use_rslora. */
  readonly scaling: number;
  readonly rslora: boolean;
  /** In the order of PROJECTIONS. */
  readonly targets: readonly Projection[];
  readonly baseModel: string | null;
  /** Module path, e.g. "model.layers.0.self_attn.q_proj" → its two matrices. Layer by layer, in the order of `targets`. */
  readonly tensors: ReadonlyMap<string, LoraPair>;
}

export interface LoraPair {
  readonly A: Tensor;
  readonly B: Tensor;
}

/** The two files, and the adapter's name in this project: SHA-256 of adapter_model.safetensors. */
export interface AdapterBytes {
  /** Text of adapter_config.json. */
  readonly config: string;
  /** Bytes of adapter_model.safetensors. */
  readonly adapter: Uint8Array<ArrayBuffer>;
  readonly hash: string;
}

export const ADAPTER_CONFIG = "adapter_config.json";
export const ADAPTER_WEIGHTS = "adapter_model.safetensors";

const MAX_RANK = 4096;
const MAX_ALPHA = 1e6;

/** PEFT features that change the result and are not computed here. Absent, null, false and empty are fine. */
const UNSUPPORTED = [
  "use_dora",
  "use_qalora",
  "use_bdlora",
  "modules_to_save",
  "rank_pattern",
  "alpha_pattern",
  "layers_to_transform",
  "layers_pattern",
  "layer_replication",
  "exclude_modules",
  "target_parameters",
  "trainable_token_indices",
  "fan_in_fan_out",
  "lora_bias",
  "megatron_config",
  "alora_invocation_tokens",
  "arrow_config",
] as const;

/** Initialisations that also change the base model's weights, so that the adapter does not fit the plain base. */
const BASE_CHANGING_INIT = /^(pissa|olora|corda|loftq)/;

/** α/r as PEFT, α/√r for rsLoRA (arXiv 2312.03732). */
export function loraScaling(r: number, alpha: number, rslora = false): number {
  return alpha / (rslora ? Math.sqrt(r) : r);
}

/** "all-linear", a name or a comma-separated list of the seven projections → projections in forward order. */
export function parseTargets(value: string | readonly string[], source = "target_modules"): Projection[] {
  const names = typeof value === "string" ? value.split(",").map((name) => name.trim()) : value;
  if (names.length === 1 && names[0] === "all-linear") return [...PROJECTIONS];
  if (names.length === 0)
    throw new InputError(`${source} is empty; name some of ${PROJECTIONS.join(", ")}, or all-linear`);
  for (const name of names) {
    if (!(PROJECTIONS as readonly string[]).includes(name)) {
      throw new InputError(
        `${source}: ${describe(name)} is not supported; supported are ${PROJECTIONS.join(", ")}, and all-linear`,
      );
    }
  }
  return PROJECTIONS.filter((name) => names.includes(name));
}

/** Reads a PEFT adapter's folder. Errors as `parseAdapter`. */
export async function loadAdapter(files: Files, model: ModelConfig): Promise<LoraAdapter> {
  const [config, weights] = [await files.read(ADAPTER_CONFIG), await files.read(ADAPTER_WEIGHTS)];
  const names = await files.list();
  const found = names.length === 0 ? "the folder is empty or does not exist" : `it has ${someOf(names)}`;
  if (config === null)
    throw new InputError(`${files.name} is not a PEFT adapter: it has no ${ADAPTER_CONFIG} (${found})`);
  if (weights === null)
    throw new InputError(`${files.name} is not a PEFT adapter: it has no ${ADAPTER_WEIGHTS} (${found})`);
  return parseAdapter(decodeUtf8(config, ADAPTER_CONFIG), weights, model, files.name);
}

/**
 * An adapter from the bytes of its two files, checked against the model it is for.
 * Throws an error that names the unsupported feature, or the missing, unexpected, misshaped or non-finite tensor.
 */
export function parseAdapter(
  configText: string,
  weights: Uint8Array,
  model: ModelConfig,
  source = "adapter",
): LoraAdapter {
  const fields = new Fields(parseObject(configText, `${source}: ${ADAPTER_CONFIG}`), `${source}: ${ADAPTER_CONFIG}`);
  const settings = readSettings(fields);
  const views = new Map(readSafetensors(weights, `${source}: ${ADAPTER_WEIGHTS}`).tensors);

  const tensors = new Map<string, LoraPair>();
  const missing: string[] = [];
  const take = (name: string, shape: readonly [number, number]): Tensor | null => {
    const view = views.get(name);
    if (view === undefined) {
      missing.push(name);
      return null;
    }
    views.delete(name);
    if (view.shape.length !== 2 || view.shape[0] !== shape[0] || view.shape[1] !== shape[1]) {
      throw new InputError(`${source}: [shape] ${name}: want (${shape.join(", ")}), got (${view.shape.join(", ")})`);
    }
    const data = toFloat32(view);
    const bad = data.findIndex((value) => !Number.isFinite(value));
    if (bad >= 0)
      throw new InputError(`${source}: ${name} has the value ${data[bad]} at element ${bad}: the adapter is damaged`);
    return { shape, data };
  };
  for (const [path, shapes] of adapterShapes(model, settings.r, settings.targets)) {
    const A = take(`base_model.model.${path}.lora_A.weight`, shapes.A);
    const B = take(`base_model.model.${path}.lora_B.weight`, shapes.B);
    if (A !== null && B !== null) tensors.set(path, { A, B });
  }
  if (missing.length > 0)
    throw new InputError(`${source}: the adapter lacks ${missing.length} tensors: ${someOf(missing)}`);
  if (views.size > 0) {
    throw new InputError(
      `${source}: the adapter has ${views.size} tensors that do not belong to this model: ${someOf([...views.keys()])}`,
    );
  }
  return { ...settings, tensors };
}

/** Module path → shapes of A (r, in) and B (out, r), layer by layer. */
export function adapterShapes(
  model: ModelConfig,
  r: number,
  targets: readonly Projection[],
): Map<string, { readonly A: readonly [number, number]; readonly B: readonly [number, number] }> {
  const shapes = new Map<string, { A: readonly [number, number]; B: readonly [number, number] }>();
  for (let layer = 0; layer < model.num_hidden_layers; layer++) {
    for (const name of targets) {
      const [rows, columns] = projectionShape(model, name);
      shapes.set(projectionPath(layer, name), { A: [r, columns], B: [rows, r] });
    }
  }
  return shapes;
}

function readSettings(fields: Fields): Omit<LoraAdapter, "tensors"> {
  const type = fields.text("peft_type");
  if (type !== "LORA") fields.fail("peft_type", 'must be "LORA", the only kind of adapter that is supported', type);
  for (const name of UNSUPPORTED) {
    if (!isOff(fields.json[name])) fields.fail(name, "asks for something that is not supported", fields.json[name]);
  }
  const bias = fields.text("bias", "none");
  if (bias !== "none") fields.fail("bias", 'must be "none": trained biases are not supported', bias);
  const task = fields.text("task_type", "CAUSAL_LM");
  if (task !== "CAUSAL_LM") fields.fail("task_type", 'must be "CAUSAL_LM"', task);
  const init = fields.json.init_lora_weights;
  if (typeof init === "string" && BASE_CHANGING_INIT.test(init)) {
    fields.fail(
      "init_lora_weights",
      "changes the base model's weights, which is not supported; convert the adapter to plain LoRA",
      init,
    );
  }
  const r = fields.count("r", MAX_RANK, 8);
  const alpha = fields.positive("lora_alpha", MAX_ALPHA, 8);
  const rslora = fields.flag("use_rslora", false);
  const where = `${fields.source}: "target_modules"`;
  const modules = fields.json.target_modules;
  const list = Array.isArray(modules) && modules.every((name) => typeof name === "string");
  if (typeof modules !== "string" && !list)
    throw new InputError(`${where} must be a list of names, found ${describe(modules)}`);
  return {
    r,
    alpha,
    rslora,
    scaling: loraScaling(r, alpha, rslora),
    targets: parseTargets(modules as string | string[], where),
    baseModel: fields.has("base_model_name_or_path") ? fields.text("base_model_name_or_path") : null,
  };
}

function isOff(value: unknown): boolean {
  if (value === undefined || value === null || value === false) return true;
  return typeof value === "object" && Object.keys(value).length === 0;
}

/**
 * The adapter's files as PEFT writes them (keys sorted, null for what is not set); PEFT loads them unchanged.
 * The same adapter gives the same bytes and so the same hash.
 */
export function writeAdapter(adapter: LoraAdapter): AdapterBytes {
  const config = {
    alpha_pattern: {},
    auto_mapping: null,
    base_model_name_or_path: adapter.baseModel,
    bias: "none",
    fan_in_fan_out: false,
    inference_mode: true,
    init_lora_weights: true,
    layers_pattern: null,
    layers_to_transform: null,
    lora_alpha: adapter.alpha,
    lora_dropout: 0,
    modules_to_save: null,
    peft_type: "LORA",
    r: adapter.r,
    rank_pattern: {},
    revision: null,
    target_modules: adapter.targets,
    task_type: "CAUSAL_LM",
    use_dora: false,
    use_rslora: adapter.rslora,
  };
  const text = `${JSON.stringify(config, null, 2)}\n`;
  const bytes = writeSafetensors(
    [...adapter.tensors].flatMap(([path, { A, B }]): [string, Tensor][] => [
      [`base_model.model.${path}.lora_A.weight`, A],
      [`base_model.model.${path}.lora_B.weight`, B],
    ]),
  );
  return { config: text, adapter: bytes, hash: sha256Hex(bytes) };
}

/** The judge's folder: config.json, image_encoder.onnx, text_encoder.onnx. */
import { sha256Hex } from "../base/hash.ts";
import { InputError, parseJson } from "../base/input.ts";
import type { Head } from "./measure.ts";
import type { Calibration } from "./metrics.ts";
import { createOnnxScorer, type OnnxJudge, type OnnxJudgeOptions } from "./onnx.ts";

export const CONFIG_FILE = "config.json";
export const IMAGE_FILE = "image_encoder.onnx";
export const TEXT_FILE = "text_encoder.onnx";

/** config.json of a judge. */
export interface JudgeConfig {
  readonly model_type: "autodidact-judge";
  /** P(right) = σ(slope · score + intercept), fitted on held-out pictures of world A. */
  readonly calibration: Readonly<Record<Head, Calibration>>;
  /** SHA-256 of the two encoders. */
  readonly files: Readonly<Record<typeof IMAGE_FILE | typeof TEXT_FILE, string>>;
}

export interface Judge extends OnnxJudge {
  readonly config: JudgeConfig;
  /** SHA-256 of config.json, which holds those of the encoders: names the judge in a run's manifest. */
  readonly hash: string;
}

/**
 * Opens the judge in a folder; `read` gives a file's bytes, or null if there is none.
 * Throws in plain words if a file is missing, damaged (its SHA-256 is not the one in config.json) or another model.
 */
export async function openJudge(
  read: (name: string) => Promise<Uint8Array | null>,
  options: Omit<OnnxJudgeOptions, "imageModel" | "textModel"> = {},
): Promise<Judge> {
  const need = async (name: string): Promise<Uint8Array> => {
    const bytes = await read(name);
    if (bytes === null) throw new InputError(`the judge has no file ${name}: make it with "autodidact pretrain-judge"`);
    return bytes;
  };
  const text = await need(CONFIG_FILE);
  const config = parseJudgeConfig(new TextDecoder().decode(text));
  const encoder = async (name: typeof IMAGE_FILE | typeof TEXT_FILE): Promise<Uint8Array> => {
    const bytes = await need(name);
    const hash = sha256Hex(bytes);
    if (hash !== config.files[name])
      throw new InputError(
        `the judge's ${name} is damaged: its SHA-256 is ${hash.slice(0, 12)}…, config.json says ${config.files[name].slice(0, 12)}…. Fetch it again.`,
      );
    return bytes;
  };
  const [imageModel, textModel] = [await encoder(IMAGE_FILE), await encoder(TEXT_FILE)];
  const scorer = await createOnnxScorer({ ...options, imageModel, textModel });
  return { ...scorer, config, hash: sha256Hex(text) };
}

/** config.json of a judge; throws an InputError that names the field. */
export function parseJudgeConfig(text: string): JudgeConfig {
  const source = "the judge's config.json";
  const config = parseJson(text, source) as Partial<JudgeConfig> | null;
  if (config?.model_type !== "autodidact-judge")
    throw new InputError(
      `${source} says model_type ${JSON.stringify(config?.model_type)?.slice(0, 80) ?? "nothing"}, wanted autodidact-judge`,
    );
  for (const name of [IMAGE_FILE, TEXT_FILE] as const)
    if (typeof config.files?.[name] !== "string") throw new InputError(`${source} has no SHA-256 of ${name}`);
  for (const head of ["onnx-image", "onnx-text"] as const) {
    const { slope, intercept } = config.calibration?.[head] ?? {};
    if (!Number.isFinite(slope) || !Number.isFinite(intercept))
      throw new InputError(`${source} has no calibration of ${head}`);
  }
  return config as JudgeConfig;
}

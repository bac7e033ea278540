/** The judge's folder: config.json, image_encoder.onnx, text_encoder.onnx. */
import { sha256Hex } from "../base/hash.ts";
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
    if (bytes === null) throw new Error(`the judge has no file ${name}: make it with "autodidact pretrain-judge"`);
    return bytes;
  };
  const text = await need(CONFIG_FILE);
  const config = parseConfig(new TextDecoder().decode(text));
  const encoder = async (name: typeof IMAGE_FILE | typeof TEXT_FILE): Promise<Uint8Array> => {
    const bytes = await need(name);
    const hash = sha256Hex(bytes);
    if (hash !== config.files[name])
      throw new Error(
        `the judge's ${name} is damaged: its SHA-256 is ${hash.slice(0, 12)}…, config.json says ${config.files[name].slice(0, 12)}…. Fetch it again.`,
      );
    return bytes;
  };
  const [imageModel, textModel] = [await encoder(IMAGE_FILE), await encoder(TEXT_FILE)];
  const scorer = await createOnnxScorer({ ...options, imageModel, textModel });
  return { ...scorer, config, hash: sha256Hex(text) };
}

function parseConfig(text: string): JudgeConfig {
  let config: Partial<JudgeConfig> | null;
  try {
    config = JSON.parse(text) as Partial<JudgeConfig> | null;
  } catch (cause) {
    throw new Error(`the judge's config.json is no JSON: ${(cause as Error).message}`, { cause });
  }
  if (config?.model_type !== "autodidact-judge")
    throw new Error(`the judge's config.json says model_type ${String(config?.model_type)}, wanted autodidact-judge`);
  for (const name of [IMAGE_FILE, TEXT_FILE] as const)
    if (typeof config.files?.[name] !== "string") throw new Error(`the judge's config.json has no SHA-256 of ${name}`);
  for (const head of ["onnx-image", "onnx-text"] as const)
    if (typeof config.calibration?.[head]?.slope !== "number")
      throw new Error(`the judge's config.json has no calibration of ${head}`);
  return config as JudgeConfig;
}

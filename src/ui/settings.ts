import { type Contour, defaultContour, type JudgeRule } from "../base/contour.ts";
import type { PowerPreference, StartOptions } from "../worker/api.ts";

export type Theme = "auto" | "light" | "dark";

/** What a visitor can choose; everything else is the default contour's. */
export interface Settings {
  readonly rounds: number;
  readonly seed: number;
  readonly judge: JudgeRule;
  readonly gate: boolean;
  readonly gentle: boolean;
  readonly powerPreference: PowerPreference;
  readonly theme: Theme;
}

export const defaultSettings: Settings = {
  rounds: defaultContour.rounds,
  seed: 0,
  judge: defaultContour.judge.rule,
  gate: defaultContour.gate.on,
  gentle: false,
  powerPreference: "high-performance",
  theme: "auto",
};

export const judgeRules: readonly JudgeRule[] = ["default", "pixels", "onnx", "self", "majority", "random", "gold"];

/** The settings in a stored text; whatever is missing or not valid there is the default. */
export function readSettings(text: string | null): Settings {
  let stored: Record<string, unknown> = {};
  try {
    const value: unknown = JSON.parse(text ?? "{}");
    if (value && typeof value === "object") stored = value as Record<string, unknown>;
  } catch {
    return defaultSettings;
  }
  const among = <T>(value: unknown, options: readonly T[], otherwise: T): T =>
    options.includes(value as T) ? (value as T) : otherwise;
  return {
    rounds: validRounds(stored.rounds) ? stored.rounds : defaultSettings.rounds,
    seed: validSeed(stored.seed) ? stored.seed : defaultSettings.seed,
    judge: among(stored.judge, judgeRules, defaultSettings.judge),
    gate: among(stored.gate, [true, false], defaultSettings.gate),
    gentle: among(stored.gentle, [true, false], defaultSettings.gentle),
    powerPreference: among<PowerPreference>(
      stored.powerPreference,
      ["high-performance", "low-power"],
      defaultSettings.powerPreference,
    ),
    theme: among<Theme>(stored.theme, ["auto", "light", "dark"], defaultSettings.theme),
  };
}

export const validRounds = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 1 && (value as number) <= 500;
export const validSeed = (value: unknown): value is number =>
  Number.isInteger(value) && (value as number) >= 0 && (value as number) <= 0xffffffff;

/** The contour that the settings describe. */
export function contourOf(settings: Settings): Contour {
  return {
    ...defaultContour,
    rounds: settings.rounds,
    judge: { ...defaultContour.judge, rule: settings.judge },
    gate: { ...defaultContour.gate, on: settings.gate },
  };
}

/** What `start` needs of the settings. */
export function startOptions(settings: Settings): StartOptions {
  const { rounds, seed, powerPreference, gentle } = settings;
  return { contour: contourOf(settings), rounds, seed, powerPreference, gentle };
}

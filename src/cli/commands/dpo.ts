import type { PackedRow } from "../../model/packing.ts";
import type { LoraAdapter } from "../../model/peft.ts";
import { type PreferenceIds, parsePreference } from "../../model/rows.ts";
import type { LossType } from "../../ops/preference.ts";
import { placeAdapter } from "../../train/adapter.ts";
import { splitRows } from "../../train/batches.ts";
import { metricsOf } from "../../train/engine.ts";
import type { Group, LossSettings } from "../../train/groups.ts";
import { Scorer } from "../../train/step.ts";
import { defineCommand, UsageError } from "../args.ts";
import { checkRows, type NamedRow, type OnGpu, readInputs, readRows, withModel } from "../model.ts";
import { dataOptions, modelOptions, preferenceOptions, trainingOptions } from "../options.ts";
import { readTargets, startingAdapter, train } from "../training.ts";

/** A pair with its prompt computed once, and log π₀ of chosen and rejected. */
interface PreferenceRow extends NamedRow {
  readonly reference: readonly [chosen: number, rejected: number];
}

const asRow = ({ prompt_ids, chosen_ids, rejected_ids }: PreferenceIds): PackedRow => ({
  picture: null,
  prompt: prompt_ids,
  answers: [chosen_ids, rejected_ids],
});

/** `autodidact dpo`: a LoRA adapter trained on preferences, as TRL's DPOTrainer does it. */
export const dpo = defineCommand({
  name: "dpo",
  summary: "train an adapter on preferences",
  options: { ...modelOptions, ...dataOptions, ...trainingOptions, ...preferenceOptions },
  example:
    "autodidact dpo --model smollm2-135m --data preferences.jsonl --out adapter --steps 100 --metrics metrics.jsonl",
  async run({ values, json, out }) {
    const settings = lossSettings(values);
    readTargets(values["target-modules"]);
    const { model, adapter } = await readInputs(values);
    const rows = (await readRows(values.data, model, parsePreference)).map(({ where, value }) => ({
      where,
      row: asRow(value),
    }));
    const start = startingAdapter(values, model, adapter);
    await withModel(model, async (on) => {
      checkRows(on, rows);
      const referenced = await withReference(on, rows, values.reference === "base" ? null : adapter);
      const recipe = {
        rows: referenced,
        settings,
        groups: (batch: readonly PreferenceRow[]) => groupsOf(on, batch),
        metrics: (step: number, result: Parameters<typeof metricsOf>[2], batch: readonly PreferenceRow[]) =>
          metricsOf(step, values["learning-rate"], { ...result, sums: [result.sums.flat()] }, batch.length),
      };
      await train(on, start, values, recipe, out, json);
    });
  },
});

interface LossValues {
  readonly "loss-type": string;
  readonly "label-smoothing": number;
  readonly beta: number;
}

function lossSettings({ "loss-type": type, "label-smoothing": labelSmoothing, beta }: LossValues): LossSettings {
  if (beta === 0) throw new UsageError("--beta must be greater than 0");
  if (labelSmoothing >= 0.5) throw new UsageError("--label-smoothing must be below 0.5");
  if (labelSmoothing > 0 && type !== "robust") throw new UsageError("--label-smoothing goes with --loss-type robust");
  return { type: type as LossType, beta, labelSmoothing };
}

/** Adds the log-probs of the reference to every row, once: the given adapter as it stands, null: the base. */
async function withReference(
  on: OnGpu,
  rows: readonly NamedRow[],
  adapter: LoraAdapter | null,
): Promise<PreferenceRow[]> {
  const lora = adapter === null ? null : placeAdapter(on.runtime, on.weights, adapter, "reference");
  const scorer = new Scorer(on.runtime, on.weights, lora === null ? {} : { lora }, on.pace);
  const referenced: PreferenceRow[] = [];
  for (const group of splitRows(on.weights.config, rows, on.budget)) {
    const answers = await scorer.tokens(group.map(({ row }) => row));
    for (const [i, row] of group.entries()) {
      const [chosen, rejected] = answers[i] as [number[], number[]];
      referenced.push({ ...row, reference: [sum(chosen), sum(rejected)] });
    }
  }
  await scorer.destroy();
  lora?.destroy();
  return referenced;
}

/** Added up in f32, as the loss does it: at the start the rewards are exactly 0. */
const sum = (values: readonly number[]): number => values.reduce((a, b) => Math.fround(a + b), 0);

function groupsOf({ weights, budget }: OnGpu, batch: readonly PreferenceRow[]): Group[] {
  return splitRows(weights.config, batch, budget).map((group) => ({
    rows: group.map(({ row }) => row),
    pairs: group.length,
    reference: group.flatMap(({ reference }) => reference),
    sft: group.flatMap(() => [0, 0]),
    weight: 1 / batch.length,
  }));
}

import type { PackedRow } from "../../model/packing.ts";
import { type PreferenceIds, parsePreference } from "../../model/rows.ts";
import type { LossType } from "../../ops/preference.ts";
import { splitRows } from "../../train/batches.ts";
import { metricsOf } from "../../train/engine.ts";
import type { Group, LossSettings } from "../../train/groups.ts";
import { defineCommand, UsageError } from "../args.ts";
import { checkRows, type NamedRow, type Room, readInputs, readRows, withModel } from "../model.ts";
import { dataOptions, modelOptions, preferenceOptions, trainingOptions } from "../options.ts";
import { Reference } from "../reference.ts";
import { dryRun, readTargets, startingAdapter, train } from "../training.ts";

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
    if (values["dry-run"]) {
      const unscored = rows.map((row): PreferenceRow => ({ ...row, reference: [0, 0] }));
      return dryRun({ model, start, values, rows: unscored, groups: groupsOf }, out);
    }
    await withModel(model, values.dtype, async (on) => {
      checkRows(on, rows);
      const reference = new Reference(on, values.reference === "base" ? null : adapter);
      const sums = await reference.sums(rows.map(({ row }) => row));
      await reference.destroy();
      const recipe = {
        rows: rows.map((row, i): PreferenceRow => ({ ...row, reference: sums[i] as [number, number] })),
        settings,
        groups: (batch: readonly PreferenceRow[], whole: readonly PreferenceRow[]) => groupsOf(on, batch, whole),
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

function groupsOf({ config, budget }: Room, batch: readonly PreferenceRow[], whole: readonly PreferenceRow[]): Group[] {
  return splitRows(config, batch, budget).map((group) => ({
    rows: group.map(({ row }) => row),
    pairs: group.length,
    reference: group.flatMap(({ reference }) => reference),
    sft: group.flatMap(() => [0, 0]),
    weight: 1 / whole.length,
  }));
}

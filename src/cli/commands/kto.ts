import { parseUnpaired, type UnpairedIds } from "../../model/rows.ts";
import { splitRows } from "../../train/batches.ts";
import type { Group, LossSettings } from "../../train/groups.ts";
import type { StepResult } from "../../train/step.ts";
import { defineCommand, UsageError } from "../args.ts";
import { checkRows, type NamedRow, type Room, readInputs, readRows, withModel } from "../model.ts";
import { betaOption, dataOptions, modelOptions, referenceOption, trainingOptions } from "../options.ts";
import { Reference } from "../reference.ts";
import { dryRun, readTargets, startingAdapter, train } from "../training.ts";

/** A judged answer, and its log π₀. */
interface JudgedRow extends NamedRow {
  readonly label: boolean;
  readonly reference: number;
}

/** KTO has no pairs; its groups carry their own β. */
const NO_PAIRS: LossSettings = { type: "sigmoid", beta: 0, labelSmoothing: 0 };

/** Stands for a reference where only the shapes of groups matter. */
const ZEROS: Pick<Reference, "sums"> = { sums: async (rows) => rows.map(({ answers }) => answers.map(() => 0)) };

const asRow = ({ prompt_ids, completion_ids }: UnpairedIds) => ({
  picture: null,
  prompt: prompt_ids,
  answers: [completion_ids],
});

/** `autodidact kto`: a LoRA adapter trained on answers that are each good or bad, as TRL's KTOTrainer does it. */
export const kto = defineCommand({
  name: "kto",
  summary: "train an adapter on answers marked good or bad",
  options: {
    ...modelOptions,
    ...dataOptions,
    ...trainingOptions,
    ...betaOption,
    "desirable-weight": { type: "number", help: "weight of the losses of good answers", default: 1, min: 0 },
    "undesirable-weight": { type: "number", help: "weight of the losses of bad answers", default: 1, min: 0 },
    ...referenceOption,
  },
  example: "autodidact kto --model smollm2-135m --data thumbs.jsonl --out adapter --steps 100",
  async run({ values, json, out }) {
    if (values.beta === 0) throw new UsageError("--beta must be greater than 0");
    if (values["batch-size"] < 2)
      throw new UsageError(
        "--batch-size must be at least 2: the divergence is estimated with the answers of other rows",
      );
    readTargets(values["target-modules"]);
    const { model, adapter } = await readInputs(values);
    const rows = (await readRows(values.data, model, parseUnpaired)).map(({ where, value }) => ({
      where,
      row: asRow(value),
      label: value.label,
    }));
    const start = startingAdapter(values, model, adapter);
    const weights = { good: values["desirable-weight"], bad: values["undesirable-weight"] };
    if (values["dry-run"]) {
      const unscored = rows.map((row): JudgedRow => ({ ...row, reference: 0 }));
      const groups = (room: Room, batch: readonly JudgedRow[], whole: readonly JudgedRow[]) =>
        groupsOf(room, ZEROS, batch, whole.length, values.beta, weights);
      out.note("the plan of the reference, forward only, comes on top");
      return dryRun({ model, start, values, rows: unscored, groups }, out);
    }
    await withModel(model, values.dtype, async (on) => {
      checkRows(on, rows);
      const reference = new Reference(on, values.reference === "base" ? null : adapter);
      const sums = await reference.sums(rows.map(({ row }) => row));
      const judged = rows.map((row, i): JudgedRow => ({ ...row, reference: (sums[i] as number[])[0] as number }));
      const recipe = {
        rows: judged,
        settings: NO_PAIRS,
        groups: (batch: readonly JudgedRow[], whole: readonly JudgedRow[]) =>
          groupsOf(on, reference, batch, whole.length, values.beta, weights),
        metrics: (step: number, result: StepResult, batch: readonly JudgedRow[]) =>
          metricsOf(step, values["learning-rate"], result, batch),
      };
      await train(on, start, values, recipe, out, json);
      await reference.destroy();
    });
  },
});

/** The batch, behind the same prompts with the answer of the row before: what the divergence is estimated from. */
async function groupsOf(
  { config, budget }: Room,
  reference: Pick<Reference, "sums">,
  batch: readonly JudgedRow[],
  size: number,
  beta: number,
  weights: { readonly good: number; readonly bad: number },
): Promise<Group[]> {
  const mismatched = batch.map(({ row }, i) => ({
    row: { ...row, answers: (batch.at(i - 1) as JudgedRow).row.answers },
  }));
  const sums = await reference.sums(mismatched.map(({ row }) => row));
  const divergence = splitRows(
    config,
    mismatched.map(({ row }, i) => ({ row, reference: (sums[i] as number[])[0] as number })),
    budget,
  ).map(
    (group): Group => ({
      kind: "kto-divergence",
      rows: group.map(({ row }) => row),
      reference: group.map((one) => one.reference),
      weight: 1 / batch.length,
    }),
  );
  const judged = splitRows(config, batch, budget).map(
    (group): Group => ({
      kind: "kto",
      rows: group.map(({ row }) => row),
      label: group.map(({ label }) => (label ? 1 : -1)),
      reference: group.map((one) => one.reference),
      weight: group.map(({ label }) => (label ? weights.good : weights.bad) / size),
      beta,
    }),
  );
  return [...divergence, ...judged];
}

const mean = (values: readonly number[]): number =>
  values.length === 0 ? 0 : values.reduce((a, b) => a + b, 0) / values.length;

/** TRL's names; a label without rows in the batch has 0. */
function metricsOf(step: number, learningRate: number, result: StepResult, batch: readonly JudgedRow[]) {
  const answers = result.answers.map(({ reward }, i) => {
    const { label, reference } = batch[i] as JudgedRow;
    return { label, reward, reference };
  });
  const of = (label: boolean) => mean(answers.filter((one) => one.label === label).map(({ reward }) => reward));
  const chosen = of(true);
  const rejected = of(false);
  return {
    step,
    loss: result.loss,
    kl: Math.max(0, result.divergence ?? 0),
    "rewards/chosen": chosen,
    "rewards/rejected": rejected,
    "rewards/margins": chosen - rejected,
    grad_norm: result.gradNorm,
    learning_rate: learningRate,
  };
}

import type { PackedRow } from "../../model/packing.ts";
import { type AnswerGroupIds, parseAnswerGroup } from "../../model/rows.ts";
import { GRPO_LOSS_TYPES, type GrpoLossType, groupAdvantages, tokenWeights } from "../../ops/grpo.ts";
import { splitRows } from "../../train/batches.ts";
import type { Group, LossSettings } from "../../train/groups.ts";
import type { StepResult } from "../../train/step.ts";
import { defineCommand } from "../args.ts";
import { checkRows, type NamedRow, type Room, readInputs, readRows, withModel } from "../model.ts";
import { dataOptions, modelOptions, referenceOption, trainingOptions } from "../options.ts";
import { Reference } from "../reference.ts";
import { dryRun, readTargets, startingAdapter, train } from "../training.ts";

/** A prompt with its answers, what each earned, and their tokens' log-probs under the sampling policy and the reference. */
interface AnswersRow extends NamedRow {
  readonly rewards: readonly number[];
  readonly advantage: readonly number[];
  readonly old: readonly (readonly number[])[];
  readonly reference: readonly (readonly number[])[];
}

/** GRPO has no pairs; its groups carry what their loss needs. */
const NO_PAIRS: LossSettings = { type: "sigmoid", beta: 0, labelSmoothing: 0 };

const asRow = ({ prompt_ids, completion_ids }: AnswerGroupIds): PackedRow => ({
  picture: null,
  prompt: prompt_ids,
  answers: completion_ids,
});

/** `autodidact grpo`: a LoRA adapter trained on groups of answers with rewards, with the loss of TRL's GRPOTrainer. */
export const grpo = defineCommand({
  name: "grpo",
  summary: "train an adapter on groups of answers with rewards",
  options: {
    ...modelOptions,
    ...dataOptions,
    ...trainingOptions,
    "loss-type": {
      type: "text",
      value: "NAME",
      help: "how token losses are averaged, as TRL names it",
      default: "dapo",
      choices: GRPO_LOSS_TYPES,
    },
    beta: { type: "number", help: "weight of the divergence from the reference", default: 0, min: 0 },
    epsilon: { type: "number", help: "the ratio of probabilities is clipped below 1 − epsilon", default: 0.2, min: 0 },
    "epsilon-high": { type: "number", help: "… and above 1 + this (by default epsilon)", min: 0 },
    "scale-rewards": {
      type: "text",
      value: "HOW",
      help: "group: divide advantages by their group's deviation",
      default: "group",
      choices: ["group", "none"],
    },
    "max-completion-length": { type: "whole", help: "what dr_grpo divides by", default: 256, min: 1 },
    ...referenceOption,
  },
  example: "autodidact grpo --model smollm2-135m --data groups.jsonl --out adapter --steps 100",
  async run({ values, json, out }) {
    readTargets(values["target-modules"]);
    const { model, adapter } = await readInputs(values);
    const rows = (await readRows(values.data, model, parseAnswerGroup)).map(({ where, value }) => ({
      where,
      row: asRow(value),
      rewards: value.rewards,
      advantage: groupAdvantages(value.rewards, values["scale-rewards"] === "group"),
    }));
    const start = startingAdapter(values, model, adapter);
    const settings = {
      type: values["loss-type"] as GrpoLossType,
      maxLength: values["max-completion-length"],
      beta: values.beta,
      low: values.epsilon,
      high: values["epsilon-high"] ?? values.epsilon,
    };
    if (values["dry-run"]) {
      const unscored = rows.map((row): AnswersRow => ({ ...row, old: [], reference: [] }));
      const groups = (room: Room, batch: readonly AnswersRow[], whole: readonly AnswersRow[]) =>
        groupsOf(room, batch, whole, settings);
      return dryRun({ model, start, values, rows: unscored, groups }, out);
    }
    await withModel(model, values.dtype, async (on) => {
      checkRows(on, rows);
      const packed = rows.map(({ row }) => row);
      const policy = new Reference(on, adapter);
      const old = await policy.tokens(packed);
      await policy.destroy();
      const base = values.reference === "base" && adapter !== null && values.beta > 0 ? new Reference(on, null) : null;
      const reference = base === null ? old : await base.tokens(packed);
      await base?.destroy();
      const recipe = {
        rows: rows.map(
          (row, i): AnswersRow => ({ ...row, old: old[i] as number[][], reference: reference[i] as number[][] }),
        ),
        settings: NO_PAIRS,
        groups: (batch: readonly AnswersRow[], whole: readonly AnswersRow[]) => groupsOf(on, batch, whole, settings),
        metrics: (step: number, result: StepResult, batch: readonly AnswersRow[]) =>
          metricsOf(step, values["learning-rate"], result, batch),
      };
      await train(on, start, values, recipe, out, json);
    });
  },
});

interface GrpoSettings {
  readonly type: GrpoLossType;
  readonly maxLength: number;
  readonly beta: number;
  readonly low: number;
  readonly high: number;
}

function groupsOf(
  { config, budget }: Room,
  batch: readonly AnswersRow[],
  whole: readonly AnswersRow[],
  { type, maxLength, beta, low, high }: GrpoSettings,
): Group[] {
  const lengths = (rows: readonly NamedRow[]) => rows.flatMap(({ row }) => row.answers.map((answer) => answer.length));
  // The weight of an answer's tokens depends on its own length and on what the whole batch holds.
  const all = lengths(whole);
  const byLength = new Map(tokenWeights(type, all, maxLength).map((weight, s) => [all[s] as number, weight]));
  return splitRows(config, batch, budget).map((group) => ({
    kind: "grpo",
    rows: group.map(({ row }) => row),
    advantage: group.flatMap(({ advantage }) => advantage),
    weight: lengths(group).map((length) => byLength.get(length) as number),
    old: group.flatMap((row) => row.old),
    reference: group.flatMap((row) => row.reference),
    beta,
    low,
    high,
  }));
}

const mean = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0) / values.length;

/** TRL's names; `reward_std` is the mean of the groups' deviations. */
function metricsOf(step: number, learningRate: number, result: StepResult, batch: readonly AnswersRow[]) {
  const deviation = (rewards: readonly number[]) =>
    rewards.length < 2
      ? 0
      : Math.sqrt(rewards.reduce((sum, r) => sum + (r - mean(rewards)) ** 2, 0) / (rewards.length - 1));
  const { kl, clipped, count } = result.tokens;
  return {
    step,
    loss: result.loss,
    reward: mean(batch.flatMap(({ rewards }) => rewards)),
    reward_std: mean(batch.map(({ rewards }) => deviation(rewards))),
    kl: kl / count,
    "clip_ratio/region_mean": clipped / count,
    grad_norm: result.gradNorm,
    learning_rate: learningRate,
  };
}

import type { PackedRow } from "../../model/packing.ts";
import { type CompletionIds, parseCompletion } from "../../model/rows.ts";
import { splitRows } from "../../train/batches.ts";
import type { Group, LossSettings } from "../../train/groups.ts";
import type { StepResult } from "../../train/step.ts";
import { defineCommand } from "../args.ts";
import { checkRows, type NamedRow, type Room, readInputs, readRows, withModel } from "../model.ts";
import { dataOptions, modelOptions, trainingOptions } from "../options.ts";
import { dryRun, readTargets, startingAdapter, train } from "../training.ts";

const asRow = ({ prompt_ids, completion_ids }: CompletionIds): PackedRow => ({
  picture: null,
  prompt: prompt_ids,
  answers: [completion_ids],
});

/** No preferences: the loss is the likelihood term alone. */
const LIKELIHOOD: LossSettings = { type: "sigmoid", beta: 0, labelSmoothing: 0 };

/** `autodidact sft`: a LoRA adapter trained on completions, as TRL's SFTTrainer does it with completion_only_loss. */
export const sft = defineCommand({
  name: "sft",
  summary: "train an adapter on completions",
  options: { ...modelOptions, ...dataOptions, ...trainingOptions },
  example: "autodidact sft --model smollm2-135m --data completions.jsonl --out adapter --steps 100",
  async run({ values, json, out }) {
    readTargets(values["target-modules"]);
    const { model, adapter } = await readInputs(values);
    const rows = (await readRows(values.data, model, parseCompletion)).map(({ where, value }) => ({
      where,
      row: asRow(value),
    }));
    const start = startingAdapter(values, model, adapter);
    if (values["dry-run"]) return dryRun({ model, start, values, rows, groups: groupsOf }, out);
    let seen = 0;
    await withModel(model, values.dtype, async (on) => {
      checkRows(on, rows);
      const recipe = {
        rows,
        settings: LIKELIHOOD,
        groups: (batch: readonly NamedRow[], whole: readonly NamedRow[]) => groupsOf(on, batch, whole),
        metrics: (step: number, { loss, gradNorm }: StepResult, batch: readonly NamedRow[]) => {
          seen += batch.reduce((total, { row }) => total + row.prompt.length + completionTokens(row), 0);
          return { step, loss, grad_norm: gradNorm, learning_rate: values["learning-rate"], num_tokens: seen };
        },
      };
      await train(on, start, values, recipe, out, json);
    });
  },
});

const completionTokens = ({ answers }: PackedRow): number =>
  answers.reduce((total, answer) => total + answer.length, 0);

/** Mean of −log p over all completion tokens of the whole batch. */
function groupsOf({ config, budget }: Room, batch: readonly NamedRow[], whole: readonly NamedRow[]): Group[] {
  const tokens = whole.reduce((total, { row }) => total + completionTokens(row), 0);
  return splitRows(config, batch, budget).map((group) => ({
    rows: group.map(({ row }) => row),
    pairs: 0,
    reference: group.map(() => 0),
    sft: group.map(() => 1 / tokens),
  }));
}

import type { PackedRow } from "../../model/packing.ts";
import { parseSequence } from "../../model/rows.ts";
import { placeAdapter } from "../../train/adapter.ts";
import { splitRows } from "../../train/batches.ts";
import { Scorer } from "../../train/step.ts";
import { defineCommand } from "../args.ts";
import { checkRows, readInputs, readRows, withModel } from "../model.ts";
import { dataOptions, dtypeOption, modelOptions } from "../options.ts";

/** The first token is the prompt, the rest one answer: n tokens give n − 1 log-probs. */
const asRow = (tokens: readonly number[]): PackedRow => ({
  picture: null,
  prompt: tokens.slice(0, 1),
  answers: [tokens.slice(1)],
});

/** An f32 in the fewest digits that name it for certain. */
const single = (value: number): number => Number(value.toPrecision(9));

/** `autodidact logprobs`: log p(token i+1 | tokens ≤ i) of every line, in natural logarithms. */
export const logprobs = defineCommand({
  name: "logprobs",
  summary: "log-probability of every token of every line",
  options: { ...modelOptions, ...dataOptions, ...dtypeOption },
  example: "autodidact logprobs --model smollm2-135m --data sequences.jsonl",
  async run({ values, out }) {
    const { model, adapter } = await readInputs(values);
    const sequences = await readRows(values.data, model, parseSequence);
    // A sequence of one token has no log-prob: it takes no part, and its line is an empty list.
    const rows = sequences.flatMap(({ where, value }, line) =>
      value.length > 1 ? [{ where, line, row: asRow(value) }] : [],
    );
    await withModel(model, values.dtype, async (on) => {
      checkRows(on, rows);
      const lora = adapter === null ? null : placeAdapter(on.runtime, on.weights, adapter, "adapter");
      const scorer = new Scorer(on.runtime, on.weights, lora === null ? {} : { lora }, on.pace);
      let next = 0;
      const printEmptyUpTo = (line: number) => {
        for (; next < line; next++) out.result({ logprobs: [] });
      };
      for (const group of splitRows(model.config, rows, on.budget)) {
        const answers = await scorer.tokens(group.map(({ row }) => row));
        for (const [i, { line }] of group.entries()) {
          printEmptyUpTo(line);
          const [values] = answers[i] as [number[]];
          out.result({ logprobs: values.map(single) });
          next = line + 1;
        }
      }
      printEmptyUpTo(sequences.length);
      await scorer.destroy();
      lora?.destroy();
    });
  },
});

/** The reference of dpo, kto and grpo: log-probs under a model that does not change. */
import type { PackedRow } from "../model/packing.ts";
import type { LoraAdapter } from "../model/peft.ts";
import type { LoraWeights } from "../model/weights.ts";
import { placeAdapter } from "../train/adapter.ts";
import { splitRows } from "../train/batches.ts";
import { Scorer } from "../train/step.ts";
import type { OnGpu } from "./model.ts";

export class Reference {
  private readonly on: OnGpu;
  private readonly lora: LoraWeights | null;
  private readonly scorer: Scorer;

  /** The given adapter as it stands, null: the base. */
  constructor(on: OnGpu, adapter: LoraAdapter | null) {
    this.on = on;
    this.lora = adapter === null ? null : placeAdapter(on.runtime, on.weights, adapter, "reference");
    this.scorer = new Scorer(on.runtime, on.weights, this.lora === null ? {} : { lora: this.lora }, on.pace);
  }

  /** Per row, per answer: log-probabilities of its tokens. */
  async tokens(rows: readonly PackedRow[]): Promise<number[][][]> {
    const { weights, budget } = this.on;
    const found: number[][][] = [];
    const named = rows.map((row) => ({ row }));
    for (const group of splitRows(weights.config, named, budget))
      found.push(...(await this.scorer.tokens(group.map(({ row }) => row))));
    return found;
  }

  /** Per row: log-probability of every answer, added up in f32 as the loss does it: at the start rewards are exactly 0. */
  async sums(rows: readonly PackedRow[]): Promise<number[][]> {
    const sum = (values: readonly number[]): number => values.reduce((a, b) => Math.fround(a + b), 0);
    return (await this.tokens(rows)).map((answers) => answers.map(sum));
  }

  async destroy(): Promise<void> {
    await this.scorer.destroy();
    this.lora?.destroy();
  }
}

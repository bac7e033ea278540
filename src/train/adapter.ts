/** A LoRA adapter in training on a frozen model: its factors, gradients and moments on the GPU, and the steps. */
import type { Pace } from "../gpu/plan.ts";
import type { LoraAdapter } from "../model/peft.ts";
import { type FlatTensors, LoraWeights, type ModelWeights, type Runtime } from "../model/weights.ts";
import type { Group, LossSettings } from "./groups.ts";
import { type Hyper, type StepResult, Trainer, type TrainerOptions } from "./step.ts";

/** An adapter's factors on the GPU, not merged into the weights. */
export function placeAdapter(
  runtime: Runtime,
  weights: ModelWeights,
  adapter: LoraAdapter,
  label: string,
): LoraWeights {
  const lora = new LoraWeights(runtime, weights.config, adapter, label);
  lora.flat.writeAll(lora.pack(adapter));
  return lora;
}

export class AdapterTraining {
  private readonly start: LoraAdapter;
  private readonly lora: LoraWeights;
  private readonly m: FlatTensors;
  private readonly v: FlatTensors;
  private readonly trainer: Trainer;
  private begun = 0;
  private done = 0;

  constructor(runtime: Runtime, weights: ModelWeights, start: LoraAdapter, pace?: Pace, options: TrainerOptions = {}) {
    this.start = start;
    this.lora = placeAdapter(runtime, weights, start, "adapter");
    const { flat } = this.lora;
    const grads = flat.like("gradients");
    this.lora.grads = grads;
    this.m = flat.like("m");
    this.v = flat.like("v");
    this.trainer = new Trainer(
      runtime,
      weights,
      { lora: this.lora, values: this.lora.flat, grads, m: this.m, v: this.v },
      pace,
      options,
    );
  }

  /** Steps that were taken. */
  get steps(): number {
    return this.done;
  }

  /**
   * One step of AdamW over one or more micro-batches. A result that is not finite has changed nothing and does not count.
   * The next step may be asked for before this one's result is there: see `stepsAhead`.
   */
  async step(
    batches: readonly (readonly Group[])[],
    settings: LossSettings,
    hyper: Omit<Hyper, "step">,
  ): Promise<StepResult> {
    const numbers = { ...hyper, step: ++this.begun };
    const [first, ...others] = batches;
    const result =
      first && others.length === 0
        ? await this.trainer.step(first, settings, numbers)
        : await this.trainer.accumulate(batches, settings, numbers);
    if (result.finite) this.done++;
    else this.begun = this.done;
    return result;
  }

  /** The adapter as it stands. */
  async adapter(): Promise<LoraAdapter> {
    return { ...this.start, tensors: this.lora.unpack(await this.lora.flat.read()) };
  }

  async destroy(): Promise<void> {
    await this.trainer.destroy();
    this.m.destroy();
    this.v.destroy();
    this.lora.destroy();
  }
}

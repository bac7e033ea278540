/** Options that several commands share; a command lists those it needs in its own table. */
import { DTYPES } from "../model/config.ts";
import type { Options } from "./args.ts";

/** The model to run, and an adapter on top of it. */
export const modelOptions = {
  model: { type: "text", value: "DIR", help: "model folder in Hugging Face's layout", required: true },
  adapter: { type: "text", value: "DIR", help: "PEFT adapter on top of the model" },
} as const satisfies Options;

/** How the model that is run, or that an adapter is trained on, is held. */
export const dtypeOption = {
  dtype: {
    type: "text",
    value: "NAME",
    help: "the model's matrices on the GPU: float16 takes half the memory of float32; computed in f32 either way",
    default: "float32",
    choices: DTYPES,
  },
} as const satisfies Options;

/** Rows to read. */
export const dataOptions = {
  data: { type: "text", value: "FILE.jsonl", help: "rows, one JSON object a line", required: true },
} as const satisfies Options;

export const seedOption = {
  seed: { type: "whole", help: "seed of everything that is drawn at random", default: 0, min: 0 },
} as const satisfies Options;

/** How to continue a prompt. */
export const samplingOptions = {
  "max-new": { type: "whole", help: "new tokens at most", required: true, min: 1 },
  temperature: { type: "number", help: "0: always the most probable token", default: 0, min: 0 },
  "top-k": { type: "whole", help: "sample among the k most probable tokens, 0: all", default: 0, min: 0 },
  "top-p": {
    type: "number",
    help: "sample among the most probable tokens of this total probability",
    default: 1,
    min: 0,
    max: 1,
  },
  "min-p": {
    type: "number",
    help: "sample among the tokens that are at least this share as probable as the likeliest, 0: all",
    default: 0,
    min: 0,
    max: 1,
  },
} as const satisfies Options;

/** One training run of a LoRA adapter: sft, dpo, kto, grpo. Defaults as TRL's and PEFT's where they have them. */
export const trainingOptions = {
  out: { type: "text", value: "DIR", help: "folder for the trained PEFT adapter", required: true },
  "learning-rate": { type: "number", help: "constant learning rate of AdamW (.9, .999, 1e-8)", default: 1e-4, min: 0 },
  "batch-size": { type: "whole", help: "rows a micro-batch", default: 8, min: 1 },
  "gradient-accumulation-steps": {
    type: "whole",
    help: "micro-batches a step, one after the other in the same memory",
    default: 1,
    min: 1,
  },
  "padding-free": { type: "flag", help: "rows share sequences instead of being padded to the longest" },
  "gradient-checkpointing": { type: "flag", help: "less memory for more time: activations are computed twice" },
  steps: { type: "whole", help: "optimizer steps (by default once through the file)", min: 1 },
  "lora-r": { type: "whole", help: "rank of a new adapter", default: 8, min: 1 },
  "lora-alpha": { type: "number", help: "scaling of a new adapter is alpha / r", default: 16, min: 0 },
  "target-modules": {
    type: "text",
    value: "NAMES",
    help: "projections of a new adapter, separated by commas, or all-linear",
    default: "all-linear",
  },
  ...dtypeOption,
  "weight-decay": { type: "number", help: "decoupled weight decay", default: 0, min: 0 },
  "max-grad-norm": { type: "number", help: "clip the gradient's global norm, 0: never", default: 1, min: 0 },
  metrics: { type: "text", value: "FILE.jsonl", help: "write one line a step" },
  shuffle: { type: "flag", help: "draw the rows at random instead of in file order" },
  "dry-run": { type: "flag", help: "say how much GPU memory the training takes; train and write nothing" },
  ...seedOption,
} as const satisfies Options;

export const referenceOption = {
  reference: {
    type: "text",
    value: "WHICH",
    help: "reference model: the given adapter as it stood at the start, or the base",
    default: "adapter",
    choices: ["adapter", "base"],
  },
} as const satisfies Options;

export const betaOption = {
  beta: { type: "number", help: "inverse temperature of the preference model", default: 0.1, min: 0 },
} as const satisfies Options;

/** What DPO adds. */
export const preferenceOptions = {
  "loss-type": {
    type: "text",
    value: "NAME",
    help: "loss, as TRL names it",
    default: "sigmoid",
    choices: ["sigmoid", "ipo", "hinge", "robust", "sigmoid_norm"],
  },
  "label-smoothing": {
    type: "number",
    help: "share of flipped preferences that the robust loss assumes, below 0.5",
    default: 0,
    min: 0,
  },
  ...betaOption,
  ...referenceOption,
} as const satisfies Options;

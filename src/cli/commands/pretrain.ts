import { sha256Hex } from "../../base/hash.ts";
import type { Picture, TaskKind } from "../../base/records.ts";
import { type Rng, rngFor } from "../../base/rng.ts";
import { evaluateKinds } from "../../eval/evaluate.ts";
import { type ModelConfig, parameterCount } from "../../model/config.ts";
import { writeModel } from "../../model/hf.ts";
import type { PackedRow } from "../../model/packing.ts";
import { BASE, Engine } from "../../train/engine.ts";
import { pretrain as run } from "../../train/pretrain.ts";
import { exampleOf } from "../../world/examples.ts";
import { decode, EOS, PAD, tokenizerConfigJson, tokenizerJson, VOCABULARY_SIZE } from "../../world/vocabulary.ts";
import { defineCommand } from "../args.ts";
import { writeFolder } from "../files.ts";
import { policyCard } from "../model-card.ts";
import { seedOption } from "../options.ts";
import { openNodeRuntime } from "../runtime.ts";

/** The bundled policy: 0.17 M parameters, 32×32 pictures as 16 tokens in front of the text. */
export const POLICY: ModelConfig = {
  architectures: ["AutodidactForCausalLM"],
  model_type: "autodidact",
  vocab_size: VOCABULARY_SIZE,
  hidden_size: 64,
  intermediate_size: 176,
  num_hidden_layers: 3,
  num_attention_heads: 4,
  num_key_value_heads: 4,
  head_dim: 16,
  rms_norm_eps: 1e-6,
  rope_theta: 10000,
  tie_word_embeddings: true,
  max_position_embeddings: 128,
  bos_token_id: null,
  eos_token_id: [EOS],
  pad_token_id: PAD,
  vision: { image_size: 32, patch_size: 8, num_channels: 3 },
};

/** What one step sees: groups of equal length, so that little is padding. World A only. */
export const RECIPE = {
  describe: 64,
  arithmetic: 32,
  /** Deviation of the pixel noise on pre-training pictures, full scale 1. */
  noise: 0.04,
  learningRate: 3e-3,
  warmup: 40,
  weightDecay: 0.01,
} as const;

const PRETRAINED: readonly TaskKind[] = ["describe", "sum", "difference"];
const ARITHMETIC: readonly TaskKind[] = ["sum", "difference"];

/** The rows of step `step`: never the same example twice but by chance. */
export function pretrainBatch(seed: number, step: number): PackedRow[][] {
  const rows = (label: string, count: number, kinds: readonly TaskKind[]) =>
    Array.from({ length: count }, (_, i): PackedRow => {
      const rng = rngFor(seed, "pretrain", label, step, i);
      const { picture, prompt, answer } = exampleOf(rng.pick(kinds), "A", rng, { split: "train" });
      return { picture: picture && noisy(picture, rng), prompt, answers: [answer] };
    });
  return [rows("describe", RECIPE.describe, ["describe"]), rows("arithmetic", RECIPE.arithmetic, ARITHMETIC)];
}

/** A little sensor noise, so that the base does not hang on exact bytes. World B's is several times stronger. */
function noisy({ size, rgb }: Picture, rng: Rng): Picture {
  return {
    size,
    rgb: rgb.map((byte) => Math.min(255, Math.max(0, Math.round(byte + 255 * RECIPE.noise * rng.normal())))),
  };
}

/** `autodidact pretrain`: makes the bundled policy from nothing, with a model card. */
export const pretrain = defineCommand({
  name: "pretrain",
  summary: "make the bundled policy from nothing, on world A, with this project's kernels",
  options: {
    out: { type: "text", value: "DIR", help: "folder for the model", required: true },
    steps: { type: "whole", help: "optimizer steps", default: 1000, min: 1 },
    items: { type: "whole", help: "held-out items a world and kind in the model card", default: 5000, min: 1 },
    ...seedOption,
  },
  example: "autodidact pretrain --out public/models/policy --seed 0",
  async run({ values, out }) {
    const { gpu, runtime } = await openNodeRuntime();
    const began = performance.now();
    const losses: number[] = [];
    const tensors = await run(runtime, POLICY, {
      steps: values.steps,
      seed: values.seed,
      learningRate: RECIPE.learningRate,
      warmup: RECIPE.warmup,
      weightDecay: RECIPE.weightDecay,
      batch: (step) => pretrainBatch(values.seed, step),
      onStep: ({ step, loss, gradNorm }) => {
        losses.push(loss);
        if (step % 25 === 0 || step === values.steps) {
          const left = ((performance.now() - began) / step / 1000) * (values.steps - step);
          out.note(
            `step ${step}/${values.steps}  loss ${loss.toFixed(3)}  gradient ${gradNorm.toFixed(2)}  ${Math.round(left)} s left`,
          );
        }
      },
    });
    const seconds = (performance.now() - began) / 1000;
    const draft = writeModel({ config: POLICY, tensors });
    const engine = await Engine.create({
      runtime,
      gpu,
      model: { config: POLICY, tensors, hash: draft.hash },
      decode,
    });
    const table = [];
    for (const world of ["A", "B"] as const) {
      const kinds = await evaluateKinds({
        engine,
        adapter: BASE,
        world,
        items: values.items,
        seed: values.seed,
        kinds: PRETRAINED,
      });
      table.push(...[...kinds].map(([kind, heldOut]) => ({ world, kind, heldOut })));
    }
    const card = policyCard({
      config: POLICY,
      parameters: parameterCount(POLICY),
      recipe: RECIPE,
      steps: values.steps,
      seed: values.seed,
      adapter: gpu.summary.description,
      loss: losses.slice(-50).reduce((a, b) => a + b, 0) / Math.min(50, losses.length),
      table,
      hash: draft.hash,
    });
    const { files } = writeModel({
      config: POLICY,
      tensors,
      extra: { "tokenizer.json": tokenizerJson(), "tokenizer_config.json": tokenizerConfigJson(), "README.md": card },
    });
    await writeFolder(values.out, files);
    out.note(`pre-trained in ${Math.round(seconds)} s`);
    out.result(
      {
        out: values.out,
        hash: draft.hash,
        steps: values.steps,
        seed: values.seed,
        seconds,
        card: sha256Hex(card),
        table,
      },
      card,
    );
    await engine.destroy();
    gpu.destroy();
  },
});

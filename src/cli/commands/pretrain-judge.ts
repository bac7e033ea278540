import { sha256Hex } from "../../base/hash.ts";
import { judgeCard } from "../../judge/card.ts";
import { judgeBatch } from "../../judge/data.ts";
import { exportImageEncoder, exportTextEncoder } from "../../judge/export-onnx.ts";
import { measureJudge } from "../../judge/measure.ts";
import { CONFIG_FILE, IMAGE_FILE, type JudgeConfig, TEXT_FILE } from "../../judge/model.ts";
import { createOnnxScorer } from "../../judge/onnx.ts";
import { PHRASE_LENGTH } from "../../judge/preprocess.ts";
import { type DualEncoderConfig, dualEncoderShapes } from "../../model/dual-encoder.ts";
import { pretrainJudge as train } from "../../train/judge.ts";
import { CELL, PICTURE_SIZE } from "../../world/render.ts";
import { OBJECTS } from "../../world/scene.ts";
import { VOCABULARY_SIZE } from "../../world/vocabulary.ts";
import { defineCommand } from "../args.ts";
import { writeFolder } from "../files.ts";
import { seedOption } from "../options.ts";
import { openNodeRuntime } from "../runtime.ts";

/** The bundled judge: 0.16 M parameters. */
export const JUDGE: DualEncoderConfig = {
  image_size: PICTURE_SIZE,
  patch_size: CELL,
  num_channels: 3,
  vocab_size: VOCABULARY_SIZE,
  phrase_length: PHRASE_LENGTH,
  hidden_size: 64,
  intermediate_size: 128,
  vision_layers: 1,
  text_layers: 2,
  projection_dim: 64,
};

export const RECIPE = {
  /** Scenes a step, and near misses of each. */
  size: 48,
  misses: 4,
  learningRate: 2e-3,
  warmup: 30,
  weightDecay: 0.01,
  temperature: 0.1,
} as const;

/** `autodidact pretrain-judge`: makes the in-page judge from nothing, as ONNX, with a model card. */
export const pretrainJudge = defineCommand({
  name: "pretrain-judge",
  summary: "make the in-page judge from nothing, on world A, and export it to ONNX",
  options: {
    out: { type: "text", value: "DIR", help: "folder for the model", required: true },
    steps: { type: "whole", help: "optimizer steps", default: 300, min: 1 },
    items: { type: "whole", help: "held-out pictures a world in the model card", default: 2000, min: 10 },
    ...seedOption,
  },
  example: "autodidact pretrain-judge --out public/models/judge --seed 0",
  async run({ values, out }) {
    const { steps, seed } = values;
    await writeFolder(values.out, []); // a folder that cannot be made is found before training
    const { gpu, runtime } = await openNodeRuntime();
    const began = performance.now();
    const losses: number[] = [];
    const tensors = await train(runtime, JUDGE, {
      ...RECIPE,
      steps,
      seed,
      maxPhrases: OBJECTS.A.max,
      batch: (step) => judgeBatch(seed, step, RECIPE),
      onStep: ({ step, loss, gradNorm }) => {
        losses.push(loss);
        if (step % 25 !== 0 && step !== steps) return;
        const left = ((performance.now() - began) / step / 1000) * (steps - step);
        out.note(
          `step ${step}/${steps}  loss ${loss.toFixed(3)}  gradient ${gradNorm.toFixed(2)}  ${Math.round(left)} s left`,
        );
      },
    });
    const seconds = (performance.now() - began) / 1000;
    gpu.destroy();

    const made = { steps: String(steps), seed: String(seed) };
    const imageModel = exportImageEncoder(JUDGE, tensors, made);
    const textModel = exportTextEncoder(JUDGE, tensors, made);
    out.note("measuring the exported encoders on held-out pictures of A and B");
    const scorer = await createOnnxScorer({ imageModel, textModel });
    const report = await measureJudge(scorer, { seed, n: values.items });
    await scorer.release();

    const files = { [IMAGE_FILE]: sha256Hex(imageModel), [TEXT_FILE]: sha256Hex(textModel) } as JudgeConfig["files"];
    const config = { model_type: "autodidact-judge", ...JUDGE, steps, seed, calibration: report.calibration, files };
    const recent = losses.slice(-50);
    const card = judgeCard({
      parameters: [...dualEncoderShapes(JUDGE).values()].reduce(
        (sum, shape) => sum + shape.reduce((a, b) => a * b, 1),
        0,
      ),
      steps,
      seed,
      adapter: gpu.summary.description,
      loss: recent.reduce((a, b) => a + b, 0) / recent.length,
      recipe: RECIPE,
      report,
      files,
    });
    await writeFolder(values.out, [
      [IMAGE_FILE, imageModel],
      [TEXT_FILE, textModel],
      ["README.md", card],
      [CONFIG_FILE, `${JSON.stringify(config, null, 2)}\n`],
    ]);
    out.note(`trained in ${Math.round(seconds)} s`);
    out.result({ out: values.out, steps, seed, seconds, files, report }, card);
  },
});

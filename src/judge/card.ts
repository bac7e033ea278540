/** The judge's model card and config.json: everything needed to make it again, and what it can do. */
import { JITTER } from "./data.ts";
import { HEADS, type Head, type JudgeReport } from "./measure.ts";
import type { Bin } from "./metrics.ts";

export interface JudgeCard {
  readonly parameters: number;
  readonly steps: number;
  readonly seed: number;
  /** GPU adapter on which it was made; another one rounds differently. */
  readonly adapter: string;
  readonly loss: number;
  readonly recipe: {
    readonly size: number;
    readonly misses: number;
    readonly learningRate: number;
    readonly warmup: number;
    readonly weightDecay: number;
    readonly temperature: number;
  };
  readonly report: JudgeReport;
  /** File name → SHA-256. */
  readonly files: Readonly<Record<string, string>>;
}

const WORLDS = ["A", "B"] as const;
const n3 = (value: number | null): string => (value === null ? "no errors" : value.toFixed(3));

/** README.md of the judge. */
export function judgeCard({ parameters, steps, seed, adapter, loss, recipe, report, files }: JudgeCard): string {
  const each = (row: (world: "A" | "B", head: Head) => string) =>
    WORLDS.flatMap((world) => HEADS.map((head) => row(world, head))).join("\n");
  const scores = each((world, head) => {
    const { pairwise, byEdit, auc, ece, bestOf12 } = report.worlds[world][head];
    const edits = Object.values(byEdit).map(n3).join(" | ");
    return `| ${world} | ${head} | ${n3(pairwise)} | ${edits} | ${n3(auc)} | ${n3(ece)} | ${n3(bestOf12.chosen)} |`;
  });
  const together = WORLDS.flatMap((world) =>
    (["onnx-image", "onnx-text"] as const).map((head) => {
      const { margins, errors } = report.withPixels[world][head];
      return `| ${world} | ${head} | ${n3(margins)} | ${n3(errors)} |`;
    }),
  ).join("\n");
  const bins = (list: readonly Bin[]) =>
    list.map(({ predicted, right, n }) => `${predicted.toFixed(2)} → ${right.toFixed(2)} (${n})`).join(", ");
  const diagrams = each((world, head) => `| ${world} | ${head} | ${bins(report.worlds[world][head].reliability)} |`);
  const calibration = HEADS.map(
    (head) =>
      `${head} ${report.calibration[head].slope.toFixed(2)} · score ${report.calibration[head].intercept < 0 ? "−" : "+"} ${Math.abs(report.calibration[head].intercept).toFixed(2)}`,
  ).join("; ");
  const best = (world: "A" | "B") => report.worlds[world].pixels.bestOf12;
  const hashes = Object.entries(files)
    .map(([name, hash]) => `- ${name}: \`${hash}\``)
    .join("\n");
  return `---
license: mit
library_name: onnx
tags: [autodidact, feature-extraction, reward-model, from-scratch]
---
# Autodidact judge

Two encoders in one space with ${parameters.toLocaleString("en")} parameters: a picture and a caption, or a picture and its redrawing, fit as well as the cosine of their embeddings says.
It was trained from nothing by this project's WGSL kernels, on world A only, with a seed and data of its own; the page runs it as ONNX in onnxruntime-web.

## How it was made
\`npx autodidact pretrain-judge --out DIR --steps ${steps} --seed ${seed}\` on ${adapter}. The same command on the same adapter gives the same bytes.

- Data: world A only, drawn anew for every step: ${recipe.size} scenes of 1–5 objects and ${recipe.misses} near misses of each (one object moved, recoloured, reshaped, added or removed; one time in four a second one), clean redrawings and captions of all.
- Preprocessing: each channel's median is taken away, then all is divided by the mean strength of the 24 strongest pixels.
- Jitter, on the normalised pictures that are judged, never on redrawings: contrast × U(${JITTER.contrast.join(", ")}), noise N(0, σ) with σ ~ U(0, ${JITTER.noise}) where 1 is the strength of an object. World B's shift (brightness × U(.45, .8), offset U(0, .15), noise σ .06 of full scale, which is .10–.23 of the strength of a dimmed object) is not in it, nor are scenes of six objects. The weights never saw either. The choice of hyperparameters did: temperature, width and the number of steps were settled after a look at the AUC of four variants on the first 500 of the B pictures of the tables below, so the figures for B are somewhat optimistic.
- Loss: InfoNCE at temperature ${recipe.temperature}, mean of seen → redrawn, seen → caption, caption → redrawn and redrawn → caption; ${loss.toFixed(4)} over the last ${Math.min(50, steps)} steps.
- AdamW (.9, .99, 1e-8), learning rate ${recipe.learningRate}, ${recipe.warmup} steps of warm-up, cosine to a twentieth, weight decay ${recipe.weightDecay}, clipping at 1.

SHA-256:
${hashes}

## Held out
${report.n} pictures a world, each with its right description and one that is wrong by one object. The pixel judge (cosine of the median-free pictures, no model) stands beside the two heads.
*Pairwise*: the right one scores higher for the same picture, all and by kind of mistake. *AUC*: right against wrong over all pictures, so that scores must be comparable between pictures.
*ECE*: expected calibration error of σ(slope · score + intercept), fitted on other pictures of world A (${calibration}): in world B it says how far a confidence learnt on clean pictures can be trusted under the shift.
*Best of 12*: mean F1 of the description that the judge likes best among 12 with 0–3 mistakes; the best of the 12 has ${n3(best("A").oracle)} in A and ${n3(best("B").oracle)} in B, a random one ${n3(best("A").mean)} and ${n3(best("B").mean)}.

| world | judge | pairwise | moved | recoloured | reshaped | added | removed | AUC | ECE | best of 12 |
|---|---|---|---|---|---|---|---|---|---|---|
${scores}

Correlation with the pixel judge, of the margins right − wrong and of the errors:

| world | judge | margins | errors |
|---|---|---|---|
${together}

Reliability, predicted → observed share of right descriptions (n), in bins of a tenth:

| world | judge | bins |
|---|---|---|
${diagrams}

## Files
- image_encoder.onnx: \`pixel_values\` (N, 3, 32, 32) f32, preprocessed as above → \`image_embeds\` (N, width), rows of length 1
- text_encoder.onnx: \`phrases\` (N, P, 4) i64, token ids of colour, shape, column and row, zeros for padding → \`text_embeds\` (N, width), rows of length 1
- config.json: sizes, calibration, hashes
`;
}

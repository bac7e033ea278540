/** Model cards that the commands write: everything needed to make the model again, and what it can do. */
import type { HeldOut, Score } from "../base/records.ts";
import { type ModelConfig, tensorShapes } from "../model/config.ts";

const percent = (value: number): string => value.toFixed(3);
const interval = ({ value, ci }: Score): string => `${percent(value)} [${percent(ci[0])}, ${percent(ci[1])}]`;

export interface PolicyCard {
  readonly config: ModelConfig;
  readonly parameters: number;
  readonly recipe: Readonly<Record<string, number>>;
  readonly steps: number;
  readonly seed: number;
  /** GPU adapter on which it was made; another one rounds differently. */
  readonly adapter: string;
  readonly loss: number;
  readonly table: readonly { readonly world: string; readonly kind: string; readonly heldOut: HeldOut }[];
  readonly hash: string;
}

/** README.md of the bundled policy. */
export function policyCard({
  config,
  parameters,
  recipe,
  steps,
  seed,
  adapter,
  loss,
  table,
  hash,
}: PolicyCard): string {
  const rows = table.map(
    ({ world, kind, heldOut }) =>
      `| ${world} | ${kind} | ${interval(heldOut.greedy)} | ${interval(heldOut.sampled)} | ${heldOut.n} |`,
  );
  return `---
license: mit
library_name: autodidact
tags: [autodidact, image-text-to-text, from-scratch]
---
# Autodidact policy

A decoder for 32×32 pictures and text with ${parameters.toLocaleString("en")} parameters (${config.num_hidden_layers} layers of width ${config.hidden_size}, ${tensorShapes(config).size} tensors, tied head),
pre-trained from nothing by this project's WGSL kernels on procedurally made scenes of world A. It is the default model of the page, small enough to learn in a browser tab.
It knows nothing but coloured shapes on a 4×4 grid and sums below 200.

## How it was made
\`npx autodidact pretrain --out DIR --steps ${steps} --seed ${seed}\` on ${adapter}. The same command on the same adapter with the same kernels gives the same bytes; another version may round differently.

- Data: world A only, drawn anew for every step: ${recipe.describe} descriptions of pictures with 1–5 objects, and ${recipe.arithmetic} sums and differences of operands 0–99. Pixel noise of deviation ${recipe.noise} (full scale 1) lies on the pictures. A fifth of all operand pairs is held out.
- Loss: mean negative log-likelihood of the answers, one mean a group; ${loss.toFixed(4)} over the last 50 steps.
- AdamW (.9, .99, 1e-8), learning rate ${recipe.learningRate}, ${recipe.warmup} steps of warm-up, cosine to a tenth, weight decay ${recipe.weightDecay}, clipping at 1.
- SHA-256 of model.safetensors: \`${hash}\`

## Held out
Exact answers with 95% interval, macro mean over answer classes (describe: over the number of objects). World B is world A seen through a bad camera and with up to six objects; the model has never seen it.

| world | kind | greedy | sampled (T 1) | n |
|---|---|---|---|---|
${rows.join("\n")}
`;
}

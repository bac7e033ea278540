/**
 * The whole decoder in f64, one sequence at a time, written from the architecture (Llama as in Transformers; the bundled
 * model's picture tokens in front, seeing each other). Nothing is packed, cached, batched or fused.
 */
import type { Picture } from "../../src/base/records.ts";
import { type ModelConfig, type Projection, projectionPath } from "../../src/model/config.ts";
import type { Tape, Var } from "./autograd.ts";

export interface ReferenceLora {
  readonly scaling: number;
  /** Module path → A (r, in) and B (out, r), as PEFT stores them. */
  readonly pairs: ReadonlyMap<string, { readonly A: readonly Var[]; readonly B: readonly Var[]; readonly r: number }>;
}

export interface ReferenceModel {
  readonly tape: Tape;
  readonly config: ModelConfig;
  readonly params: ReadonlyMap<string, readonly Var[]>;
  readonly lora: ReferenceLora | null;
}

type Rows = Var[][];

const rowsOf = (flat: readonly Var[], width: number): Rows =>
  Array.from({ length: flat.length / width }, (_, i) => flat.slice(i * width, (i + 1) * width));

/** Patches of a picture, each flattened as (channel, row, column), values 0…1, patches row by row. */
export function referencePatches(config: ModelConfig, picture: Picture): number[][] {
  const { patch_size: p, num_channels: C, image_size: size } = config.vision as NonNullable<ModelConfig["vision"]>;
  const patches: number[][] = [];
  for (let top = 0; top < size; top += p)
    for (let left = 0; left < size; left += p) {
      const patch: number[] = [];
      for (let c = 0; c < C; c++)
        for (let y = top; y < top + p; y++)
          for (let x = left; x < left + p; x++) patch.push((picture.rgb[(y * size + x) * C + c] as number) / 255);
      patches.push(patch);
    }
  return patches;
}

/** Logits of every position of [picture][tokens]. */
export function referenceLogits(model: ReferenceModel, picture: Picture | null, tokens: readonly number[]): Rows {
  const { tape: t, config, params, lora } = model;
  const C = config.hidden_size;
  const param = (name: string): readonly Var[] => {
    const found = params.get(name);
    if (!found) throw new Error(`the reference lacks ${name}`);
    return found;
  };
  const linear = (x: Rows, weight: readonly Var[], width: number): Rows => {
    const w = rowsOf(weight, width);
    return x.map((row) => w.map((column) => t.dot(row, column)));
  };
  const project = (x: Rows, layer: number, name: Projection): Rows => {
    const path = projectionPath(layer, name);
    const width = (x[0] as Var[]).length;
    const y = linear(x, param(`${path}.weight`), width);
    const pair = lora?.pairs.get(path);
    if (!lora || !pair) return y;
    const extra = linear(linear(x, pair.A, width), pair.B, pair.r);
    return y.map((row, i) => row.map((v, j) => t.add(v, t.scale((extra[i] as Var[])[j] as Var, lora.scaling))));
  };
  const norm = (x: Rows, weight: readonly Var[]): Rows =>
    x.map((row) => {
      const s = t.power(t.shift(t.scale(t.dot(row, row), 1 / row.length), config.rms_norm_eps), -0.5);
      return row.map((v, c) => t.mul(t.mul(v, s), weight[c] as Var));
    });
  const rotate = (x: Rows, heads: number): Rows => {
    const half = config.head_dim / 2;
    return x.map((row, pos) => {
      const out = row.slice();
      for (let h = 0; h < heads; h++)
        for (let i = 0; i < half; i++) {
          const angle = pos / config.rope_theta ** (i / half);
          const at = h * config.head_dim + i;
          const [a, b] = [row[at] as Var, row[at + half] as Var];
          out[at] = t.add(t.scale(a, Math.cos(angle)), t.scale(b, -Math.sin(angle)));
          out[at + half] = t.add(t.scale(b, Math.cos(angle)), t.scale(a, Math.sin(angle)));
        }
      return out;
    });
  };

  let x: Rows = [];
  let prefix = 0;
  if (picture) {
    const patches = referencePatches(config, picture);
    const position = rowsOf(param("model.vision_embed.position"), C);
    const bias = param("model.vision_embed.bias");
    const pixels = patches.map((patch) => t.leaves(patch));
    x = linear(pixels, param("model.vision_embed.weight"), (patches[0] as number[]).length).map((row, i) =>
      row.map((v, c) => t.add(t.add(v, bias[c] as Var), (position[i] as Var[])[c] as Var)),
    );
    prefix = patches.length;
  }
  const table = rowsOf(param("model.embed_tokens.weight"), C);
  for (const token of tokens) x.push(table[token] as Var[]);

  const { num_attention_heads: H, num_key_value_heads: KV, head_dim: D } = config;
  for (let layer = 0; layer < config.num_hidden_layers; layer++) {
    const h = norm(x, param(`model.layers.${layer}.input_layernorm.weight`));
    const q = rotate(project(h, layer, "q_proj"), H);
    const k = rotate(project(h, layer, "k_proj"), KV);
    const v = project(h, layer, "v_proj");
    const mixed = q.map((row, i) => {
      const out: Var[] = [];
      for (let head = 0; head < H; head++) {
        const g = Math.floor(head / (H / KV)) * D;
        const query = row.slice(head * D, (head + 1) * D);
        const seen = k.map((_, j) => j).filter((j) => j <= i || (i < prefix && j < prefix));
        const scores = seen.map((j) => t.scale(t.dot(query, (k[j] as Var[]).slice(g, g + D)), 1 / Math.sqrt(D)));
        const lse = t.scale(t.logSumExp(scores), -1);
        const weights = scores.map((s) => t.exp(t.add(s, lse)));
        for (let d = 0; d < D; d++)
          out.push(
            t.dot(
              weights,
              seen.map((j) => (v[j] as Var[])[g + d] as Var),
            ),
          );
      }
      return out;
    });
    const attended = project(mixed, layer, "o_proj");
    x = x.map((row, i) => row.map((value, c) => t.add(value, (attended[i] as Var[])[c] as Var)));
    const m = norm(x, param(`model.layers.${layer}.post_attention_layernorm.weight`));
    const gate = project(m, layer, "gate_proj");
    const up = project(m, layer, "up_proj");
    const gated = gate.map((row, i) =>
      row.map((g, c) => {
        const sigmoid = t.power(t.shift(t.exp(t.scale(g, -1)), 1), -1);
        return t.mul(t.mul(g, sigmoid), (up[i] as Var[])[c] as Var);
      }),
    );
    const down = project(gated, layer, "down_proj");
    x = x.map((row, i) => row.map((value, c) => t.add(value, (down[i] as Var[])[c] as Var)));
  }
  const head = config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight";
  return linear(norm(x, param("model.norm.weight")), param(head), C);
}

/** log p of every token of `answer` after [picture][prompt]. */
export function referenceLogprobs(
  model: ReferenceModel,
  picture: Picture | null,
  prompt: readonly number[],
  answer: readonly number[],
): Var[] {
  const { tape: t } = model;
  const logits = referenceLogits(model, picture, [...prompt, ...answer.slice(0, -1)]);
  const from = logits.length - answer.length;
  return answer.map((token, i) => {
    const row = logits[from + i] as Var[];
    return t.add(row[token] as Var, t.scale(t.logSumExp(row), -1));
  });
}

/** Leaves for every tensor, in the names of `tensors`. */
export function leavesOf(
  tape: Tape,
  tensors: ReadonlyMap<string, { readonly data: ArrayLike<number> }>,
): Map<string, Var[]> {
  return new Map([...tensors].map(([name, { data }]) => [name, tape.leaves(data)]));
}

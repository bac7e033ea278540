/** The packed arrays of one group of rows as graph inputs, and the forward pass from them to log-probabilities. */
import type { Graph, Tensor } from "../gpu/graph.ts";
import type { Plan } from "../gpu/plan.ts";
import type { OpContext } from "../ops/context.ts";
import { headLogprob } from "../ops/logprob.ts";
import { rmsnorm } from "../ops/rmsnorm.ts";
import { imageTokens, type ModelConfig } from "./config.ts";
import { decodeSequences } from "./decoder.ts";
import { type Packed, type PackedAnswers, type PackShape, rowsOf, sortTokens } from "./packing.ts";
import type { DecoderTensors } from "./weights.ts";

/** One group's share of the predicted tokens. */
export interface SequencePart {
  readonly shape: PackShape;
  readonly owner: Tensor;
  readonly span: Tensor;
}

/** Groups of rows that go through the model together, one behind the other. */
export interface SequenceInputs {
  readonly parts: readonly SequencePart[];
  readonly id: Tensor;
  readonly info: Tensor;
  readonly pos: Tensor;
  readonly patches: Tensor | null;
  readonly index: Tensor;
  readonly inverse: Tensor;
  readonly next: Tensor;
  readonly target: Tensor;
  /** Where the embeddings are trained, for their gradient: see EmbedInputs. */
  readonly trained: { readonly order: Tensor; readonly start: Tensor; readonly patchRow: Tensor | null } | null;
}

/** `trained`: the embeddings have a gradient. */
export function sequenceInputs(
  g: Graph,
  config: ModelConfig,
  shapes: readonly PackShape[],
  trained: boolean,
): SequenceInputs {
  const total = (count: (shape: PackShape) => number) => shapes.reduce((sum, shape) => sum + count(shape), 0);
  const R = total(({ B, T }) => B * T);
  const M = total(({ M }) => M);
  const patches = total((shape) => (shape.pictures ? rowsOf(shape) * imageTokens(config) : 0));
  const width = config.vision ? config.vision.num_channels * config.vision.patch_size ** 2 : 0;
  const u32 = (name: string, ...dims: number[]) => g.input(name, dims, "u32");
  return {
    parts: shapes.map((shape) => ({ shape, owner: u32("owner", shape.M), span: u32("span", shape.S, 2) })),
    id: u32("id", R),
    info: u32("info", R),
    pos: u32("pos", R),
    patches: patches > 0 ? g.input("patches", [patches, width]) : null,
    index: u32("index", M),
    inverse: u32("inverse", R),
    next: u32("next", M),
    target: u32("target", M),
    trained: trained
      ? {
          order: u32("order", R),
          start: u32("start", config.vocab_size + 1),
          patchRow: patches > 0 ? u32("patchRow", patches) : null,
        }
      : null,
  };
}

/** Forward to the log-probability of every predicted token, those of one part behind those of another: (M). */
export function sequenceLogprobs(
  ctx: OpContext,
  config: ModelConfig,
  tensors: DecoderTensors,
  inputs: SequenceInputs,
  table: Tensor,
): Tensor {
  const { parts, trained, ...rest } = inputs;
  const { patchRow = null, ...order } = trained ?? {};
  const embedded = { ...rest, ...order, ...(patchRow ? { patchRow } : {}), table };
  const batches = parts.map(({ shape: { B, T } }) => ({ B, T }));
  const hidden = decodeSequences(ctx, config, tensors, embedded, batches);
  const predicting = rmsnorm(ctx, hidden, tensors.norm, config.rms_norm_eps, inputs);
  return headLogprob(ctx, predicting, tensors.head, inputs.target);
}

export function writeSequences(plan: Plan, config: ModelConfig, inputs: SequenceInputs, packed: Packed): void {
  for (const [i, { owner, span }] of inputs.parts.entries()) {
    const own = packed.answers[i] as PackedAnswers;
    plan.write(owner, own.owner);
    plan.write(span, own.span);
  }
  const put = (tensor: Tensor | null, data: Float32Array | Uint32Array | null) => {
    if (tensor && data) plan.write(tensor, data);
  };
  for (const name of ["id", "info", "pos", "patches", "index", "inverse", "next", "target"] as const)
    put(inputs[name], packed[name]);
  if (!inputs.trained) return;
  const { order, start } = sortTokens(config, packed);
  put(inputs.trained.order, order);
  put(inputs.trained.start, start);
  put(inputs.trained.patchRow, packed.patchRow);
}

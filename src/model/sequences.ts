/** The packed arrays of one group of rows as graph inputs, and the forward pass from them to log-probabilities. */
import type { Graph, Tensor } from "../gpu/graph.ts";
import type { Plan } from "../gpu/plan.ts";
import type { OpContext } from "../ops/context.ts";
import { gatherRows } from "../ops/embedding.ts";
import { headLogprob } from "../ops/logprob.ts";
import { rmsnorm } from "../ops/rmsnorm.ts";
import { imageTokens, type ModelConfig } from "./config.ts";
import { decodeSequences } from "./decoder.ts";
import { type Packed, type PackShape, rowsOf } from "./packing.ts";
import type { DecoderTensors } from "./weights.ts";

export interface SequenceInputs {
  readonly shape: PackShape;
  readonly id: Tensor;
  readonly info: Tensor;
  readonly pos: Tensor;
  readonly patches: Tensor | null;
  readonly index: Tensor;
  readonly inverse: Tensor;
  readonly target: Tensor;
  readonly owner: Tensor;
  readonly span: Tensor;
  readonly order: Tensor;
  readonly start: Tensor;
  readonly patchRow: Tensor | null;
}

export function sequenceInputs(g: Graph, config: ModelConfig, shape: PackShape): SequenceInputs {
  const { B, T, M, S, pictures } = shape;
  const count = imageTokens(config);
  const width = config.vision ? config.vision.num_channels * config.vision.patch_size ** 2 : 0;
  const u32 = (name: string, ...dims: number[]) => g.input(name, dims, "u32");
  return {
    shape,
    id: u32("id", B * T),
    info: u32("info", B * T),
    pos: u32("pos", B * T),
    patches: pictures ? g.input("patches", [rowsOf(shape) * count, width]) : null,
    index: u32("index", M),
    inverse: u32("inverse", B * T),
    target: u32("target", M),
    owner: u32("owner", M),
    span: u32("span", S, 2),
    order: u32("order", B * T),
    start: u32("start", config.vocab_size + 1),
    patchRow: pictures ? u32("patchRow", rowsOf(shape) * count) : null,
  };
}

/** Forward to the log-probability of every predicted token: (M). */
export function sequenceLogprobs(
  ctx: OpContext,
  config: ModelConfig,
  tensors: DecoderTensors,
  inputs: SequenceInputs,
  table: Tensor,
): Tensor {
  const { B, T } = inputs.shape;
  const hidden = decodeSequences(
    ctx,
    config,
    tensors,
    {
      id: inputs.id,
      info: inputs.info,
      order: inputs.order,
      start: inputs.start,
      ...(inputs.patchRow ? { patchRow: inputs.patchRow } : {}),
      pos: inputs.pos,
      patches: inputs.patches,
      table,
    },
    { B, T },
  );
  const rows = gatherRows(ctx, hidden, inputs.index, inputs.inverse);
  return headLogprob(ctx, rmsnorm(ctx, rows, tensors.norm, config.rms_norm_eps), tensors.head, inputs.target);
}

export function writeSequences(plan: Plan, inputs: SequenceInputs, packed: Packed): void {
  for (const name of [
    "id",
    "info",
    "pos",
    "patches",
    "index",
    "inverse",
    "target",
    "owner",
    "span",
    "order",
    "start",
    "patchRow",
  ] as const) {
    const tensor = inputs[name];
    const data = packed[name];
    if (tensor && data) plan.write(tensor, data);
  }
}

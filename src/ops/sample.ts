import { grid, read, type Tensor, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { NONE } from "./mask.ts";

export interface SampleState {
  readonly setting: Tensor; // (SAMPLE_SETTING) u32, see `sampleSetting`
  readonly step: Tensor; // (1) u32
  readonly rows: Tensor; // (N,2) u32: task and sample number
  readonly next: Tensor; // (N) u32
  readonly done: Tensor; // (N) u32
  readonly tokens: Tensor; // (N,TS) u32
  readonly logp: Tensor; // (N)
  readonly pos: Tensor; // (N) u32
}

export interface Sampling {
  /** 0: greedy. */
  readonly temperature: number;
  /** 0: off. */
  readonly topK: number;
  /** 1: off. */
  readonly topP: number;
  /** 0: off; otherwise the least probability, relative to the likeliest token. */
  readonly minP?: number;
  readonly seed: number;
}

const STOP_TOKENS = 4;
export const SAMPLE_SETTING = 6 + STOP_TOKENS;

/** The words that the sampling kernel reads. Any of the `stop` tokens (at most four) ends an answer. */
export function sampleSetting(sampling: Sampling, stop: readonly number[]): Uint32Array<ArrayBuffer> {
  if (stop.length > STOP_TOKENS)
    throw new Error(`at most ${STOP_TOKENS} stop tokens are supported, got ${stop.length}`);
  const words = new Uint32Array(SAMPLE_SETTING).fill(NONE);
  const floats = new Float32Array(words.buffer);
  words.set([sampling.topK, sampling.seed >>> 0, Math.floor(sampling.seed / 2 ** 32) >>> 0]);
  floats.set([sampling.temperature, sampling.topP, sampling.minP ?? 0], 3);
  words.set(stop, 6);
  return words;
}

/** One token for each row of logits: (N,V), then one step on. */
export function sampleNext({ g }: OpContext, logits: Tensor, state: SampleState): void {
  const [N, V] = logits.shape as [number, number];
  const TS = state.tokens.shape[1] as number;
  g.dispatch({
    shader: "sample",
    constants: {},
    uniforms: [N, V, TS],
    bindings: [
      read(logits),
      read(state.setting),
      read(state.step),
      read(state.rows),
      write(state.next),
      write(state.done),
      write(state.tokens),
      write(state.logp),
    ],
    workgroups: grid(N, 32),
    flops: 8 * N * V,
  });
  g.dispatch({
    shader: "advance",
    constants: {},
    uniforms: [N],
    bindings: [write(state.step), write(state.pos)],
    workgroups: grid(N, 64),
    flops: 0,
  });
}

import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { NONE } from "./mask.ts";

/** N rows that are being decoded, of the R samples whose answers are kept. */
export interface SampleState {
  readonly setting: Tensor; // (SAMPLE_SETTING) u32, see `sampleSetting`
  /** (N,4) u32: task and sample number of the random stream, place among the R samples, tokens of the prompt. */
  readonly slots: Tensor;
  readonly pos: Tensor; // (N) u32: position of the token whose logits come next
  readonly next: Tensor; // (N) u32: the token drawn
  readonly done: Tensor; // (R) u32
  readonly tokens: Tensor; // (R,TS) u32
  readonly logp: Tensor; // (R)
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

/** One token for each row, and its position one on. Logits: (L,V), L dividing N: N/L neighbouring rows share theirs. */
export function sampleNext({ g }: OpContext, logits: Tensor, state: SampleState): void {
  const [L, V] = logits.shape as [number, number];
  const N = state.next.size;
  const TS = state.tokens.shape[1] as number;
  if (N % L !== 0) throw new Error(`[shape] sample.${logits.name}: ${L} rows of logits for ${N} rows`);
  wantShape("sample", state.slots, [N, 4]);
  g.dispatch({
    shader: "sample",
    constants: {},
    uniforms: [N, V, TS, N / L],
    bindings: [
      read(logits),
      read(state.setting),
      read(state.slots),
      write(state.pos),
      write(state.next),
      write(state.done),
      write(state.tokens),
      write(state.logp),
    ],
    workgroups: grid(N, 32),
    flops: 8 * N * V,
  });
}

import { grid, read, type Tensor, wantShape, write } from "../gpu/graph.ts";
import type { OpContext } from "./context.ts";
import { NONE } from "./mask.ts";

/** N rows that are being decoded, of the R samples whose answers are kept. */
export interface SampleState {
  readonly setting: Tensor; // (settingSize) u32, see `sampleSetting`
  /** (N,4) u32: task and sample number of the random stream, place among the R samples, tokens of the prompt. */
  readonly slots: Tensor;
  readonly pos: Tensor; // (N) u32: position of the token whose logits come next
  readonly next: Tensor; // (N) u32: the token drawn
  readonly done: Tensor; // (R) u32: bit 0 is set when the answer has ended, above it the state of the grammar
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
  /** Only tokens that it allows are drawn; left out: any. Log-probabilities are those without it. */
  readonly grammar?: Grammar;
}

/** Which token may follow in which state of an answer, which begins in state 0. */
export interface Grammar {
  readonly states: number;
  /** (states, vocabulary): the next state, NONE where the token is not allowed. */
  readonly next: Uint32Array;
}

const STOP_TOKENS = 4;
const FIXED = 6 + STOP_TOKENS;
/** From this vocabulary on a workgroup shares a row. */
const WIDE_FROM = 2048;
const WIDE = 64;

/** Words that the sampling kernel reads, for a grammar of so many states over V tokens (0: none). */
export const settingSize = (states: number, V: number): number => FIXED + states * V;

/**
 * The words that the sampling kernel reads. Any of the `stop` tokens (at most four) ends an answer. Throws for a grammar
 * with a state that allows nothing, or leads to one that is not there.
 */
export function sampleSetting(sampling: Sampling, stop: readonly number[]): Uint32Array<ArrayBuffer> {
  if (stop.length > STOP_TOKENS)
    throw new Error(`at most ${STOP_TOKENS} stop tokens are supported, got ${stop.length}`);
  const { grammar } = sampling;
  const words = new Uint32Array(FIXED + (grammar?.next.length ?? 0)).fill(NONE);
  const floats = new Float32Array(words.buffer);
  words.set([sampling.topK, sampling.seed >>> 0, Math.floor(sampling.seed / 2 ** 32) >>> 0]);
  floats.set([sampling.temperature, sampling.topP, sampling.minP ?? 0], 3);
  words.set(stop, 6);
  if (grammar) words.set(grammarWords(grammar), FIXED);
  return words;
}

function grammarWords({ states, next }: Grammar): Uint32Array {
  const V = next.length / states;
  for (let state = 0; state < states; state++) {
    const row = next.subarray(state * V, (state + 1) * V);
    if (row.every((to) => to === NONE)) throw new Error(`the grammar allows no token in state ${state}`);
    const wrong = row.find((to) => to !== NONE && to >= states);
    if (wrong !== undefined)
      throw new Error(`the grammar goes from state ${state} to ${wrong}, but has ${states} states`);
  }
  return next.map((to) => (to === NONE ? 0 : to + 1));
}

/** One token for each row, and its position one on. Logits: (L,V), L dividing N: N/L neighbouring rows share theirs. */
export function sampleNext({ g }: OpContext, logits: Tensor, state: SampleState): void {
  const [L, V] = logits.shape as [number, number];
  const N = state.next.size;
  const TS = state.tokens.shape[1] as number;
  if (N % L !== 0) throw new Error(`[shape] sample.${logits.name}: ${L} rows of logits for ${N} rows`);
  wantShape("sample", state.slots, [N, 4]);
  const states = (state.setting.size - FIXED) / V;
  wantShape("sample", state.setting, [settingSize(Math.ceil(states), V)]);
  const wide = V >= WIDE_FROM;
  g.dispatch({
    shader: `sample?WIDE=${wide ? WIDE : 0}&GRAMMAR=${states > 0 ? 1 : 0}`,
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
    workgroups: grid(N, wide ? 1 : 32),
    flops: 8 * N * V,
  });
}

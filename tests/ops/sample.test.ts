import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { NONE } from "../../src/ops/mask.ts";
import { type Sampling, sampleNext, sampleSetting, settingSize } from "../../src/ops/sample.ts";
import { openTestGpu } from "../gpu/open.ts";
import { logprob } from "../reference/logprob.ts";
import * as reference from "../reference/sample.ts";

const gpu = await openTestGpu();
const greedy: Sampling = { temperature: 0, topK: 0, topP: 1, seed: 1 };

const LENGTH = 3; // tokens of every prompt

interface Draw {
  readonly logits: Float32Array; // (N,V), the same at every step
  readonly rows: readonly (readonly [number, number])[];
  readonly sampling: Sampling;
  readonly stop?: readonly number[];
  readonly steps?: number;
}

async function draw({ logits, rows, sampling, stop = [], steps = 1 }: Draw) {
  const N = rows.length;
  const V = logits.length / N;
  const g = new Graph();
  const u32 = (name: string, ...shape: number[]) => g.input(name, shape, "u32");
  const state = {
    setting: u32("setting", settingSize(sampling.grammar?.states ?? 0, V)),
    slots: u32("slots", N, 4),
    pos: u32("pos", N),
    next: u32("next", N),
    done: u32("done", N),
    tokens: u32("tokens", N, steps),
    logp: g.input("logp", [N]),
  };
  const input = g.input("logits", [N, V]);
  sampleNext({ g, variants: { matmul: "plain" } }, input, state);
  return gpu.checked(async () => {
    const plan = await compile("sample", g, gpu.device, gpu.pipelines);
    plan.write(input, logits);
    plan.write(state.setting, sampleSetting(sampling, stop));
    plan.write(state.slots, Uint32Array.from(rows.flatMap(([task, k], n) => [task, k, n, LENGTH])));
    plan.write(state.pos, new Uint32Array(N).fill(LENGTH - 1));
    await plan.run(undefined, steps);
    const [tokens, done, logp, pos] = await plan.read(state.tokens, state.done, state.logp, state.pos);
    plan.destroy();
    return {
      tokens: Array.from(tokens as Uint32Array),
      done: Array.from(done as Uint32Array),
      logp: Array.from(logp as Float32Array),
      pos: Array.from(pos as Uint32Array),
    };
  });
}

const tasks = (n: number) => Array.from({ length: n }, (_, i) => [i, 0] as const);
const repeat = (row: Float32Array, n: number) =>
  Float32Array.from({ length: n * row.length }, (_, i) => row[i % row.length] as number);

test.each([
  [1, 1],
  [3, 5],
  [65, 65],
  [5, 200],
  [3, 2049],
])("temperature 0 takes the likeliest token: %i rows, vocabulary %i", async (N, V) => {
  const rng = rngFor(1, N, V);
  const logits = Float32Array.from({ length: N * V }, () => 3 * rng.normal());
  const got = await draw({ logits, rows: tasks(N), sampling: greedy });
  const best = Array.from({ length: N }, (_, n) => {
    const row = [...logits.subarray(n * V, (n + 1) * V)];
    return row.indexOf(Math.max(...row));
  });
  expect(got.tokens).toEqual(best);
  const want = logprob(Float64Array.from(logits), best, V);
  for (const [n, value] of got.logp.entries()) expect(value).toBeCloseTo(want[n] as number, 4);
  expect(new Set(got.pos)).toEqual(new Set([LENGTH]));
});

const V = 20;
const DRAWS = 4000;
const row = (() => {
  const rng = rngFor(9, "logits");
  return Float32Array.from({ length: V }, () => 2 * rng.normal());
})();

test.each([
  [{ temperature: 1, topK: 0, topP: 1, minP: 0 }],
  [{ temperature: 0.5, topK: 0, topP: 1, minP: 0 }],
  [{ temperature: 2, topK: 0, topP: 1, minP: 0 }],
  [{ temperature: 1, topK: 1, topP: 1, minP: 0 }],
  [{ temperature: 1.5, topK: 5, topP: 1, minP: 0 }],
  [{ temperature: 1, topK: 0, topP: 0.8, minP: 0 }],
  [{ temperature: 2, topK: 8, topP: 0.6, minP: 0 }],
  [{ temperature: 1, topK: 0, topP: 1, minP: 0.2 }],
  [{ temperature: 2, topK: 10, topP: 0.9, minP: 0.3 }],
  [{ temperature: 1, topK: 0, topP: 0.01, minP: 0 }],
])("%o: never a token outside the set, every likely token of it, and the right frequencies (χ²)", async (options) => {
  const want = reference.sampling(row, options);
  const { tokens } = await draw({ logits: repeat(row, DRAWS), rows: tasks(DRAWS), sampling: { ...options, seed: 5 } });
  const counts = new Float64Array(V);
  for (const token of tokens) counts[token]!++;
  let chi2 = 0;
  let cells = -1;
  for (let v = 0; v < V; v++) {
    const expected = (want[v] as number) * DRAWS;
    if (want[v] === 0) expect(counts[v], `token ${v} is outside the set`).toBe(0);
    if (expected >= 5) {
      chi2 += ((counts[v] as number) - expected) ** 2 / expected;
      cells++;
    }
  }
  // Mean of χ² is its degrees of freedom, deviation √(2 df): five deviations never happen by chance.
  expect(chi2).toBeLessThanOrEqual(cells + 5 * Math.sqrt(2 * cells) + 1e-9);
  expect(chi2 > 0 || cells === 0).toBe(true);
});

test.each([[{ temperature: 1.3, topK: 0, topP: 1, minP: 0 }], [{ temperature: 2, topK: 9, topP: 0.9, minP: 0.02 }]])(
  "a large vocabulary, a workgroup a row: the same set and frequencies, %o",
  async (options) => {
    const W = 2051;
    const rng = rngFor(10, "wide");
    const few = [0, 31, 33, 700, 701, 1000, 1500, 2047, 2048, 2050];
    const wide = new Float32Array(W).fill(-60);
    for (const v of few) wide[v] = 2 * rng.normal();
    const want = reference.sampling(wide, options);
    const draws = 500;
    const logits = new Float32Array(draws * W);
    for (let n = 0; n < draws; n++) logits.set(wide, n * W);
    const { tokens, logp } = await draw({ logits, rows: tasks(draws), sampling: { ...options, seed: 6 } });
    let chi2 = 0;
    let cells = -1;
    for (const v of few) {
      const count = tokens.filter((token) => token === v).length;
      const expected = (want[v] as number) * draws;
      if (want[v] === 0) expect(count, `token ${v} is outside the set`).toBe(0);
      if (expected < 5) continue;
      chi2 += (count - expected) ** 2 / expected;
      cells++;
    }
    expect(tokens.every((token) => few.includes(token))).toBe(true);
    expect(cells).toBeGreaterThan(2);
    expect(chi2).toBeLessThanOrEqual(cells + 5 * Math.sqrt(2 * cells));
    const one = logprob(Float64Array.from(wide), [tokens[0] as number], W)[0] as number;
    expect(logp[0]).toBeCloseTo(one, 4);
  },
);

test.each([[V], [2050]])("a grammar: only what a state allows is drawn, in a vocabulary of %i", async (size) => {
  // a (1 or 2) b (V − 1) in turns; the likeliest token, 0, is never allowed.
  const next = new Uint32Array(2 * size).fill(NONE);
  next[1] = 1;
  next[2] = 1;
  next[size + size - 1] = 0;
  const logits = new Float32Array(size);
  logits[0] = 4;
  logits[2] = 1;
  const grammar = { states: 2, next };
  const sampled: Sampling = { temperature: 1, topK: 5, topP: 0.99, seed: 2, grammar };
  const rows = tasks(60);
  const got = await draw({ logits: repeat(logits, 60), rows, sampling: sampled, steps: 4 });
  const at = (n: number, t: number) => got.tokens[4 * n + t] as number;
  const firsts = rows.map((_, n) => at(n, 0));
  expect(new Set(firsts)).toEqual(new Set([1, 2]));
  expect(firsts.filter((token) => token === 2).length).toBeGreaterThan(30);
  for (const n of rows.keys()) expect([at(n, 1), at(n, 3)]).toEqual([size - 1, size - 1]);
  const sure = await draw({ logits, rows: tasks(1), sampling: { ...greedy, grammar }, steps: 2, stop: [size - 1] });
  expect(sure.tokens).toEqual([2, size - 1]);
  expect((sure.done[0] as number) & 1).toBe(1);
  const free = Math.log(Math.E ** 4 + Math.E + size - 2);
  expect(sure.logp[0]).toBeCloseTo(1 - free - free, 4);
  const dead = { states: 1, next: new Uint32Array(size).fill(NONE) };
  expect(() => sampleSetting({ ...greedy, grammar: dead }, [])).toThrow("allows no token in state 0");
  const lost = { states: 1, next: new Uint32Array(size).fill(3) };
  expect(() => sampleSetting({ ...greedy, grammar: lost }, [])).toThrow("goes from state 0 to 3");
});

test("tokens of equal likelihood stay together at the threshold", async () => {
  const flat = new Float32Array(4); // four equal logits
  const { tokens } = await draw({
    logits: repeat(flat, 200),
    rows: tasks(200),
    sampling: { temperature: 1, topK: 2, topP: 1, seed: 3 },
  });
  expect(new Set(tokens)).toEqual(new Set([0, 1, 2, 3]));
});

test("a draw depends on (seed, task, sample, step) and on nothing else of the batch", async () => {
  const sampling: Sampling = { temperature: 1, topK: 0, topP: 1, seed: 2 ** 40 + 7 };
  const rows = [
    [0, 0],
    [0, 1],
    [1, 0],
    [7, 3],
    [1000, 12],
  ] as const;
  const all = await draw({ logits: repeat(row, 5), rows, sampling, steps: 8 });
  const streams = rows.map((_, n) => all.tokens.slice(8 * n, 8 * n + 8));
  for (const [n, one] of rows.entries())
    expect((await draw({ logits: row, rows: [one], sampling, steps: 8 })).tokens).toEqual(streams[n]);
  expect(new Set(streams.map((stream) => stream.join())).size).toBe(5);
  const other = await draw({ logits: repeat(row, 5), rows, sampling: { ...sampling, seed: 7 }, steps: 8 });
  expect(other.tokens).not.toEqual(all.tokens); // the high word of the seed counts as well
});

test("neighbouring tasks, samples and steps are not correlated", async () => {
  const coin = new Float32Array(2);
  const rows = Array.from({ length: 64 * 8 }, (_, n) => [Math.floor(n / 8), n % 8] as const);
  const steps = 8;
  const { tokens } = await draw({
    logits: repeat(coin, rows.length),
    rows,
    sampling: { temperature: 1, topK: 0, topP: 1, seed: 1 },
    steps,
  });
  const at = (n: number, t: number) => 2 * (tokens[n * steps + t] as number) - 1;
  for (const [dn, dt] of [
    [0, 0],
    [1, 0],
    [8, 0],
    [0, 1],
  ] as const) {
    let sum = 0;
    let count = 0;
    for (let n = 0; n + dn < rows.length; n++)
      for (let t = 0; t + dt < steps; t++) {
        sum += dn + dt === 0 ? at(n, t) : at(n, t) * at(n + dn, t + dt);
        count++;
      }
    expect(Math.abs(sum) / Math.sqrt(count), `lag ${dn} rows, ${dt} steps`).toBeLessThan(5);
  }
});

test("a stop token ends its row: nothing more is written or counted", async () => {
  const logits = new Float32Array([0, 5, 0, 0, 0, 5]); // row 0 stops at token 1, row 1 goes on with token 2
  const got = await draw({ logits, rows: tasks(2), sampling: greedy, stop: [0, 1], steps: 3 });
  expect(got.tokens).toEqual([1, 0, 0, 2, 2, 2]);
  expect(got.done).toEqual([1, 0]);
  const each = Math.log(1 / (1 + 2 * Math.exp(-5)));
  expect(got.logp[0]).toBeCloseTo(each, 5);
  expect(got.logp[1]).toBeCloseTo(3 * each, 5);
  expect(() => sampleSetting(greedy, [1, 2, 3, 4, 5])).toThrow("at most 4 stop tokens");
});

import { describe, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import type { MatmulVariant } from "../../src/ops/context.ts";
import { attentionDecode, type DecodeShape, ropeAppend } from "../../src/ops/decode.ts";
import { ropeTable } from "../../src/ops/rope.ts";
import { openTestGpu } from "../gpu/open.ts";
import { attention } from "../reference/attention.ts";
import { rope } from "../reference/rope.ts";
import { keep, worstOf } from "./check.ts";

const gpu = await openTestGpu();
const THETA = 100;
/** A thread alone, and a team of them. */
const KERNELS = ["plain", "tile"] as const;
const text = { pad: false, prefix: false, segment: 0 };

describe.each(KERNELS)("%s", (matmul) => {
  test.each([
    { H: 4, KV: 2, D: 8, prompts: [3, 5], K: 1, own: 1 },
    { H: 4, KV: 1, D: 16, prompts: [4], K: 3, own: 4 },
    { H: 2, KV: 2, D: 32, prompts: [1, 6, 2], K: 2, own: 3 },
    { H: 3, KV: 3, D: 4, prompts: [2, 7], K: 2, own: 2 },
    // Contexts of more than one part, beside some of one: parts end in the prompt, behind it and among the own tokens.
    { H: 4, KV: 2, D: 8, prompts: [126, 3, 128], K: 2, own: 4 },
    { H: 3, KV: 1, D: 12, prompts: [255, 1, 129], K: 3, own: 3 },
    { H: 2, KV: 2, D: 4, prompts: [513], K: 2, own: 1 },
    // Heads of more vec4 than a team has threads.
    { H: 1, KV: 1, D: 256, prompts: [5], K: 2, own: 1 },
    { H: 2, KV: 1, D: 136, prompts: [3, 130], K: 1, own: 2 },
  ])("prompt and decoded tokens through the caches equal full attention: %o", async (options) => {
    const { H, KV, D, prompts, K, own } = options;
    const rng = rngFor(7, H, KV, D);
    const G = prompts.length;
    const TP = Math.max(...prompts) + 2;
    const shape = { G, K, H, KV, D, TP, TS: own + 1 };
    const normals = (rows: number, heads: number) =>
      Float32Array.from({ length: rows * heads * D }, () => rng.normal());
    const made = (rows: number) => ({ q: normals(rows, H), k: normals(rows, KV), v: normals(rows, KV) });
    const prompt = made(G * TP);
    const steps = Array.from({ length: own }, () => made(G * K));
    // Rows of the plan: the samples in another order, one of them left out, as after dropping finished rows.
    const rows = rng.shuffle([...Array(G * K).keys()]).slice(0, Math.max(1, G * K - 1));
    const N = rows.length;
    const take = (x: Float32Array, heads: number) =>
      Float32Array.from(rows.flatMap((r) => [...x.subarray(r * heads * D, (r + 1) * heads * D)]));

    const positions = TP + own;
    const caches = [0, 1].map(() => {
      const size = 4 * G * (TP + K * shape.TS) * KV * D;
      return gpu.device.createBuffer({ size, usage: 0x80 | 0x8 | 0x4 });
    });
    const build = (R: number, isPrompt: boolean) => {
      const g = new Graph();
      const ctx = { g, variants: { matmul } };
      const [k, v] = caches.map((buffer, i) =>
        g.bound(`cache ${i}`, [G * (TP + K * shape.TS), KV * D], buffer as GPUBuffer),
      );
      const cache = { k: k!, v: v! };
      const t = {
        q: g.input("q", [R, H * D]),
        k: g.input("k", [R, KV * D]),
        v: g.input("v", [R, KV * D]),
        slots: g.input("slots", [R, 4], "u32"),
        pos: g.input("pos", [R], "u32"),
        table: g.input("table", [positions, 2, D / 2]),
      };
      ropeAppend(ctx, { ...t, q: isPrompt ? null : t.q }, t, t.table, cache, shape, { prompt: isPrompt });
      const out = isPrompt ? null : keep(ctx, attentionDecode(ctx, t.q, cache, t, shape));
      return { g, t, out };
    };
    const table = ropeTable(positions, D, THETA);
    const rotated = (x: Float32Array, heads: number, pos: readonly number[]) =>
      rope(Float64Array.from(x), pos, heads, D, THETA);

    await gpu.checked(async () => {
      const fill = build(G * TP, true);
      const first = await compile("prompt", fill.g, gpu.device, gpu.pipelines);
      first.write(fill.t.k, prompt.k);
      first.write(fill.t.v, prompt.v);
      first.write(fill.t.table, table);
      first.write(
        fill.t.pos,
        Uint32Array.from({ length: G * TP }, (_, i) => i % TP),
      );
      await first.run();
      const { g, t, out } = build(N, false);
      const plan = await compile("decode", g, gpu.device, gpu.pipelines);
      plan.write(t.table, table);
      const lengthOf = (r: number) => prompts[Math.floor(r / K)] as number;
      plan.write(t.slots, Uint32Array.from(rows.flatMap((r) => [99, 99, r, lengthOf(r)])));
      for (const [s, step] of steps.entries()) {
        plan.write(t.q, take(step.q, H));
        plan.write(t.k, take(step.k, KV));
        plan.write(t.v, take(step.v, KV));
        plan.write(
          t.pos,
          Uint32Array.from(rows, (r) => lengthOf(r) + s),
        );
        await plan.run();
        const [got] = (await plan.read(out!)) as [Float32Array];
        for (const [n, r] of rows.entries()) {
          // Full attention over [prompt, own tokens so far] of this sample; only its last token counts.
          const group = Math.floor(r / K);
          const length = lengthOf(r);
          const T = length + s + 1;
          const sequence = (key: "k" | "v") =>
            Float32Array.from([
              ...prompt[key].subarray(group * TP * KV * D, (group * TP + length) * KV * D),
              ...steps.slice(0, s + 1).flatMap((one) => [...one[key].subarray(r * KV * D, (r + 1) * KV * D)]),
            ]);
          const q = new Float32Array(T * H * D);
          q.set(step.q.subarray(r * H * D, (r + 1) * H * D), (T - 1) * H * D);
          const at = [...Array(T).keys()];
          const want = attention(
            {
              q: rotated(q, H, at),
              k: rotated(sequence("k"), KV, at),
              v: Float64Array.from(sequence("v")),
            },
            at.map(() => text),
            { B: 1, T, H, KV, D },
          );
          const worst = worstOf(got.subarray(n * H * D, (n + 1) * H * D), want.subarray((T - 1) * H * D));
          expect(worst.error, `step ${s}, row ${n}, element ${worst.index}`).toBeLessThan(1e-5);
        }
      }
      first.destroy();
      plan.destroy();
    });
  });

  test("contexts of up to 128 places are one dispatch; a row's bits depend on neither lengths nor number of the others", async () => {
    const heads = { H: 4, KV: 2, D: 8 };
    const short = { sample: 0, length: 20, pos: 22 };
    const long = { sample: 0, length: 150, pos: 290 };
    const inShort = await attended(matmul, { ...heads, G: 1, K: 1, TP: 124, TS: 4 }, [short]);
    expect(inShort.dispatches).toBe(1);
    const inLong = await attended(matmul, { ...heads, G: 1, K: 1, TP: 150, TS: 141 }, [long]);
    expect(inLong.dispatches).toBe(2);
    const together = await attended(matmul, { ...heads, G: 3, K: 2, TP: 400, TS: 200 }, [
      { ...long, sample: 5 },
      { sample: 0, length: 400, pos: 400 },
      { ...short, sample: 2 },
    ]);
    expect(together.rows[0]).toEqual(inLong.rows[0]);
    expect(together.rows[2]).toEqual(inShort.rows[0]);
  });

  test("a finished row, whose position has run past its places, reads no place of another and stays finite", async () => {
    const shape = { H: 2, KV: 1, D: 4, G: 2, K: 1, TP: 130, TS: 3 };
    const last = { sample: 0, length: 130, pos: 132 };
    const other = { sample: 1, length: 5, pos: 7 };
    const ended = await attended(matmul, shape, [{ ...last, pos: 1000 }, other]);
    expect(ended.rows.flat().every((x) => Math.abs(x) < 10)).toBe(true);
    expect(ended.rows).toEqual((await attended(matmul, shape, [last, other])).rows);
  });
});

/** A row of a plan: which sample it is, tokens of its prompt, the position that it has come to. */
interface DecodedRow {
  readonly sample: number;
  readonly length: number;
  readonly pos: number;
}

/**
 * Attention of `rows` over caches in which the place of a sample's position holds what depends on (sample, position) alone,
 * and every other place a number that would be seen. All samples of one prompt have the same prompt.
 */
async function attended(matmul: MatmulVariant, { G, K, H, KV, D, TP, TS }: DecodeShape, rows: readonly DecodedRow[]) {
  const width = KV * D;
  const caches = [0, 1].map(() => new Float32Array(G * (TP + K * TS) * width).fill(1e4));
  const fill = (place: number, ...labels: (string | number)[]) => {
    for (const [i, cache] of caches.entries()) {
      const rng = rngFor(3, i, ...labels);
      for (let c = 0; c < width; c++) cache[place * width + c] = rng.normal();
    }
  };
  for (const { sample, length } of rows) {
    const prompt = Math.floor(sample / K);
    for (let j = 0; j < length; j++) fill(prompt * TP + j, "prompt", length, j);
    for (let j = 0; j < TS; j++) fill(G * TP + sample * TS + j, "own", length, j);
  }
  const g = new Graph();
  const ctx = { g, variants: { matmul } };
  const N = rows.length;
  const shape = [G * (TP + K * TS), width];
  const t = {
    q: g.input("q", [N, H * D]),
    k: g.input("k", shape),
    v: g.input("v", shape),
    slots: g.input("slots", [N, 4], "u32"),
    pos: g.input("pos", [N], "u32"),
  };
  const out = attentionDecode(ctx, t.q, t, t, { G, K, H, KV, D, TP, TS });
  const dispatches = g.dispatches.length;
  const kept = keep(ctx, out);
  const plan = await compile("decode", g, gpu.device, gpu.pipelines);
  const queries = rows.flatMap(({ length }) => {
    const rng = rngFor(4, length);
    return Array.from({ length: H * D }, () => rng.normal());
  });
  plan.write(t.q, Float32Array.from(queries));
  plan.write(t.k, caches[0] as Float32Array);
  plan.write(t.v, caches[1] as Float32Array);
  plan.write(t.slots, Uint32Array.from(rows.flatMap(({ sample, length }) => [0, 0, sample, length])));
  plan.write(
    t.pos,
    Uint32Array.from(rows, ({ pos }) => pos),
  );
  await gpu.checked(() => plan.run());
  const [all] = (await plan.read(kept)) as [Float32Array];
  plan.destroy();
  return { dispatches, rows: rows.map((_, n) => [...all.subarray(n * H * D, (n + 1) * H * D)]) };
}

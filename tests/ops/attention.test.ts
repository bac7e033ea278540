import { expect, test } from "vitest";
import { Graph, type Tensor } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { attention, promptAttention } from "../../src/ops/attention.ts";
import { FAMILIES, type Variants } from "../../src/ops/context.ts";
import { document, info, PAD, PREFIX } from "../../src/ops/mask.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/attention.ts";
import { checkOp, keep } from "./check.ts";

const gpu = await openTestGpu();
type Token = reference.Token;

const text = (segment = 0): Token => ({ pad: false, prefix: false, segment });
const image: Token = { pad: false, prefix: true, segment: 0 };
const pad: Token = { pad: true, prefix: false, segment: 0 };
const times = (n: number, token: Token): Token[] => Array.from({ length: n }, () => token);

/** Rows of T tokens, each padded at its end. */
const MASKS: Record<string, (T: number) => Token[]> = {
  causal: (T) => times(T, text()),
  prefix: (T) => [...times(Math.floor(T / 2), image), ...times(T - Math.floor(T / 2), text())],
  "two answers": (T) => {
    const third = Math.floor(T / 3);
    return [...times(third, text()), ...times(third, text(1)), ...times(T - 2 * third, text(2))];
  },
  "picture, two answers, padding": (T) => {
    const fifth = Math.floor(T / 5);
    return [
      ...times(fifth, image),
      ...times(fifth, text()),
      ...times(fifth, text(1)),
      ...times(fifth, text(2)),
      ...times(T - 4 * fifth, pad),
    ];
  },
  // Whole turns of keys are seen, in part, by nobody.
  "three rows in a sequence": (T) => {
    const prompt = Math.floor(T / 6);
    const row = (document: number, end: number) =>
      [...times(prompt, text()), ...times(end - prompt, text(1))].map((token) => ({ ...token, document }));
    return [...row(0, Math.floor(T / 3)), ...row(1, Math.floor(T / 3)), ...row(2, T - 2 * Math.floor(T / 3))];
  },
};

const words = (tokens: readonly Token[]) =>
  Uint32Array.from(tokens, ({ pad, prefix, segment, document: row = 0 }) =>
    pad ? PAD : info(segment, document(row) | (prefix ? PREFIX : 0)),
  );

const SHAPES = [
  { B: 1, T: 1, H: 1, KV: 1, D: 4 },
  { B: 2, T: 5, H: 4, KV: 2, D: 8 },
  { B: 1, T: 9, H: 4, KV: 1, D: 8 },
  { B: 1, T: 65, H: 2, KV: 1, D: 8 },
];

/** One (B·T, (H + 2 KV)·D) tensor as three, as the reference takes them. */
function apart(qkv: Float64Array, { B, T, H, KV, D }: { B: number; T: number; H: number; KV: number; D: number }) {
  const width = (H + 2 * KV) * D;
  const columns = (first: number, count: number) =>
    Float64Array.from(
      { length: B * T * count },
      (_, i) => qkv[Math.floor(i / count) * width + first + (i % count)] as number,
    );
  return { q: columns(0, H * D), k: columns(H * D, KV * D), v: columns((H + KV) * D, KV * D) };
}

for (const [name, mask] of Object.entries(MASKS))
  test.each(SHAPES)(`attention, ${name}: B $B, T $T, H $H/$KV, D $D`, (shape) => {
    const { B, T, H, KV, D } = shape;
    const tokens = Array.from({ length: B }, () => mask(T)).flat();
    return checkOp(gpu, {
      name: `attention ${name} ${JSON.stringify(shape)}`,
      inputs: {
        qkv: { shape: [B * T, (H + 2 * KV) * D] },
        info: { shape: [B * T], data: words(tokens) },
      },
      op: (ctx, t) => attention(ctx, t.qkv!, t.info!, shape),
      reference: ({ qkv }) => reference.attention(apart(qkv!, shape), tokens, shape),
      sampled: 24,
      variants: FAMILIES,
    });
  });

test.each([
  { B: 1, T: 7, H: 3, KV: 1, D: 12 },
  { B: 1, T: 9, H: 4, KV: 4, D: 16 },
  { B: 2, T: 6, H: 2, KV: 2, D: 64 },
  { B: 1, T: 5, H: 2, KV: 1, D: 68 },
  { B: 1, T: 10, H: 1, KV: 1, D: 256 },
])("attention, heads of every size: H $H/$KV, D $D", (shape) => {
  const { B, T, H, KV, D } = shape;
  const tokens = Array.from({ length: B }, () => (MASKS["picture, two answers, padding"] as (T: number) => Token[])(T));
  return checkOp(gpu, {
    name: `attention D ${D}`,
    inputs: {
      qkv: { shape: [B * T, (H + 2 * KV) * D] },
      info: { shape: [B * T], data: words(tokens.flat()) },
    },
    op: (ctx, t) => attention(ctx, t.qkv!, t.info!, shape),
    reference: ({ qkv }) => reference.attention(apart(qkv!, shape), tokens.flat(), shape),
    sampled: 12,
    variants: FAMILIES,
  });
});

test.each([
  { B: 2, T: 9, H: 4, KV: 2, D: 8, window: 1 },
  { B: 1, T: 40, H: 2, KV: 1, D: 8, window: 5 },
  { B: 1, T: 70, H: 2, KV: 1, D: 8, window: 40 },
  { B: 1, T: 21, H: 1, KV: 1, D: 8, window: 100 },
])("attention, sliding window of $window: T $T", (shape) => {
  const { B, T, H, KV, D } = shape;
  const tokens = Array.from({ length: B }, () => (MASKS.prefix as (T: number) => Token[])(T)).flat();
  const pairs = Uint32Array.from([...words(tokens)].flatMap((word, t) => [word, t % T]));
  return checkOp(gpu, {
    name: `attention window ${JSON.stringify(shape)}`,
    inputs: {
      qkv: { shape: [B * T, (H + 2 * KV) * D] },
      info: { shape: [B * T, 2], data: pairs },
    },
    op: (ctx, t) => attention(ctx, t.qkv!, t.info!, shape),
    reference: ({ qkv }) => reference.attention(apart(qkv!, shape), tokens, shape),
    sampled: 24,
    variants: FAMILIES,
  });
});

/** Four blocks of 64 queries or keys: a walk over them may not end before the last that counts. */
test.each([
  {
    name: "rows with pictures behind each other",
    window: 0,
    tokens: [0, 1, 2].flatMap((document) =>
      [...times(24, image), ...times(10, text()), ...times(16, text(1)), ...times(16, text(2))].map((token) => ({
        ...token,
        document,
      })),
    ),
  },
  {
    name: "a window from both answers into their prompt",
    window: 40,
    tokens: [...Array(200).keys()].map((t) => {
      const answer = t < 64 ? 0 : t < 132 ? 1 : 2;
      return { ...text(answer), position: answer === 2 ? t - 68 : t };
    }),
  },
])("attention over more than one block, $name", ({ name, window, tokens }) => {
  const shape = { B: 1, T: tokens.length, H: 2, KV: 2, D: 8, window };
  const info = words(tokens);
  const pairs = Uint32Array.from([...info].flatMap((word, t) => [word, (tokens[t] as Token).position ?? t]));
  return checkOp(gpu, {
    name: `attention ${name}`,
    inputs: {
      qkv: { shape: [shape.T, 6 * shape.D] },
      info: window > 0 ? { shape: [shape.T, 2], data: pairs } : { shape: [shape.T], data: info },
    },
    op: (ctx, t) => attention(ctx, t.qkv!, t.info!, shape),
    reference: ({ qkv }) => reference.attention(apart(qkv!, shape), tokens, shape),
    sampled: 100,
    variants: FAMILIES,
  });
});

test("a prompt's queries against keys and values in tensors of their own: the same bits as side by side", async () => {
  const shape = { B: 2, T: 23, H: 4, KV: 2, D: 8 };
  const { B, T, H, KV, D } = shape;
  const data = Float32Array.from({ length: B * T * (H + 2 * KV) * D }, (_, i) => Math.sin(i + 1));
  const parts = apart(Float64Array.from(data), shape);
  for (const matmul of gpu.variants) {
    const g = new Graph();
    const ctx = { g, variants: { matmul } };
    const qkv = g.input("qkv", [B * T, (H + 2 * KV) * D]);
    const alone = {
      q: g.input("q", [B * T, H * D]),
      k: g.input("k", [B * T, KV * D]),
      v: g.input("v", [B * T, KV * D]),
    };
    const mask = g.input("info", [B * T], "u32");
    const both = [
      keep(ctx, attention(ctx, qkv, mask, shape)),
      keep(ctx, promptAttention(ctx, alone.q, alone.k, alone.v, mask, shape)),
    ];
    await gpu.checked(async () => {
      const plan = await compile("apart", g, gpu.device, gpu.pipelines);
      plan.write(qkv, data);
      for (const name of ["q", "k", "v"] as const) plan.write(alone[name], Float32Array.from(parts[name]));
      plan.write(mask, words(times(B * T, text())));
      await plan.run();
      const [together, separate] = await plan.read(...both);
      expect(separate).toEqual(together);
      plan.destroy();
    });
  }
});

test("the size of workgroups and subgroups changes no bit", async () => {
  const shape = { B: 2, T: 23, H: 4, KV: 2, D: 8 };
  const { B, T, H, KV, D } = shape;
  const tokens = [...(MASKS["picture, two answers, padding"] as (T: number) => Token[])(T), ...times(T, text())];
  const run = async (variants: Variants) => {
    const g = new Graph();
    const ctx = { g, variants };
    const qkv = g.input("qkv", [B * T, (H + 2 * KV) * D], "f32", true);
    const mask = g.input("info", [B * T], "u32");
    const o = attention(ctx, qkv, mask, shape);
    const dout = g.input("dout", o.shape);
    g.backward([{ of: o, grad: dout }]);
    const kept = [o, g.gradOf(qkv) as Tensor].map((x) => keep(ctx, x));
    const plan = await compile("workgroups", g, gpu.device, gpu.pipelines);
    for (const [i, x] of [qkv, dout].entries())
      plan.write(
        x,
        Float32Array.from({ length: x.size }, (_, n) => Math.sin((i + 1) * (n + 1))),
      );
    plan.write(mask, words(tokens));
    await plan.run();
    const read = await plan.read(...kept);
    plan.destroy();
    return read;
  };
  for (const matmul of gpu.variants) {
    const narrow = await gpu.checked(() => run({ matmul, subgroup: 8 }));
    expect(await gpu.checked(() => run({ matmul, subgroup: 32 }))).toEqual(narrow);
    expect(await gpu.checked(() => run({ matmul, subgroup: 64 }))).toEqual(narrow);
  }
});

test("attention with scores of ±1000 stays finite and picks the largest", () =>
  checkOp(gpu, {
    name: "attention extremes",
    inputs: {
      qkv: {
        shape: [3, 12],
        data: new Float32Array(
          [
            [1, 0, 0, 0, -40, 0, 0, 0, 0.3, -0.7, 1.1, 0.2],
            [50, 0, 0, 0, 40, 0, 0, 0, -1.2, 0.4, 0.6, -0.1],
            [50, 0, 0, 0, 39, 0, 0, 0, 0.8, 1.5, -0.9, 0.5],
          ].flat(),
        ),
      },
      info: { shape: [3], data: words(times(3, text())) },
    },
    op: (ctx, t) => attention(ctx, t.qkv!, t.info!, { B: 1, T: 3, H: 1, KV: 1, D: 4 }),
    reference: ({ qkv }) => {
      const shape = { B: 1, T: 3, H: 1, KV: 1, D: 4 };
      return reference.attention(apart(qkv!, shape), times(3, text()), shape);
    },
    tolerance: 1e-4,
  }));

test("impossible head counts and sizes are refused", () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const call = (H: number, KV: number, D: number) => () =>
    attention(ctx, g.input("qkv", [2, (H + 2 * KV) * D]), g.input("info", [2], "u32"), { B: 1, T: 2, H, KV, D });
  expect(call(3, 2, 4)).toThrow("3 heads cannot share 2");
  expect(call(2, 2, 6)).toThrow("multiple of 4, got 6");
});

import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { attention, attentionDecode } from "../../src/ops/attention.ts";
import { info, PAD, PREFIX } from "../../src/ops/mask.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/attention.ts";
import { checkOp, keep, worstOf } from "./check.ts";

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
};

const words = (tokens: readonly Token[]) =>
  Uint32Array.from(tokens, ({ pad, prefix, segment }) => (pad ? PAD : info(segment, prefix ? PREFIX : 0)));

const SHAPES = [
  { B: 1, T: 1, H: 1, KV: 1, D: 4 },
  { B: 2, T: 5, H: 4, KV: 2, D: 8 },
  { B: 1, T: 9, H: 4, KV: 1, D: 16 },
  { B: 2, T: 6, H: 2, KV: 2, D: 64 },
  { B: 1, T: 65, H: 2, KV: 1, D: 8 },
];

for (const [name, mask] of Object.entries(MASKS))
  test.each(SHAPES)(`attention, ${name}: B $B, T $T, H $H/$KV, D $D`, (shape) => {
    const { B, T, H, KV, D } = shape;
    const tokens = Array.from({ length: B }, () => mask(T)).flat();
    return checkOp(gpu, {
      name: `attention ${name} ${JSON.stringify(shape)}`,
      inputs: {
        q: { shape: [B * T, H * D] },
        k: { shape: [B * T, KV * D] },
        v: { shape: [B * T, KV * D] },
        info: { shape: [B * T], data: words(tokens) },
      },
      op: (ctx, t) => attention(ctx, t.q!, t.k!, t.v!, t.info!, shape),
      reference: ({ q, k, v }) => reference.attention({ q: q!, k: k!, v: v! }, tokens, shape),
      sampled: 24,
    });
  });

test("attention with scores of ±1000 stays finite and picks the largest", () =>
  checkOp(gpu, {
    name: "attention extremes",
    inputs: {
      q: { shape: [3, 4], data: new Float32Array([1, 0, 0, 0, 50, 0, 0, 0, 50, 0, 0, 0]) },
      k: { shape: [3, 4], data: new Float32Array([-40, 0, 0, 0, 40, 0, 0, 0, 39, 0, 0, 0]) },
      v: { shape: [3, 4] },
      info: { shape: [3], data: words(times(3, text())) },
    },
    op: (ctx, t) => attention(ctx, t.q!, t.k!, t.v!, t.info!, { B: 1, T: 3, H: 1, KV: 1, D: 4 }),
    reference: ({ q, k, v }) =>
      reference.attention({ q: q!, k: k!, v: v! }, times(3, text()), { B: 1, T: 3, H: 1, KV: 1, D: 4 }),
    tolerance: 1e-4,
  }));

test.each([
  { H: 4, KV: 2, D: 8, prompts: [3, 5], K: 1, own: 1 },
  { H: 4, KV: 1, D: 16, prompts: [4], K: 3, own: 4 },
  { H: 2, KV: 2, D: 32, prompts: [1, 6, 2], K: 2, own: 3 },
])("decoding token by token equals full attention: %o", async ({ H, KV, D, prompts, K, own }) => {
  const rng = rngFor(7, H, KV, D);
  const G = prompts.length;
  const N = G * K;
  const TP = Math.max(...prompts) + 2;
  const TS = own + 1;
  const normals = (size: number) => Float32Array.from({ length: size }, () => rng.normal());
  const [kp, vp] = [normals(G * TP * KV * D), normals(G * TP * KV * D)];
  const steps = Array.from({ length: own }, () => ({
    q: normals(N * H * D),
    k: normals(N * KV * D),
    v: normals(N * KV * D),
  }));
  const promptInfo = Uint32Array.from({ length: G * TP }, (_, i) =>
    i % TP < (prompts[Math.floor(i / TP)] as number) ? info(0) : PAD,
  );

  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const t = {
    q: g.input("q", [N, H * D]),
    k: g.input("k", [N, KV * D]),
    v: g.input("v", [N, KV * D]),
    info: g.input("info", [G * TP], "u32"),
    step: g.input("step", [1], "u32"),
  };
  const cache = {
    kp: g.input("kp", [G * TP, KV * D]),
    vp: g.input("vp", [G * TP, KV * D]),
    ks: g.output("ks", [N * TS, KV * D]),
    vs: g.output("vs", [N * TS, KV * D]),
  };
  const out = keep(ctx, attentionDecode(ctx, t.q, t.k, t.v, cache, t.info, t.step, { N, K, H, KV, D, TP, TS }));
  await gpu.checked(async () => {
    const plan = await compile("decode", g, gpu.device, gpu.pipelines);
    plan.write(cache.kp, kp);
    plan.write(cache.vp, vp);
    plan.write(t.info, promptInfo);
    for (const [s, step] of steps.entries()) {
      plan.write(t.q, step.q);
      plan.write(t.k, step.k);
      plan.write(t.v, step.v);
      plan.write(t.step, new Uint32Array([s]));
      await plan.run();
      const [got] = (await plan.read(out)) as [Float32Array];
      for (let n = 0; n < N; n++) {
        // Full attention over [prompt, own tokens so far] of this row; only its last token counts.
        const group = Math.floor(n / K);
        const length = prompts[group] as number;
        const gather = (shared: Float32Array, key: "k" | "v") => [
          ...shared.subarray(group * TP * KV * D, (group * TP + length) * KV * D),
          ...steps.slice(0, s + 1).flatMap((one) => [...one[key].subarray(n * KV * D, (n + 1) * KV * D)]),
        ];
        const T = length + s + 1;
        const q = new Float64Array(T * H * D);
        q.set(step.q.subarray(n * H * D, (n + 1) * H * D), (T - 1) * H * D);
        const want = reference.attention(
          { q, k: Float64Array.from(gather(kp, "k")), v: Float64Array.from(gather(vp, "v")) },
          times(T, text()),
          { B: 1, T, H, KV, D },
        );
        const worst = worstOf(got.subarray(n * H * D, (n + 1) * H * D), want.subarray((T - 1) * H * D));
        expect(worst.error, `step ${s}, row ${n}, element ${worst.index}`).toBeLessThan(1e-5);
      }
    }
    plan.destroy();
  });
});

test("impossible head counts and sizes are refused", () => {
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const call = (H: number, KV: number, D: number) => () =>
    attention(
      ctx,
      g.input("q", [2, H * D]),
      g.input("k", [2, KV * D]),
      g.input("v", [2, KV * D]),
      g.input("info", [2], "u32"),
      { B: 1, T: 2, H, KV, D },
    );
  expect(call(3, 2, 4)).toThrow("3 heads cannot share 2");
  expect(call(2, 2, 6)).toThrow("multiple of 4, got 6");
});

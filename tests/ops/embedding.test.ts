import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { Graph } from "../../src/gpu/graph.ts";
import { addResidual } from "../../src/ops/elementwise.ts";
import { embed, gatherRows } from "../../src/ops/embedding.ts";
import { IMAGE, info, PAD } from "../../src/ops/mask.ts";
import { openTestGpu } from "../gpu/open.ts";
import * as reference from "../reference/embed.ts";
import { packed, rounded } from "../reference/float16.ts";
import { checkOp, someRows } from "./check.ts";

const gpu = await openTestGpu();

/** Rows of tokens, some of them patches, some padding; and the sorted order that the gradient needs. */
function rows(R: number, V: number, P: number) {
  const rng = rngFor(5, R, V, P);
  const places = rng.shuffle([...Array(R).keys()]).slice(0, P);
  const image = Array.from({ length: R }, (_, r) => places.includes(r));
  const id = Uint32Array.from({ length: R }, (_, r) => (image[r] ? places.indexOf(r) : rng.int(V)));
  const pad = Array.from({ length: R }, (_, r) => R > 3 && r === R - 1 && !image[r]);
  const words = Uint32Array.from({ length: R }, (_, r) => (pad[r] ? PAD : info(0, image[r] ? IMAGE : 0)));
  const tokens = [...Array(R).keys()]
    .filter((r) => !image[r])
    .sort((a, b) => (id[a] as number) - (id[b] as number) || a - b);
  const start = Uint32Array.from({ length: V + 1 }, (_, v) => tokens.filter((r) => (id[r] as number) < v).length);
  const order = Uint32Array.from({ length: R }, (_, i) => tokens[i] ?? 0);
  return { image, id, words, order, start, patchRow: Uint32Array.from(places) };
}

test.each([
  [1, 1, 1, 0],
  [5, 3, 5, 2],
  [65, 7, 65, 12],
  [200, 200, 5, 65],
])("embed: %i rows, vocabulary %i, width %i, %i patches; tokens repeat, so their gradients add up", (R, V, C, P) => {
  const { image, id, words, order, start, patchRow } = rows(R, V, P);
  return checkOp(gpu, {
    name: `embed ${R} ${V} ${C} ${P}`,
    inputs: {
      id: { shape: [R], data: id },
      info: { shape: [R], data: words },
      order: { shape: [R], data: order },
      start: { shape: [V + 1], data: start },
      table: { shape: [V, C] },
      ...(P > 0 ? { patches: { shape: [P, C] }, patchRow: { shape: [P], data: patchRow } } : {}),
    },
    op: (ctx, t) =>
      embed(
        ctx,
        { id: t.id!, info: t.info!, order: t.order!, start: t.start!, ...(t.patchRow ? { patchRow: t.patchRow } : {}) },
        t.table!,
        t.patches ?? null,
      ),
    reference: ({ table, patches }) => reference.embed(id, image, table!, patches ?? null, C),
  });
});

test("embed: a table in f16 gives its rounded rows beside patches in f32; a width of 6 is refused", async () => {
  const [R, V, C, P] = [65, 7, 12, 12];
  const { image, id, words } = rows(R, V, P);
  const rng = rngFor(9, "table");
  const table = rounded(Float32Array.from({ length: V * C }, () => rng.normal()));
  await checkOp(gpu, {
    name: "embed f16",
    inputs: {
      id: { shape: [R], data: id },
      info: { shape: [R], data: words },
      table: { shape: [V, C / 2], data: packed(table) },
      patches: { shape: [P, C], grad: false },
    },
    op: (ctx, t) => embed(ctx, { id: t.id!, info: t.info! }, t.table!, t.patches!),
    reference: ({ patches }) => reference.embed(id, image, Float64Array.from(table), patches!, C),
    tolerance: 0,
  });
  const g = new Graph();
  const ctx = { g, variants: { matmul: "plain" as const } };
  const one = g.input("one", [1], "u32");
  expect(() => embed(ctx, { id: one, info: one }, g.input("table", [4, 3], "u32"), null)).toThrow(
    "multiple of 4, got 6",
  );
});

test("embed twice with one table: the second gradient is added to the first", () => {
  const [R, V, C] = [5, 7, 3];
  const { image, id, words, order, start } = rows(R, V, 0);
  return checkOp(gpu, {
    name: "embed twice",
    inputs: {
      id: { shape: [R], data: id },
      info: { shape: [R], data: words },
      order: { shape: [R], data: order },
      start: { shape: [V + 1], data: start },
      table: { shape: [V, C] },
    },
    op: (ctx, t) => {
      const once = () => embed(ctx, { id: t.id!, info: t.info!, order: t.order!, start: t.start! }, t.table!, null);
      return addResidual(ctx, once(), once());
    },
    reference: ({ table }) => reference.embed(id, image, table!, null, C).map((value) => 2 * value),
  });
});

test.each([
  [1, 1, 1],
  [5, 3, 3],
  [65, 5, 20],
  [200, 200, 65],
])("gatherRows: %i rows, width %i, %i picked, some places empty", (R, C, M) => {
  const { rows, index } = someRows(R, M);
  return checkOp(gpu, {
    name: `gather ${R} ${C} ${M}`,
    inputs: { x: { shape: [R, C], grad: false }, index: { shape: [M], data: index } },
    op: (ctx, t) => gatherRows(ctx, t.x!, t.index!),
    reference: ({ x }) => reference.gather(x!, rows, C),
  });
});

test("the words of the mask do not overlap", () => {
  expect(info(3, PAD | IMAGE) & 0xffff).toBe(3);
  expect(new Set([PAD, IMAGE, 0x20000000]).size).toBe(3);
});

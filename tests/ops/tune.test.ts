import { expect, test } from "vitest";
import { Pipelines } from "../../src/gpu/pipelines.ts";
import type { MatmulVariant, Product } from "../../src/ops/context.ts";
import { shaderSource } from "../../src/ops/shaders.ts";
import {
  candidates,
  kernelTexts,
  loadTuned,
  saveTuned,
  type TuningStore,
  tune,
  tuningKey,
} from "../../src/ops/tune.ts";
import { chooseKernel, chooseVariants, variantRecord, variantsFrom } from "../../src/ops/variants.ts";
import { openTestGpu } from "../gpu/open.ts";

const gpu = await openTestGpu();
const { device } = gpu;
const variants = { matmul: "plain" as const };
const can = { lanes: 8, threads: 256 };

function memory(): TuningStore & { readonly table: Map<string, string> } {
  const table = new Map<string, string>();
  return {
    table,
    get: async (key) => table.get(key) ?? null,
    put: async (key, value) => void table.set(key, value),
  };
}

test("a kernel with a wrong result cannot win, the others are timed, and the winner is kept for this shape", async () => {
  // gemv-2 leaves a thousandth of the product out: too little to be seen in a training run, too much for rounding.
  const pipelines = new Pipelines(device, (key) =>
    key.includes("gemv?ROWS=2")
      ? shaderSource(key).replace("p.scale * sum", "0.999 * p.scale * sum")
      : shaderSource(key),
  );
  const shape = { product: "nn", R: 8, K: 64, N: 64 } as const;
  const target = { device, pipelines, variants, subgroupMinSize: 0 };
  let clock = 0;
  const budget = { now: () => clock++, until: 1000, rounds: 2 };
  const [tuned] = await gpu.checked(() => tune(target, [shape], budget));
  expect(tuned?.trials.map(({ kind, choice }) => `${choice} ${kind}`).sort()).toEqual([
    "gemv-1 measured",
    "gemv-2 wrong",
    "gemv-4 measured",
    "plain-1 measured",
    "plain-4 measured",
    "plain-8 measured",
  ]);
  expect(tuned?.standard).toBe("plain-8");
  expect(tuned?.winner).not.toBe("gemv-2");
  const wrong = tuned?.trials.find(({ kind }) => kind === "wrong");
  expect(wrong?.kind === "wrong" && wrong.error).toBeGreaterThan(64e-6);
  expect(pipelines.plans.size).toBe(0);

  const store = memory();
  await saveTuned(store, "adapter", can, tuned ? [tuned] : []);
  expect(await loadTuned(store, "adapter", can)).toEqual({ "nn 8x64x64": tuned?.winner });
  expect(await tune(target, [shape], { now: () => 5, until: 5 })).toEqual([]);
});

test("a table's entries that this version or adapter cannot run are left out; another adapter or driver has another table", async () => {
  const store = memory();
  const table = {
    "nn 8x64x64": "gone-9",
    "xx 1x1x1": "plain-8",
    "nn 8x64": "plain-8",
    "nt 8x64x64": 5,
    "nn 64x64x64": "tile-64x64",
    "nn 64x64x8": "sg4-8",
    "tn 64x64x64": "sg8-32/999",
    "tn 64x8x8": "sg8-32/4",
  };
  await store.put("a", JSON.stringify(table));
  expect(await loadTuned(store, "a", can)).toEqual({
    "nn 64x64x64": "tile-64x64",
    "nn 64x64x8": "sg4-8",
    "tn 64x8x8": "sg8-32/4",
  });
  expect(await loadTuned(store, "a", { lanes: 4, threads: 64 })).toEqual({ "nn 64x64x8": "sg4-8" });
  for (const broken of ["{", "null", "[1]", '"text"']) {
    await store.put("b", broken);
    expect(await loadTuned(store, "b", can)).toEqual({});
  }
  const adapter = { vendor: "v", architecture: "a", description: "driver 1" };
  expect(tuningKey(adapter)).toMatch(/^v\|a\|driver 1\|[0-9a-f]{64}$/);
  expect(tuningKey({ ...adapter, description: "driver 2" })).not.toBe(tuningKey(adapter));
  // Another text of any kernel, also in a branch that is off by default, or other constants: another table.
  const texts = kernelTexts();
  const all = texts.join("\n");
  for (const part of ["#if NT", "#if EXCHANGE", "#if HALF_A", "loraRows(member", "LANES=8&LOADS=4"])
    expect(all).toContain(part);
  expect(new Set(texts.map((_, i) => tuningKey(adapter, texts.with(i, `${texts[i]} `)))).size).toBe(texts.length);
});

test("candidates need no subgroups that the device lacks; few rows get the kernels for few rows, long sums get parts", () => {
  const names = (subgroupMinSize: number, R: number, K: number, N: number) =>
    candidates({ device, variants, subgroupMinSize }, { product: "nn", R, K, N });
  expect(names(0, 512, 512, 512).filter((name) => name.startsWith("sg"))).toEqual([]);
  expect(names(4, 512, 512, 512).filter((name) => name.startsWith("sg8"))).toEqual([]);
  expect(names(8, 512, 512, 512)).toContain("sg8-32");
  expect(names(0, 512, 512, 512).filter((name) => name.startsWith("gemv"))).toEqual([]);
  expect(names(0, 1, 1024, 1024)).toContain("gemv-1/16");
});

test("the default fits the shape: rows of one token, few columns, large squares", () => {
  const name = (matmul: MatmulVariant, product: Product, rows: number, K: number, N: number) =>
    chooseKernel({ matmul }, product, "", { rows, K, N }).name;
  expect(name("sg8", "nn", 1024, 1024, 1024)).toBe("turned-32x64");
  expect(name("sg8", "nn", 1022, 1024, 1024)).toBe("sg8-32"); // 1022 is no multiple of 4
  expect(name("sg8", "nn", 1024, 1024, 256)).toBe("sg8-32"); // too few columns to transpose for
  expect(name("sg8", "tn", 256, 512, 256)).toBe("sg8-32x64");
  expect(name("sg8", "tn", 64, 2048, 64)).toBe("sg8-16");
  expect(name("tile-sg8", "tn", 1024, 1024, 1024)).toBe("sg8-16"); // not for GPUs
  const lora = { rows: 1024, K: 1024, N: 1024, lora: true };
  expect(chooseKernel({ matmul: "sg8" }, "nn", "", lora).name).toBe("sg8-32");
  expect(name("sg8", "nn", 128, 64, 64)).toBe("sg8-16");
  expect(name("sg8", "nn", 1, 256, 688)).toBe("plain-1");
  expect(name("sg4", "nn", 4, 256, 688)).toBe("sg4-4");
  expect(name("sg4", "nn", 16, 256, 688)).toBe("quad-16x32");
  expect(name("sg4", "nn", 2048, 64, 352)).toBe("quad-32x32");
  expect(name("sg4", "nn", 320, 64, 352)).toBe("sg4-8"); // a small model's first sample
  expect(name("sg4", "nn", 64, 256, 688)).toBe("quad-32x64");
  expect(name("sg4", "nn", 64, 256, 696)).toBe("quad-32x32"); // 696 is no multiple of 16
  expect(name("sg4", "nn", 4096, 100, 64)).toBe("sg4-8"); // 100 is no multiple of 8
  expect(name("sg4", "nn", 8192, 64, 36)).toBe("sg4-8");
  expect(name("sg4", "nt", 64, 64, 64)).toBe("sg4-8");
  expect(name("sg4", "tn", 64, 2048, 64)).toBe("quad-32x32");
  expect(name("sg4", "tn", 20, 2048, 64)).toBe("quad-16x32");
  // A table's kernel that does not fit the sizes or the operands is passed over.
  const odd = { rows: 64, K: 100, N: 64 };
  expect(chooseKernel({ matmul: "sg4", tuned: { x: "quad-32x32" } }, "nn", "x", odd).name).toBe("sg4-8");
  const half = { rows: 64, K: 256, N: 688, half: true };
  expect(chooseKernel({ matmul: "sg4", tuned: { x: "quad-32x32" } }, "nn", "x", half).name).toBe("sg4-8");
  expect(name("sg4", "nt", 2048, 64, 8)).toBe("plain-8");
  expect(name("sg8", "tn", 64, 2048, 8)).toBe("plain-16");
  expect(name("sg8", "tn", 8, 2048, 64)).toBe("sg8-8");
  expect(name("tile", "nn", 1024, 1024, 1024)).toBe("tile-64x64");
  expect(name("tile", "nn", 128, 64, 64)).toBe("tile-32x32");
  expect(name("tile-sg8", "nn", 128, 64, 8)).toBe("plain-8");
  expect(name("tile", "tn", 64, 2048, 64)).toBe("plain-16");
  expect(name("tile-sg8", "tn", 64, 2048, 64)).toBe("sg8-16");
});

test("a GPU gets tiles, a software adapter the broadcast of as many lanes as all its subgroups have", () => {
  const features = ["subgroups"];
  expect(chooseVariants({ features, subgroupMinSize: 32, fallback: false })).toEqual({
    matmul: "tile-sg8",
    subgroup: 32,
  });
  expect(chooseVariants({ features: [], subgroupMinSize: 32, fallback: false })).toEqual({ matmul: "tile" });
  expect(chooseVariants({ features, subgroupMinSize: 8, fallback: true })).toEqual({ matmul: "sg8", subgroup: 8 });
  expect(chooseVariants({ features, subgroupMinSize: 4, fallback: true })).toEqual({ matmul: "sg4", subgroup: 4 });
  expect(chooseVariants({ features: [], subgroupMinSize: 4, fallback: true })).toEqual({ matmul: "plain" });
});

test("a tuning that is told to end leaves the shape that it was at out", async () => {
  const shape = { product: "nn", R: 8, K: 64, N: 64 } as const;
  const target = { device, pipelines: gpu.pipelines, variants, subgroupMinSize: 0 };
  let left = 2;
  const budget = { now: () => 0, until: 1, goOn: async () => left-- > 0 };
  expect(await gpu.checked(() => tune(target, [shape], budget))).toEqual([]);
  expect(gpu.pipelines.plans.size).toBe(0);
});

test("what a run journals of its kernels is what a replay can pin, and nothing else", () => {
  const pinned = { matmul: "sg8" as const, tuned: { "nn 2048x64x64": "sg8-32", "tn 2048x64x176": "sg8-16/4" } };
  expect(variantsFrom(variantRecord(pinned))).toEqual(pinned);
  expect(variantRecord({ matmul: "plain" })).toEqual({ matmul: "plain" });
  expect(() => variantsFrom({ matmul: "sg16" })).toThrow("there is no kernel family sg16");
  expect(() => variantsFrom({ matmul: "sg8", "nn 8x8x8": "gone-1" })).toThrow("there is no kernel gone-1 for nn");
});

test("a tuned kernel that cannot add what adapters add is not taken for a product that has to", () => {
  const key = "nn 1x64x64";
  const choose = (lora: boolean) =>
    chooseKernel({ matmul: "plain", tuned: { [key]: "gemv-1" } }, "nn", key, { rows: 1, K: 64, N: 64, lora }).name;
  expect([choose(false), choose(true)]).toEqual(["gemv-1", "plain-1"]);
});

import { expect, test } from "vitest";
import { Pipelines } from "../../src/gpu/pipelines.ts";
import { shaderSource } from "../../src/ops/shaders.ts";
import { candidates, loadTuned, saveTuned, type TuningStore, tune, tuningKey } from "../../src/ops/tune.ts";
import { variantRecord, variantsFrom } from "../../src/ops/variants.ts";
import { openTestGpu } from "../gpu/open.ts";

const gpu = await openTestGpu();
const { device } = gpu;
const variants = { matmul: "plain" as const };

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
    "plain-4 measured",
    "plain-8 measured",
  ]);
  expect(tuned?.standard).toBe("plain-8");
  expect(tuned?.winner).not.toBe("gemv-2");
  const wrong = tuned?.trials.find(({ kind }) => kind === "wrong");
  expect(wrong?.kind === "wrong" && wrong.error).toBeGreaterThan(64e-6);
  expect(pipelines.plans.size).toBe(0);

  const store = memory();
  await saveTuned(store, "adapter", tuned ? [tuned] : []);
  expect(await loadTuned(store, "adapter")).toEqual({ "nn 8x64x64": tuned?.winner });
  expect(await tune(target, [shape], { now: () => 5, until: 5 })).toEqual([]);
});

test("a table's entries that this version cannot read are left out; another adapter or driver has another table", async () => {
  const store = memory();
  await store.put("a", '{"nn 8x64x64":"gone-9","xx 1x1x1":"plain-8","tn 64x8x8":"sg8-32/4"}');
  expect(await loadTuned(store, "a")).toEqual({ "tn 64x8x8": "sg8-32/4" });
  const adapter = { vendor: "v", architecture: "a", description: "driver 1" };
  expect(tuningKey(adapter)).toMatch(/^v\|a\|driver 1\|[0-9a-f]{64}$/);
  expect(tuningKey({ ...adapter, description: "driver 2" })).not.toBe(tuningKey(adapter));
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

test("what a run journals of its kernels is what a replay can pin, and nothing else", () => {
  const pinned = { matmul: "sg8" as const, tuned: { "nn 2048x64x64": "sg8-32", "tn 2048x64x176": "sg8-16/4" } };
  expect(variantsFrom(variantRecord(pinned))).toEqual(pinned);
  expect(variantRecord({ matmul: "plain" })).toEqual({ matmul: "plain" });
  expect(() => variantsFrom({ matmul: "sg16" })).toThrow("there is no kernel family sg16");
  expect(() => variantsFrom({ matmul: "sg8", "nn 8x8x8": "gone-1" })).toThrow("there is no kernel gone-1 for nn");
});

import { expect, test } from "vitest";
import { Graph, read, write } from "../../src/gpu/graph.ts";
import { compile } from "../../src/gpu/plan.ts";
import { PlanCache } from "../../src/gpu/plan-cache.ts";
import { openTestGpu } from "./open.ts";

const gpu = await openTestGpu();

/** y = x + x over `n` numbers. */
async function doubling(n: number) {
  const g = new Graph();
  const [x, y] = [g.input("x", [n]), g.output("y", [n])];
  g.dispatch({
    shader: "add",
    constants: {},
    uniforms: [n, n],
    bindings: [read(x), read(x), write(y)],
    workgroups: [Math.ceil(n / 256), 1, 1],
    flops: n,
  });
  return { plan: await compile(`double ${n}`, g, gpu.device, gpu.pipelines), x, y };
}

test("plans are kept up to a limit of bytes; the least recently used go, the last one stays", async () => {
  const one = await doubling(1000);
  const each = one.plan.bytes;
  one.plan.destroy();
  const cache = new PlanCache<Awaited<ReturnType<typeof doubling>>>(2.5 * each);
  const built: string[] = [];
  const get = (key: string, n = 1000) =>
    cache.get(key, () => {
      built.push(key);
      return doubling(n);
    });
  const live = () => gpu.pipelines.plans.size;
  for (const key of ["a", "b", "a", "c"]) await get(key); // b is the oldest when c comes
  expect([built, live()]).toEqual([["a", "b", "c"], 2]);
  await get("a");
  await get("b");
  expect([built, live()]).toEqual([["a", "b", "c", "b"], 2]);
  await get("large", 100_000);
  expect(live()).toBe(1);
  await cache.destroy();
  expect(live()).toBe(0);
  await expect(cache.get("broken", () => Promise.reject(new Error("no room")))).rejects.toThrow("no room");
  await get("broken");
  expect(live()).toBe(1);
  await cache.destroy();
});

test("a plan that goes while its result is read still gives it", async () => {
  await gpu.checked(async () => {
    const { plan, x, y } = await doubling(8);
    plan.write(
      x,
      Float32Array.from({ length: 8 }, (_, i) => i),
    );
    await plan.run();
    const reading = plan.read(y);
    plan.destroy();
    expect([...((await reading)[0] as Float32Array)]).toEqual([0, 2, 4, 6, 8, 10, 12, 14]);
  });
});

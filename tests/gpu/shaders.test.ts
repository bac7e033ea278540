import { expect, test } from "vitest";
import { Graph, read, write } from "../../src/gpu/graph.ts";
import { Pipelines } from "../../src/gpu/pipelines.ts";
import { compile, Pace } from "../../src/gpu/plan.ts";
import { shaderNames, shaderSource } from "../../src/ops/shaders.ts";
import { openTestGpu } from "./open.ts";

const gpu = await openTestGpu();

test.each(shaderNames)(
  "%s: at most 8 storage buffers, no workgroup larger than 256, its formula on top; it compiles",
  async (name) => {
    const code = shaderSource(name);
    const storage = [...code.matchAll(/@binding\((\d+)\) var<storage, (read|read_write)>/g)];
    expect(storage.length).toBeGreaterThan(0);
    expect(storage.length).toBeLessThanOrEqual(8);
    expect(code.startsWith("//")).toBe(true);
    const bindings = [...code.matchAll(/@binding\((\d+)\)/g)].map((match) => Number(match[1]));
    expect(bindings).toEqual([...Array(bindings.length).keys()]);
    const needs = code.includes("enable subgroups;") ? "subgroups" : null;
    expect(needs === null || gpu.device.features.has(needs), `this adapter cannot compile ${name}`).toBe(true);
    await gpu.checked(() => gpu.pipelines.get(name, {}));
  },
);

test("an unknown shader or constant, and a mistake in a shader, name the file", async () => {
  expect(() => shaderSource("nothing")).toThrow("there is no shader shaders/nothing.wgsl");
  expect(() => shaderSource("add?S4=3")).toThrow("shaders/add.wgsl has no constant S4");
  expect(shaderSource("attention_fwd?S4=16")).toContain("const S4: u32 = 16u;");
  expect(shaderSource("add?V=vec4f")).toContain("alias V = vec4f;");
  const broken = new Pipelines(gpu.device, () => "@compute @workgroup_size(1)\nfn main() {\n  let x = w;\n}\n");
  gpu.device.pushErrorScope("validation");
  await expect(broken.get("add", {})).rejects.toThrow("shaders/add.wgsl:3:11 unresolved value 'w'");
  await gpu.device.popErrorScope();
});

test("temporaries share memory only while none of them is alive", async () => {
  // a = x + 1, b = a + 1, … each only needed by the next: two slots are enough for any length.
  const g = new Graph();
  const x = g.input("x", [100]);
  const one = g.input("one", [1]);
  let last = x;
  const add = (from: typeof x, to: typeof x) =>
    g.dispatch({
      shader: "add",
      constants: {},
      uniforms: [100, 1],
      bindings: [read(from), read(one), write(to)],
      workgroups: [2, 1, 1],
      flops: 100,
    });
  for (let i = 0; i < 20; i++) {
    const next = g.temp(`t${i}`, [100]);
    add(last, next);
    last = next;
  }
  const out = g.output("out", [100]);
  add(last, out);
  await gpu.checked(async () => {
    const plan = await compile("chain", g, gpu.device, gpu.pipelines);
    plan.write(x, new Float32Array(100).fill(5));
    plan.write(one, new Float32Array([1]));
    await plan.run();
    expect(new Set((await plan.read(out))[0])).toEqual(new Set([26]));
    expect(plan.dispatches).toBe(21);
    expect(plan.bytes).toBeLessThan(5 * 512 + 512 + 256 * 22);
    expect(() => plan.write(x, new Float32Array(99))).toThrow("x takes 100 elements, got 99");
    expect(() => plan.bufferOf(last)).toThrow("is a temporary");
    plan.destroy();
  });
});

test("a temporary that is read before it is written is refused", async () => {
  const g = new Graph();
  const [t, y] = [g.temp("t", [4]), g.output("y", [4])];
  g.dispatch({
    shader: "add",
    constants: {},
    uniforms: [4, 4],
    bindings: [read(t), read(t), write(y)],
    workgroups: [1, 1, 1],
    flops: 4,
  });
  await expect(compile("early", g, gpu.device, gpu.pipelines)).rejects.toThrow("add reads t before anything wrote it");
});

test("a plan run in slices, and several times in one submit, gives the bits of a plan run at once", async () => {
  // x ← x + 1, thirty times: the order matters for what has been read when.
  const g = new Graph();
  const [x, one, t] = [g.input("x", [4]), g.input("one", [1]), g.temp("t", [4])];
  const step = (from: typeof x, add: typeof x, to: typeof x) =>
    g.dispatch({
      shader: "add",
      constants: {},
      uniforms: [4, add.size],
      bindings: [read(from), read(add), write(to)],
      workgroups: [1, 1, 1],
      flops: 1e9,
    });
  const zero = g.input("zero", [1]);
  for (let i = 0; i < 10; i++) {
    step(x, one, t);
    step(t, zero, x);
  }
  const plan = await compile("sliced", g, gpu.device, gpu.pipelines);
  plan.write(one, new Float32Array([1]));
  const results: number[][] = [];
  for (const run of [() => plan.run(new Pace(1, 0.001), 3), () => plan.run(undefined, 3)]) {
    plan.write(x, new Float32Array([0, 1, 2, 3]));
    await gpu.checked(run);
    results.push([...((await plan.read(x))[0] as Float32Array)]);
  }
  expect(results).toEqual([
    [30, 31, 32, 33],
    [30, 31, 32, 33],
  ]);
  plan.destroy();
});

test("a dispatch that does not fit its shader is refused when the plan is compiled", async () => {
  const g = new Graph();
  g.dispatch({
    shader: "add",
    constants: {},
    uniforms: [4, 4],
    bindings: [read(g.input("a", [4])), write(g.output("y", [4]))],
    workgroups: [1, 1, 1],
    flops: 4,
  });
  await expect(compile("short", g, gpu.device, gpu.pipelines)).rejects.toThrow("plan short: ");
});

import { expect, test } from "vitest";
import type { LoopEvent } from "../../src/base/events.ts";
import type { PlanSpan } from "../../src/base/spans.ts";
import { flame, kernelTimes, neighbour, recordedTime, visible } from "../../src/ui/charts/flame.ts";
import { en } from "../../src/ui/strings/en.ts";

const event = (type: string, at: number, round: number, seq: number) => ({ type, at, round, seq }) as LoopEvent;
const events = [
  event("started", 1000, 0, 0),
  event("proposed", 1010, 1, 1),
  event("sampled", 1500, 1, 2),
  event("trained", 2000, 1, 3),
];
const kernels = (ms: number) => [
  { shader: "matmul_nn", count: 2, ms },
  { shader: "sample", count: 1, ms: 1 },
];
const spans: readonly PlanSpan[] = [
  { label: "prompt", start: 1020, end: 1100, kernels: kernels(50) },
  { label: "decode", start: 1090, end: 1200, kernels: kernels(40) },
  { label: "decode", start: 1195, end: 1300, kernels: kernels(60) },
  { label: "train step", start: 1600, end: 1900, kernels: kernels(599) },
];
const blocks = flame(events, spans);
const named = (name: string) => {
  const found = blocks.find((block) => block.name === name);
  if (!found) throw new Error(`there is no block ${name}`);
  return found;
};

test("rounds hold phases, phases plans, plans kernels", () => {
  expect(named("1")).toMatchObject({ kind: "round", start: 1010, end: 2000, parent: null });
  expect(named("sampled")).toMatchObject({ kind: "phase", start: 1010, end: 1500, parent: named("1").id });
  expect(named("prompt")).toMatchObject({ kind: "plan", parent: named("sampled").id, ms: 80 });
  expect(named("train step").parent).toBe(named("trained").id);
  for (const block of blocks) {
    const above = blocks.find(({ id }) => id === block.parent);
    if (above) expect(block.start >= above.start && block.end <= above.end + 1e-9, block.name).toBe(true);
  }
});

test("runs of one plan in a row are one block, which begins where the plan before it ends", () => {
  const decode = named("decode");
  expect(decode).toMatchObject({ start: 1100, end: 1300, count: 2 });
  const own = blocks.filter(({ parent }) => parent === decode.id);
  expect(own.map(({ name, count, ms }) => [name, count, ms])).toEqual([
    ["matmul_nn", 4, 100],
    ["sample", 2, 2],
  ]);
});

test("kernels that together took longer than their plan was wide are drawn narrower and keep their time", () => {
  const [matmul] = blocks.filter(({ parent }) => parent === named("train step").id);
  expect(matmul?.ms).toBe(599);
  expect(matmul && matmul.end - matmul.start).toBeCloseTo(300 * (599 / 600), 6);
});

test("nothing recorded is nothing drawn; events without a plan in reach are left out", () => {
  expect(flame(events, [])).toEqual([]);
  const late = flame(events, [{ label: "later", start: 3000, end: 3100, kernels: [] }]);
  expect(late.map(({ name, parent }) => [name, parent])).toEqual([["later", null]]);
});

test("kernels are added up over all plans, the longest first, with shares of their time", () => {
  expect(kernelTimes(spans)).toEqual([
    { name: "matmul_nn", count: 8, ms: 749, share: 749 / 753 },
    { name: "sample", count: 4, ms: 4, share: 4 / 753 },
  ]);
  expect(kernelTimes([])).toEqual([]);
  expect(recordedTime(spans)).toEqual([1020, 1900]);
  expect(en.profiler.percent(749 / 753)).toBe("99.5%");
});

test("a window shows what overlaps it and is wide enough; arrow keys stay inside it", () => {
  const all = visible(blocks, 1000, 2000, 1000);
  expect(all).toContain(named("prompt"));
  const narrow = visible(blocks, 1000, 2000, 10);
  expect(narrow.map(({ name }) => name)).not.toContain("prompt");
  expect(visible(blocks, 1600, 2000, 100).map(({ name }) => name)).not.toContain("sampled");
  const [round, sampled, prompt] = [named("1"), named("sampled"), named("prompt")];
  expect(neighbour(all, prompt, "ArrowUp")).toBe(sampled);
  expect(neighbour(all, round, "ArrowUp")).toBe(round);
  expect(neighbour(all, round, "ArrowDown").kind).toBe("phase");
  expect(neighbour(all, prompt, "ArrowRight").name).toBe("decode");
  expect(neighbour(all, prompt, "ArrowLeft")).toBe(prompt);
});

test("a block says what it is", () => {
  expect(en.profiler.block(named("decode"))).toBe("Plan decode, 2 ×: 200 ms");
  expect(en.profiler.block(named("1"))).toBe("Round 1: 990 ms");
});

import { describe, expect, test } from "vitest";
import type { Candidate, Task } from "../../src/base/records.ts";
import { createEvaluator, evaluateKinds, heldOutItems } from "../../src/eval/evaluate.ts";
import { createGold } from "../../src/eval/gold.ts";
import { redraw } from "../../src/judge/pixels.ts";
import type { EnginePort } from "../../src/loop/ports.ts";
import { createCamera } from "../../src/world/camera.ts";
import { KINDS, parseAnswer } from "../../src/world/questions.ts";
import { decode, encode } from "../../src/world/vocabulary.ts";

const candidate = (tokens: readonly number[]): Candidate => ({
  tokens,
  text: decode(tokens),
  logprob: -1,
  finished: true,
});

/** An engine that answers from a table: `greedy` and `sampled` map a task's id to tokens. */
function engineOf(greedy: (task: Task) => readonly number[], sampled: (task: Task) => readonly number[]): EnginePort {
  const never = (): never => {
    throw new Error("an evaluation only asks for answers");
  };
  return {
    device: { vendor: "", architecture: "", description: "table", fallback: true, features: [], variants: {} },
    base: "",
    greedy: async (tasks) => tasks.map((task) => candidate(greedy(task))),
    sample: async (tasks, { k }) => tasks.map((task) => Array.from({ length: k }, () => candidate(sampled(task)))),
    logprobs: never,
    begin: never,
    train: never,
    snapshot: never,
    load: never,
  };
}

describe("held-out items", () => {
  test("are the same every time, balanced, and not the camera's", async () => {
    const options = { kind: "describe", world: "B", items: 60, seed: 5 } as const;
    const items = heldOutItems(options);
    expect(heldOutItems(options)).toEqual(items);
    for (const size of ["1", "2", "3", "4", "5", "6"]) {
      expect(items.filter((item) => item.answerClass === size)).toHaveLength(10);
    }
    const seen = await createCamera().propose({ world: "B", round: 0, count: 60, seed: 5 });
    expect(new Set([...items.map((item) => item.task.id), ...seen.map((task) => task.id)]).size).toBe(120);
    expect(() => heldOutItems({ ...options, items: 3 })).toThrow("6 answer classes");
  });
});

describe("evaluator", () => {
  test("greedy and sampled stand apart, and sizes count alike", async () => {
    const options = { world: "B", items: 31, seed: 7 } as const;
    const truths = new Map(heldOutItems({ kind: "describe", ...options }).map((item) => [item.task.id, item.truth]));
    const truth = (task: Task) => truths.get(task.id)!;
    const upToThree = (task: Task) => (truth(task).length <= 13 ? truth(task) : encode("red circle a 1 <eos>"));
    const result = await createEvaluator().evaluate({
      engine: engineOf(upToThree, truth),
      adapter: "base",
      ...options,
    });
    expect(result.greedy).toMatchObject({ n: 31, correct: 16, value: 0.5 });
    expect(result.sampled).toMatchObject({ n: 31, correct: 31, value: 1 });
    expect(result.ci).toEqual(result.greedy.ci);
    expect(Object.entries(result.perKind).map(([name, score]) => [name, score.n, score.value])).toEqual([
      ["describe/1", 6, 1],
      ["describe/2", 5, 1],
      ["describe/3", 5, 1],
      ["describe/4", 5, 0],
      ["describe/5", 5, 0],
      ["describe/6", 5, 0],
    ]);
  });

  test("a model that always says no, or 0, scores one class and no more", async () => {
    const lazy = engineOf(
      (task) => encode(task.kind === "count" ? "0 <eos>" : "no <eos>"),
      () => encode("no <eos>"),
    );
    const results = await evaluateKinds({
      engine: lazy,
      adapter: "base",
      world: "A",
      items: 60,
      seed: 1,
      kinds: KINDS,
    });
    expect([...results].map(([kind, result]) => [kind, result.greedy.value])).toEqual([
      ["describe", 0],
      ["count", 1 / 6],
      ["exists", 0.5],
      ["left-of", 0.5],
      ["sum", 0],
      ["difference", 0],
    ]);
  });
});

describe("gold judge", () => {
  test("knows the camera's scenes and scores 1 only for them", async () => {
    const tasks = await createCamera().propose({ world: "A", round: 2, count: 6, seed: 3 });
    const gold = createGold({ world: "A", count: 6, seedOf: (round) => round + 1 });
    for (const task of tasks) {
      const right = describedBy(task);
      expect(gold(task, right)).toBe(1);
      expect(gold(task, [...right.slice(4)])).toBeLessThan(1);
      expect(gold(task, encode("no <eos>"))).toBe(0);
    }
    const astray = createGold({ world: "A", count: 6, seedOf: () => 4 });
    expect(() => astray(tasks[0]!, [])).toThrow("not one of the camera's 6");
  });
});

/** Describes a clean picture by trying, cell by cell, which object redraws it. */
function describedBy(task: Task): number[] {
  const tokens: number[] = [];
  const rgb = task.picture!.rgb;
  const cellEqual = (other: Uint8Array, cell: number): boolean => {
    for (let i = 0; i < 64; i++) {
      const at = ((Math.floor(cell / 4) * 8 + Math.floor(i / 8)) * 32 + (cell % 4) * 8 + (i % 8)) * 3;
      for (let c = 0; c < 3; c++) if (rgb[at + c] !== other[at + c]) return false;
    }
    return true;
  };
  for (let cell = 0; cell < 16; cell++) {
    for (const colour of ["red", "green", "blue", "yellow"]) {
      for (const shape of ["circle", "square", "triangle"]) {
        const object = encode(`${colour} ${shape} ${"abcd"[cell % 4]} ${Math.floor(cell / 4) + 1}`);
        if (cellEqual(redraw([...object, 2])!.rgb, cell)) tokens.push(...object);
      }
    }
  }
  tokens.push(2);
  if (parseAnswer("describe", tokens) === null) throw new Error("the clean picture was not understood");
  return tokens;
}

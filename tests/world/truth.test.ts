import { existsSync, readdirSync, readFileSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { describe, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import type { SealedPort } from "../../src/loop/ports.ts";
import { createSealed, seededKey } from "../../src/world/sealed.ts";
import { describeF1, isCorrect, truthItem } from "../../src/world/truth.ts";
import { decode, encode } from "../../src/world/vocabulary.ts";

const SRC = resolve("src");
const TRUTH = join(SRC, "world", "truth.ts");

const sources = (readdirSync(SRC, { recursive: true }) as string[])
  .filter((path) => /\.tsx?$/.test(path))
  .map((path) => join(SRC, path));

/** Files of ours that a file imports, statically, dynamically or by a worker's URL. */
function importsOf(file: string): string[] {
  const specifiers = [...readFileSync(file, "utf8").matchAll(/["'](\.{1,2}\/[^"'?]+\.tsx?)[^"']*["']/g)];
  return specifiers.map((match) => resolve(dirname(file), match[1] as string)).filter((path) => existsSync(path));
}

function reachableFrom(file: string): Set<string> {
  const reached = new Set([file]);
  for (const at of reached) for (const next of importsOf(at)) reached.add(next);
  return reached;
}

describe("truth stays apart", () => {
  test("only the evaluator and the sealed generator import it", () => {
    const importers = sources.filter((file) => importsOf(file).includes(TRUTH)).map((file) => relative(SRC, file));
    expect(importers).toContain("world/sealed.ts");
    for (const importer of importers) expect(importer).toMatch(/^(eval\/.*|world\/sealed)\.ts$/);
  });

  test("no judge and no stage of the loop, learner or store reaches it, even in steps", () => {
    const blind = sources.filter((file) => /^(judge|loop|store|train|model|ops|gpu|base)\//.test(relative(SRC, file)));
    expect(blind.length).toBeGreaterThan(5);
    for (const file of blind) expect(reachableFrom(file).has(TRUTH), relative(SRC, file)).toBe(false);
  });

  test("the search for imports does find them", () => {
    expect(reachableFrom(join(SRC, "eval", "gold.ts")).has(TRUTH)).toBe(true);
  });
});

describe("grading", () => {
  const truth = encode("red circle b 3 blue square c 4 <eos>");
  test("a description is right if it says the same set, in any order", () => {
    expect(isCorrect("describe", truth, encode("blue square c 4 red circle b 3 <eos>"))).toBe(true);
    expect(isCorrect("describe", truth, encode("red circle b 3 <eos>"))).toBe(false);
    expect(isCorrect("describe", truth, encode("red circle b 3 blue square c 4"))).toBe(false);
    expect(isCorrect("describe", truth, encode("red circle b 3 blue square c 3 <eos>"))).toBe(false);
  });

  test("F1 counts objects", () => {
    expect(describeF1(truth, encode("blue square c 4 red circle b 3 <eos>"))).toBe(1);
    expect(describeF1(truth, encode("red circle b 3 <eos>"))).toBeCloseTo(2 / 3, 12);
    expect(describeF1(truth, encode("red circle b 3 blue square c 3 <eos>"))).toBe(0.5);
    expect(describeF1(truth, encode("yes <eos>"))).toBe(0);
    expect(() => describeF1(encode("yes <eos>"), truth)).toThrow("describe task");
  });

  test("other answers are right token by token", () => {
    expect(isCorrect("sum", encode("7 2 <eos>"), encode("7 2 <eos>"))).toBe(true);
    expect(isCorrect("sum", encode("7 2 <eos>"), encode("7 2"))).toBe(false);
    expect(isCorrect("exists", encode("yes <eos>"), encode("no <eos>"))).toBe(false);
  });
});

describe("sealed stream", () => {
  const sealed: SealedPort = createSealed();
  const key = sealed.newKey({ seed: 1, gate: 0 });
  const candidate = (tokens: readonly number[]) => ({ tokens, text: decode(tokens), logprob: -1, finished: true });

  test("a key opens the same stream, wherever one starts to read", async () => {
    expect(key).toMatch(/^[0-9a-f]{64}$/);
    expect(seededKey({ seed: 1, gate: 0 })).toBe(key);
    expect(sealed.newKey({ seed: 1, gate: 1 })).not.toBe(key);
    const items = await sealed.items({ key, world: "B", from: 0, count: 12 });
    expect(await sealed.items({ key, world: "B", from: 5, count: 4 })).toEqual(items.slice(5, 9));
    const other = await sealed.items({ key: sealed.newKey({ seed: 1, gate: 1 }), world: "B", from: 0, count: 12 });
    expect(new Set([...items, ...other].map((task) => task.id)).size).toBe(24);
    await expect(sealed.items({ key: "secret", world: "B", from: 0, count: 1 })).rejects.toThrow("64 hex digits");
  });

  test("grades the item's own truth and no other's", async () => {
    let mixedUp = 0;
    for (let index = 0; index < 20; index++) {
      const truth = (i: number) =>
        truthItem({ kind: "describe", world: "B", source: "" }, rngFor(key, "sealed", "B", i)).truth;
      expect(sealed.grade({ key, world: "B", index, answer: candidate(truth(index)) })).toBe(true);
      mixedUp += sealed.grade({ key, world: "B", index, answer: candidate(truth(index + 1)) }) ? 1 : 0;
    }
    expect(mixedUp).toBe(0);
  });

  test("sizes are drawn evenly", () => {
    const counts = new Map<string, number>();
    for (let i = 0; i < 1200; i++) {
      const { answerClass } = truthItem({ kind: "describe", world: "B", source: "" }, rngFor(key, "sealed", "B", i));
      counts.set(answerClass, (counts.get(answerClass) ?? 0) + 1);
    }
    expect([...counts.keys()].sort()).toEqual(["1", "2", "3", "4", "5", "6"]);
    for (const count of counts.values()) expect(Math.abs(count - 200)).toBeLessThan(65); // 5 sigma
  });

  test("a page may bring keys from the system's entropy", () => {
    const own = createSealed({ newKey: () => "ab".repeat(32) });
    expect(own.newKey({ seed: 0, gate: 0 })).toBe("ab".repeat(32));
  });
});

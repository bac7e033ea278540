import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { sha256Hex } from "../../src/base/hash.ts";
import { rngFor } from "../../src/base/rng.ts";
import { classesOf, exampleOf, kindOf, splitOf } from "../../src/world/examples.ts";
import { answerFrom, answerTokens, KINDS, parseAnswer, parsePrompt, promptOf } from "../../src/world/questions.ts";
import { BACKGROUND, PICTURE_SIZE, photograph, render, SHIFT_B } from "../../src/world/render.ts";
import { randomScene, type Scene, sameScene, toScene } from "../../src/world/scene.ts";
import { decode, EOS, encode } from "../../src/world/vocabulary.ts";

const scene: Scene = [
  { colour: 0, shape: 0, column: 1, row: 2 },
  { colour: 2, shape: 1, column: 2, row: 3 },
];

describe("scenes", () => {
  test("have no two objects in a cell and stand in reading order", () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 16 }), (seed, count) => {
        const drawn = randomScene(count, rngFor(seed));
        const cells = drawn.map((object) => object.row * 4 + object.column);
        expect(drawn).toHaveLength(count);
        expect(cells).toEqual([...new Set(cells)].sort((x, y) => x - y));
      }),
      { numRuns: 50 },
    );
    expect(toScene([scene[0]!, { ...scene[0]!, colour: 3 }])).toBeNull();
    expect(() => randomScene(17, rngFor(0))).toThrow("do not fit");
  });
});

describe("renderer", () => {
  test("gives the same bytes for ever", () => {
    const picture = render(scene);
    expect(picture.size).toBe(PICTURE_SIZE);
    expect(picture.rgb).toHaveLength(32 * 32 * 3);
    expect(sha256Hex(picture.rgb)).toBe("6297369eabc515ebc3118646fe7514f307e2816bb024692ac8b9209da03b2e2f");
  });

  test("any change of an object changes the picture", () => {
    const rng = rngFor(11, "change");
    for (let i = 0; i < 200; i++) {
      const one = randomScene(1 + rng.int(6), rng);
      const other = randomScene(1 + rng.int(6), rng);
      expect(sha256Hex(render(one).rgb) === sha256Hex(render(other).rgb)).toBe(sameScene(one, other));
    }
  });

  test("B is dim and noisy in the numbers of SHIFT_B, A is clean", () => {
    const clean = render(scene);
    expect(photograph(scene, "A", rngFor(1)).rgb).toEqual(clean.rgb);
    expect(photograph(scene, "B", rngFor(1)).rgb).toEqual(photograph(scene, "B", rngFor(1)).rgb);
    expect([...clean.rgb.subarray(0, 3)]).toEqual(BACKGROUND);
    const slopes: number[] = [];
    const residuals: number[] = [];
    for (let seed = 0; seed < 60; seed++) {
      const seen = photograph(scene, "B", rngFor(seed, "b"));
      const n = clean.rgb.length;
      const meanX = clean.rgb.reduce((sum, byte) => sum + byte / 255, 0) / n;
      const meanY = seen.rgb.reduce((sum, byte) => sum + byte / 255, 0) / n;
      let sxy = 0;
      let sxx = 0;
      let syy = 0;
      for (let i = 0; i < n; i++) {
        const dx = clean.rgb[i]! / 255 - meanX;
        const dy = seen.rgb[i]! / 255 - meanY;
        sxy += dx * dy;
        sxx += dx * dx;
        syy += dy * dy;
      }
      slopes.push(sxy / sxx);
      residuals.push(Math.sqrt((syy - sxy ** 2 / sxx) / n));
    }
    expect(Math.min(...slopes)).toBeGreaterThan(SHIFT_B.brightness[0] - 0.05);
    expect(Math.max(...slopes)).toBeLessThan(SHIFT_B.brightness[1] + 0.05);
    const noise = residuals.reduce((sum, value) => sum + value, 0) / residuals.length;
    expect(Math.abs(noise - SHIFT_B.noise)).toBeLessThan(0.006);
  });
});

describe("questions", () => {
  test("read as the field's words say", () => {
    expect(decode(promptOf({ kind: "describe" }))).toBe("describe");
    expect(decode(promptOf({ kind: "count", filter: { colour: 2, shape: 1 } }))).toBe("count blue square");
    expect(decode(promptOf({ kind: "difference", left: 72, right: 25 }))).toBe("7 2 - 2 5 =");
    expect(decode(answerTokens(answerFrom({ kind: "describe" }, scene)))).toBe("red circle b 3 blue square c 4");
    const left = { colour: 0, shape: 0 };
    const right = { colour: 2, shape: 1 };
    expect(answerFrom({ kind: "left-of", first: left, second: right }, scene)).toEqual({ kind: "yes-no", value: true });
    expect(() => answerFrom({ kind: "left-of", first: left, second: left }, [])).toThrow("exactly one");
  });

  test("prompts and answers of every kind parse back to what they were made of", () => {
    const rng = rngFor(2, "round trip");
    for (const kind of KINDS) {
      for (let i = 0; i < 50; i++) {
        const example = exampleOf(kind, "B", rng);
        const question = parsePrompt(example.prompt);
        expect(question?.kind).toBe(kind);
        expect(promptOf(question!)).toEqual(example.prompt);
        const answer = parseAnswer(kind, example.answer);
        expect(answerTokens(answer!)).toEqual(example.answer);
      }
    }
  });

  test("what is not an answer is refused", () => {
    const bad = (kind: Parameters<typeof parseAnswer>[0], text: string, end = [EOS]): void =>
      expect(parseAnswer(kind, [...encode(text), ...end]), `${kind}: ${text}`).toBeNull();
    bad("describe", "red circle b 3", []);
    bad("describe", "");
    bad("describe", "red circle b");
    bad("describe", "red circle b 5");
    bad("describe", "red circle b 3 blue square b 3");
    bad("describe", "red circle b 3 <eos>");
    bad("count", "0 1");
    bad("sum", "yes");
    bad("exists", "yes no");
    expect(parsePrompt(encode("count"))).toBeNull();
    expect(parsePrompt(encode("4 7 + 2 5"))).toBeNull();
    expect(parsePrompt(encode("describe describe"))).toBeNull();
  });

  test("a description in another order says the same scene", () => {
    const swapped = parseAnswer("describe", encode("blue square c 4 red circle b 3 <eos>"));
    expect(swapped).toEqual({ kind: "scene", scene });
  });
});

describe("examples", () => {
  test("every class is what it says, in both worlds", () => {
    const rng = rngFor(4, "classes");
    for (const world of ["A", "B"] as const) {
      for (const kind of KINDS) {
        for (const answerClass of classesOf(kind, world)) {
          const { answer, picture } = exampleOf(kind, world, rng, { answerClass });
          const text = decode(answer);
          if (kind === "describe") expect(answer).toHaveLength(4 * Number(answerClass) + 1);
          if (kind === "count" || kind === "exists" || kind === "left-of") expect(text).toBe(answerClass);
          expect(picture === null).toBe(kind === "sum" || kind === "difference");
        }
      }
    }
    expect(classesOf("describe", "A")).toEqual(["1", "2", "3", "4", "5"]);
    expect(classesOf("describe", "B")).toEqual(["1", "2", "3", "4", "5", "6"]);
    expect(() => exampleOf("describe", "A", rng, { answerClass: "6" })).toThrow("has the classes 1, 2");
    expect(() => exampleOf("describe", "C", rng)).toThrow("drawn by the visitor");
  });

  test("arithmetic keeps held-out operands apart, whichever way round", () => {
    const rng = rngFor(5, "split");
    for (const split of ["train", "held-out"] as const) {
      for (const kind of ["sum", "difference"] as const) {
        for (let i = 0; i < 100; i++) {
          const question = parsePrompt(exampleOf(kind, "A", rng, { split }).prompt);
          if (question?.kind !== "sum" && question?.kind !== "difference") throw new Error("not arithmetic");
          const a = kind === "sum" ? question.left : question.left - question.right;
          expect(a).toBeGreaterThanOrEqual(0);
          expect(splitOf(question.right, a)).toBe(split);
        }
      }
    }
    let heldOut = 0;
    for (let a = 0; a < 100; a++) for (let b = 0; b < 100; b++) heldOut += splitOf(a, b) === "held-out" ? 1 : 0;
    expect(heldOut).toBeGreaterThan(1700);
    expect(heldOut).toBeLessThan(2300);
  });

  test("the mixture draws kinds in proportion", () => {
    const rng = rngFor(6, "mixture");
    const drawn = Array.from({ length: 4000 }, () => kindOf({ describe: 3, count: 1, exists: 0 }, rng));
    const share = drawn.filter((kind) => kind === "describe").length / drawn.length;
    expect(Math.abs(share - 0.75)).toBeLessThan(0.04);
    expect(drawn).not.toContain("exists");
    expect(() => kindOf({}, rng)).toThrow("positive weight");
  });
});

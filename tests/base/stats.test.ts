import { describe, expect, test } from "vitest";
import { macroScore, mcnemarExact, meanCI, scoreOf, wilson } from "../../src/base/stats.ts";

describe("wilson", () => {
  test("gives the values of Newcombe 1998, table I", () => {
    const cases: [number, number, number, number][] = [
      [81, 263, 0.2553, 0.3662],
      [15, 148, 0.0624, 0.1605],
      [0, 20, 0, 0.1611],
      [1, 29, 0.0061, 0.1718],
    ];
    for (const [correct, n, low, high] of cases) {
      const [a, b] = wilson(correct, n);
      expect(a).toBeCloseTo(low, 4);
      expect(b).toBeCloseTo(high, 4);
    }
  });

  test("knows nothing from nothing and refuses nonsense", () => {
    expect(wilson(0, 0)).toEqual([0, 1]);
    expect(wilson(20, 20)[1]).toBe(1);
    expect(() => wilson(3, 2)).toThrow("correct ≤ n");
  });
});

describe("scores", () => {
  test("a macro mean counts classes alike", () => {
    const macro = macroScore([scoreOf(10, 10), scoreOf(0, 30)]);
    expect(macro).toMatchObject({ n: 40, correct: 10, value: 0.5 });
    expect(macro.ci).toEqual(wilson(20, 40));
    expect(macroScore([]).value).toBe(0);
  });
});

describe("McNemar's exact test", () => {
  test("is the binomial tail", () => {
    expect(mcnemarExact(10, 0)).toBeCloseTo(2 / 1024, 12);
    expect(mcnemarExact(8, 2)).toBeCloseTo((2 * (1 + 10 + 45)) / 1024, 12);
    expect(mcnemarExact(2, 8)).toBeCloseTo(mcnemarExact(8, 2), 12);
    expect(mcnemarExact(5, 5)).toBe(1);
    expect(mcnemarExact(0, 0)).toBe(1);
    expect(mcnemarExact(600, 500)).toBeCloseTo(0.0028, 4);
  });
});

describe("mean of a few runs", () => {
  test("has Student's interval", () => {
    const { mean, ci } = meanCI([1, 2, 3, 4, 5]);
    expect(mean).toBe(3);
    expect(ci[1] - mean).toBeCloseTo(2.7764 * Math.sqrt(2.5 / 5), 6);
    const many = meanCI(Array.from({ length: 41 }, (_, i) => i));
    expect((many.ci[1] - 20) / Math.sqrt(143.5 / 41)).toBeCloseTo(2.0211, 2);
    expect(meanCI([7]).ci).toEqual([-Infinity, Infinity]);
    expect(() => meanCI([])).toThrow("no values");
  });
});

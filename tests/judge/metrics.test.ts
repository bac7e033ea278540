import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import {
  auc,
  calibrationError,
  correlation,
  fitCalibration,
  pairwiseAccuracy,
  probability,
  reliability,
} from "../../src/judge/metrics.ts";

test("pairwise accuracy counts ties as a half", () => {
  expect(pairwiseAccuracy([3, 1, 2], [1, 2, 2])).toBe(0.5);
  expect(() => pairwiseAccuracy([1], [])).toThrow("got 1 and 0");
});

test("AUC is the share of (positive, negative) pairs in order, by counting all of them", () => {
  const rng = rngFor(1, "auc");
  const draw = (shift: number) => Array.from({ length: 60 }, () => Math.round(4 * rng.normal() + shift)); // many ties
  const [positives, negatives] = [draw(2), draw(0)];
  const pairs = positives.flatMap((p) => negatives.map((n) => (p > n ? 1 : p === n ? 0.5 : 0)));
  expect(auc(positives, negatives)).toBeCloseTo(pairs.reduce((a: number, b) => a + b, 0) / pairs.length, 12);
  expect(auc([2, 3], [0, 1])).toBe(1);
  expect(auc([1, 1], [1, 1])).toBe(0.5);
  expect(() => auc([], [1])).toThrow("both classes");
});

test("calibration recovers the logistic curve that the scores were drawn from", () => {
  const rng = rngFor(2, "calibration");
  const [right, wrong]: [number[], number[]] = [[], []];
  for (let i = 0; i < 20000; i++) {
    const score = 0.6 + 0.2 * rng.normal();
    (rng.next() < 1 / (1 + Math.exp(-(8 * score - 5))) ? right : wrong).push(score);
  }
  const fit = fitCalibration(right, wrong);
  expect(fit.slope).toBeGreaterThan(7.4);
  expect(fit.slope).toBeLessThan(8.6);
  expect(probability(fit, 5 / 8)).toBeCloseTo(0.5, 1);
  expect(calibrationError(reliability(fit, right, wrong))).toBeLessThan(0.02);
});

test("separable scores have a finite fit that orders them", () => {
  const fit = fitCalibration([0.9, 0.91, 0.95], [0.1, 0.2, 0.3]);
  expect(Number.isFinite(fit.slope)).toBe(true);
  expect(probability(fit, 0.92)).toBeGreaterThan(0.7);
  expect(probability(fit, 0.2)).toBeLessThan(0.3);
});

test("reliability: a judge that always says .75 and is right half the time is off by a quarter", () => {
  const always = { slope: 0, intercept: Math.log(3) };
  const bins = reliability(always, [1, 2], [3, 4]);
  expect(bins).toEqual([{ predicted: expect.closeTo(0.75, 12), right: 0.5, n: 4 }]);
  expect(calibrationError(bins)).toBeCloseTo(0.25, 12);
});

test("correlation is 1, −1, or null when one side never varies", () => {
  expect(correlation([1, 2, 3], [2, 4, 6])).toBeCloseTo(1, 12);
  expect(correlation([1, 2, 3], [3, 2, 1])).toBeCloseTo(-1, 12);
  expect(correlation([0, 0, 0], [1, 2, 3])).toBeNull();
  expect(() => correlation([1], [1, 2])).toThrow("cannot correlate");
});

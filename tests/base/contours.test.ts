import { expect, test } from "vitest";
import { defaultContour } from "../../src/base/contour.ts";
import { CONTOURS, parseContour } from "../../src/base/contours.ts";
import { InputError } from "../../src/base/input.ts";

test("every named contour is read back unchanged, and absent keys keep the default", () => {
  for (const contour of Object.values(CONTOURS))
    expect(parseContour(JSON.parse(JSON.stringify(contour)))).toEqual(contour);
  expect(parseContour({})).toEqual(defaultContour);
  expect(parseContour({ train: { replayA: { perStep: 4 } } }).train.replayA).toEqual({ perStep: 4, weight: 4 });
});

test.each([
  [{ rounds: 0 }, "rounds must be from 1 to 100000, not 0"],
  [{ propose: { tasks: 1e9 } }, "propose.tasks must be from 1 to 4096, not 1000000000"],
  [{ sample: { k: 1.5 } }, "sample.k must be a whole number, not 1.5"],
  [{ gate: { alpha: 1 } }, "gate.alpha must be from 1e-9 to 0.5, not 1"],
  [{ gate: { epsilonA: -1 } }, "gate.epsilonA must be from 0.000001 to 1, not -1"],
  [{ train: { beta: "0.1" } }, 'train.beta must be a number, not "0.1"'],
  [{ judge: { rule: "vote" } }, "judge.rule must be one of default, pixels"],
  [{ judge: { record: ["pixels", "pixels"] } }, "judge.record must be a list of pixels, onnx-image"],
  [{ filter: { entropy: [3, 1] } }, "filter.entropy must be [least, most]"],
  [{ evaluate: { worlds: "A" } }, "evaluate.worlds must be a list"],
  [{ toString: 1 }, 'has no key "toString"'],
  [JSON.parse('{"__proto__": {"rounds": 1}}'), 'has no key "__proto__"'],
  [{ name: "x".repeat(201) }, "name must have at most 200 characters"],
  [[], "contour must be an object"],
  [null, "contour must be an object"],
])("%j is refused by name", (given, message) => {
  expect(() => parseContour(given)).toThrow(InputError);
  expect(() => parseContour(given)).toThrow(message);
});

import { describe, expect, test } from "vitest";
import { type Contour, defaultContour, type JudgeRule, judgesOf } from "../../src/base/contour.ts";
import type { Candidate, JudgeName, Task } from "../../src/base/records.ts";
import { createGold } from "../../src/eval/gold.ts";
import { createJury, type OnnxScorer } from "../../src/judge/jury.ts";
import { pixelScore, redraw } from "../../src/judge/pixels.ts";
import { createCamera } from "../../src/world/camera.ts";
import { toTask } from "../../src/world/task.ts";
import { decode, encode } from "../../src/world/vocabulary.ts";

const candidate = (text: string): Candidate => {
  const tokens = encode(text);
  return { tokens, text: decode(tokens), logprob: -3, finished: text.endsWith("<eos>") };
};

const CANDIDATES = [
  "red circle b 3 blue square c 4 <eos>",
  "blue square c 4 red circle b 3 <eos>",
  "red circle b 3 <eos>",
  "red circle b 3",
].map(candidate);

const contourWith = (rule: JudgeRule, record: readonly JudgeName[]): Contour => ({
  ...defaultContour,
  judge: { rule, record },
});

/** Scores by the length of the answer, and counts what it was asked. */
function lengthScorer(): OnnxScorer & { asked: number } {
  return {
    asked: 0,
    async score(items) {
      this.asked += items.length;
      return {
        image: items.map(({ tokens }) => tokens.length / 100),
        text: items.map(({ tokens }) => -tokens.length / 100),
      };
    },
  };
}

async function taskOf(): Promise<Task> {
  const [task] = await createCamera().propose({ world: "B", round: 1, count: 1, seed: 9 });
  return task!;
}

describe("jury", () => {
  test("asks the judges that decide and those that are recorded", () => {
    expect([...judgesOf(contourWith("majority", ["pixels"]))]).toEqual(["majority", "pixels"]);
    expect([...judgesOf(defaultContour)].sort()).toEqual(["onnx-image", "onnx-text", "pixels", "self"]);
  });

  test("every judge scores every answer; what does not parse scores −1 everywhere", async () => {
    const task = await taskOf();
    const onnx = lengthScorer();
    const jury = createJury({
      onnx,
      engine: {
        logprobs: async (items, { adapter }) =>
          items.map(({ tokens }) => (adapter === "base" ? -0.1 * tokens.length : 0)),
      },
      gold: createGold({ world: "B", count: 1, seedOf: () => 9 }),
    });
    const all: JudgeName[] = ["pixels", "onnx-image", "onnx-text", "self", "gold"];
    const contour = { ...contourWith("default", [...all, "majority", "random"]), propose: { tasks: 1 } };
    const [judged] = await jury.score([{ task, candidates: CANDIDATES }], { contour, seed: 9, round: 1 });
    const [both, swapped, one, cut] = judged!.candidates;
    for (const { scores } of judged!.candidates) expect(Object.keys(scores).sort()).toEqual([...all].sort());
    expect(Object.values(cut!.scores)).toEqual(all.map(() => -1));
    expect(cut!.redrawn).toBeNull();
    expect(both!.redrawn).toEqual(redraw(both!.tokens));
    expect(both!.scores.pixels).toBe(pixelScore(task.picture!, redraw(both!.tokens)));
    expect(swapped!.scores.pixels).toBe(both!.scores.pixels);
    expect(both!.scores.self).toBeCloseTo(Math.exp(-0.1), 12);
    expect([both!.scores["onnx-image"], one!.scores["onnx-image"], one!.scores["onnx-text"]]).toEqual([
      0.09, 0.05, -0.05,
    ]);
    expect(onnx.asked).toBe(3);
  });

  test("an answer that comes twice is scored once by the models", async () => {
    const onnx = lengthScorer();
    const task = await taskOf();
    const twice = [CANDIDATES[0]!, CANDIDATES[0]!, CANDIDATES[2]!];
    const [judged] = await createJury({ onnx }).score([{ task, candidates: twice }], {
      contour: contourWith("onnx", []),
      seed: 1,
      round: 1,
    });
    expect(onnx.asked).toBe(2);
    expect(judged!.candidates.map(({ scores }) => scores["onnx-image"])).toEqual([0.09, 0.09, 0.05]);
  });

  test("the vote and the random control are not the jury's", async () => {
    const task = await taskOf();
    for (const rule of ["majority", "random"] as const) {
      const contour = contourWith(rule, []);
      const [judged] = await createJury({}).score([{ task, candidates: CANDIDATES }], { contour, seed: 1, round: 1 });
      expect(judged!.candidates.map(({ scores }) => scores)).toEqual(CANDIDATES.map(() => ({})));
      expect(judged!.candidates.map(({ parses }) => parses)).toEqual([true, true, true, false]);
    }
  });

  test("questions without a drawing have no pixel score, but the base's opinion", async () => {
    const task = toTask({ kind: "sum", picture: null, prompt: encode("4 7 + 2 5 =") }, "visitor", 0);
    const answers = ["7 2 <eos>", "7 2 <eos>", "6 2 <eos>"].map(candidate);
    const engine = { logprobs: async (items: readonly { readonly tokens: readonly number[] }[]) => items.map(() => 0) };
    const [judged] = await createJury({ engine }).score([{ task, candidates: answers }], {
      contour: contourWith("self", ["pixels"]),
      seed: 1,
      round: 1,
    });
    expect(judged!.candidates.map(({ scores }) => scores)).toEqual([{ self: 1 }, { self: 1 }, { self: 1 }]);
  });

  test("an absent judge and a score that is no number are named", async () => {
    const task = await taskOf();
    const ask = (members: Parameters<typeof createJury>[0], rule: JudgeRule) =>
      createJury(members).score([{ task, candidates: CANDIDATES }], {
        contour: contourWith(rule, []),
        seed: 1,
        round: 1,
      });
    await expect(ask({}, "default")).rejects.toThrow('the judge "onnx", which needs an ONNX judge model');
    await expect(ask({}, "gold")).rejects.toThrow("gold scorer");
    await expect(ask({ engine: { logprobs: async (items) => items.map(() => Number.NaN) } }, "self")).rejects.toThrow(
      "the score NaN",
    );
    await expect(ask({ engine: { logprobs: async () => [] } }, "self")).rejects.toThrow("0 scores for 3 answers");
  });
});

import { describe, expect, test } from "vitest";
import type { Contour, JudgeRule } from "../../src/base/contour.ts";
import type { JudgedCandidate, JudgedTask, Pair, Scores, StepMetrics } from "../../src/base/records.ts";
import { contrast, entropy, filter, filteredEvent } from "../../src/loop/filter.ts";
import { judge, judgedEvent } from "../../src/loop/judge.ts";
import { pairId } from "../../src/loop/keys.ts";
import { driftAlarm } from "../../src/loop/monitor.ts";
import { pair, unreferenced, withReference } from "../../src/loop/pair.ts";
import { sample, sampledEvent } from "../../src/loop/sample.ts";
import { firstState } from "../../src/loop/state.ts";
import { makeBatches } from "../../src/loop/train.ts";
import { fakeContour, fakeEngine, fakePorts, fakeSource, fakeTask } from "./fakes.ts";

const task = fakeTask("B", "camera:B", 1, "stages");
const answer = (token: number, scores: Scores, finished = true): JudgedCandidate => ({
  tokens: [token],
  text: `${token}`,
  logprob: -1,
  finished,
  scores,
  redrawn: null,
  parses: !Object.values(scores).includes(-1),
});
const judged = (...candidates: readonly JudgedCandidate[]): JudgedTask => ({ task, candidates });
const ruled = (rule: JudgeRule, more: Partial<Contour["filter"]> = {}): Contour => ({
  ...fakeContour,
  judge: { ...fakeContour.judge, rule },
  filter: { ...fakeContour.filter, ...more },
});
const reason = (one: JudgedTask, contour: Contour): string => {
  const verdict = contrast(one, contour);
  return verdict.kind === "kept" ? `kept ${verdict.chosen} over ${verdict.rejected}` : verdict.reason;
};

describe("filter", () => {
  const agreeing = judged(
    answer(1, { pixels: 0.5, "onnx-image": 0.4, self: 3, gold: 0 }),
    answer(2, { pixels: 0.9, "onnx-image": 0.8, self: 1, gold: 0 }),
    answer(3, { pixels: 0.2, "onnx-image": 0.9, self: 2, gold: 1 }),
    answer(4, { pixels: 0.1, "onnx-image": 0.3, self: 2, gold: 0 }),
  );

  test("each rule takes best and worst by its own judge", () => {
    expect(reason(agreeing, ruled("default"))).toBe("kept 1 over 3");
    expect(reason(agreeing, ruled("pixels"))).toBe("kept 1 over 3");
    expect(reason(agreeing, ruled("onnx"))).toBe("kept 2 over 3");
    expect(reason(agreeing, ruled("self"))).toBe("kept 0 over 1");
    expect(reason(agreeing, ruled("gold"))).toBe("kept 2 over 0");
  });

  test("by default the ONNX judge must order the pair strictly the same way", () => {
    const tie = judged(answer(1, { pixels: 0.9, "onnx-image": 0.5 }), answer(2, { pixels: 0.1, "onnx-image": 0.5 }));
    const against = judged(
      answer(1, { pixels: 0.9, "onnx-image": 0.4 }),
      answer(2, { pixels: 0.1, "onnx-image": 0.5 }),
    );
    const silent = judged(answer(1, { pixels: 0.9 }), answer(2, { pixels: 0.1 }));
    for (const one of [tie, against, silent]) expect(reason(one, ruled("default"))).toBe("judges-disagree");
    expect(reason(against, ruled("pixels"))).toBe("kept 0 over 1");
  });

  test("an unparsable answer may be rejected, never chosen; an unfinished one is never chosen either", () => {
    const bad = { pixels: -1, "onnx-image": -1, self: 9 };
    const one = judged(
      answer(1, bad),
      answer(2, { pixels: 0.3, "onnx-image": 0.3, self: 0 }),
      answer(3, { pixels: 0.8, "onnx-image": 0.8, self: 1 }, false),
    );
    expect(reason(one, ruled("default"))).toBe("kept 1 over 0");
    expect(reason(one, ruled("self"))).toBe("no-contrast"); // the only answer that parses is self's worst
    expect(reason(judged(answer(1, bad), answer(2, bad)), ruled("default"))).toBe("syntax");
  });

  test("a vote or dice that like an unparsable answer best do not choose it", () => {
    for (const name of ["majority", "random"] as const) {
      const unparsable = { ...answer(1, { [name]: 0.9 }), parses: false };
      const unmarked = answer(2, { [name]: 0.8 });
      delete (unmarked as { parses?: boolean }).parses;
      const parsable = [answer(3, { [name]: 0.5 }), answer(4, { [name]: 0.1 })];
      expect(reason(judged(unparsable, unmarked, ...parsable), ruled(name))).toBe("kept 2 over 3");
      expect(reason(judged(unparsable, unmarked), ruled(name))).toBe("syntax");
    }
  });

  test("no contrast, margin and entropy each have their reason", () => {
    const same = answer(1, { pixels: 0.5, "onnx-image": 0.5 });
    expect(reason(judged(same, same), ruled("default"))).toBe("no-contrast");
    expect(reason(judged(same, { ...same, tokens: [2] }), ruled("default"))).toBe("no-contrast");
    const close = judged(answer(1, { pixels: 0.51 }), answer(2, { pixels: 0.5 }));
    expect(reason(close, ruled("pixels"))).toBe("margin");
    expect(reason(close, ruled("pixels", { minMargin: 0.005 }))).toBe("kept 0 over 1");
    expect(reason(agreeing, ruled("default", { entropy: [0, 1.2] }))).toBe("entropy-high");
    expect(reason(agreeing, ruled("default", { entropy: [1.5, 9] }))).toBe("entropy-low");
    expect(reason(agreeing, ruled("default", { entropy: [1.3, 1.4] }))).toBe("kept 1 over 3");
  });

  test("entropy in nats: 0 for one cluster, log 4 for four, .5623 for 3 to 1", () => {
    expect(entropy([5])).toBe(0);
    expect(entropy([1, 1, 1, 1])).toBeCloseTo(Math.log(4), 12);
    expect(entropy([3, 1])).toBeCloseTo(0.5623, 4);
  });

  test("what stands in the buffer is dropped, a twin in the same round too; every task has a verdict", async () => {
    const id = pairId(task, agreeing.candidates[1] as JudgedCandidate);
    const twice = await filter([agreeing, agreeing], ruled("default"), async () => false);
    expect(twice.map(({ verdict }) => verdict.kind)).toEqual(["kept", "dropped"]);
    const stored = await filter([agreeing], ruled("default"), async (asked) => asked === id);
    expect(filteredEvent(stored)).toMatchObject({
      kept: 0,
      dropped: { "near-duplicate": 1 },
      verdicts: [{ task: task.id }],
    });
    const allowed = await filter([agreeing], ruled("default", { duplicates: false }), async () => true);
    expect(filteredEvent(allowed)).toMatchObject({ kept: 1, dropped: {} });
  });
});

describe("sample and judge", () => {
  const state = { ...firstState({ run: "r", contour: fakeContour, seed: 3 }) };
  const tasks = Array.from({ length: 20 }, (_, i) => fakeTask("B", "camera:B", 1, "batch", i));

  test("samples come in the order of the tasks, with a preview after each chunk", async () => {
    const ports = fakePorts();
    const sampled = await sample(ports, state, tasks, "base");
    expect(sampled.map((one) => one.task.id)).toEqual(tasks.map((one) => one.id));
    expect(ports.progressed.map((one) => one.done)).toEqual([16, 20]);
    expect(ports.progressed[0]?.preview?.task.id).toBe(tasks[15]?.id);
    expect(sampledEvent(sampled)).toMatchObject({ tasks: 20, candidates: 120 });
  });

  test("the first chunk shows one task's answers as they come, and the rest of them when it is done", async () => {
    const ports = fakePorts();
    const { engine } = ports;
    const asked: boolean[] = [];
    const talking: typeof engine = {
      ...engine,
      sample: async (some, options) => {
        const all = await engine.sample(some, options);
        asked.push(options.onAnswers !== undefined);
        options.onAnswers?.(all.map(() => []));
        options.onAnswers?.(all.map((answers, i) => answers.slice(0, i === 3 ? 2 : 0)));
        options.onAnswers?.(all.map((answers) => answers.slice(0, 4)));
        return all;
      },
    };
    const sampled = await sample({ ...ports, engine: talking }, state, tasks, "base");
    expect(sampled).toEqual(await sample(fakePorts(), state, tasks, "base"));
    expect(asked).toEqual([true, false]);
    const shown = ports.progressed.map(({ done, preview }) => [done, preview?.task.id, preview?.candidates.length]);
    expect(shown).toEqual([
      [0, tasks[3]?.id, 2],
      [0, tasks[3]?.id, 4],
      [16, tasks[3]?.id, 6],
      [20, tasks[19]?.id, 6],
    ]);
  });

  test("majority counts identical answers; random gives identical answers the same number", async () => {
    const ports = fakePorts();
    const three = [7, 7, 8].map((token) => ({ tokens: [token], text: "", logprob: 0, finished: true }));
    const scores = async (rule: JudgeRule) =>
      (await judge(ports, { ...state, contour: ruled(rule) }, [{ task, candidates: three }]))[0]?.candidates.map(
        (one) => one.scores,
      );
    expect((await scores("majority"))?.map((one) => one.majority)).toEqual([2 / 3, 2 / 3, 1 / 3]);
    const random = (await scores("random"))?.map((one) => one.random);
    expect(random?.[0]).toBe(random?.[1]);
    expect(random?.[0]).not.toBe(random?.[2]);
    expect((await scores("default"))?.[0]).not.toHaveProperty("random");
    const contour = { ...fakeContour, judge: { ...fakeContour.judge, record: ["majority"] as const } };
    const [recorded] = await judge(ports, { ...state, contour }, [{ task, candidates: three }]);
    expect(recorded?.candidates.map((one) => one.scores.majority)).toEqual([2 / 3, 2 / 3, 1 / 3]);
  });

  test("agreement counts the pairs that both judges order strictly", () => {
    const one = judged(
      answer(1, { pixels: 0.1, self: 1 }),
      answer(2, { pixels: 0.2, self: 2 }),
      answer(3, { pixels: 0.3, self: 0 }),
      answer(4, { pixels: 0.3, self: 5 }),
    );
    // pixels ties 3 with 4; of the other five pairs, 1<2, 1<4 and 2<4 agree, 1<3 and 2<3 do not.
    expect(judgedEvent([one])).toMatchObject({ agreement: { "pixels~self": 3 / 5 }, meanScore: { self: 2 } });
  });

  test("a judge that loses an answer is caught", async () => {
    const ports = { ...fakePorts(), judge: { score: async () => [] } };
    await expect(judge(ports, state, [{ task, candidates: [] }])).rejects.toThrow(`did not return task ${task.id}`);
  });
});

describe("pair and train", () => {
  const kept = judged(answer(1, { pixels: 0.9, "onnx-image": 0.9 }), answer(2, { pixels: 0.1, "onnx-image": 0.1 }));
  const makePairs = (count: number): Pair[] =>
    Array.from({ length: count }, (_, i) =>
      unreferenced({ ...task, id: `${i}` }, answer(1, {}), answer(2, {}), 1, { round: 1, seed: 0 }),
    );

  test("log-probabilities are the reference's and are computed anew only when it has changed", async () => {
    const engine = fakeEngine({ teach: () => ({ a: 0.9, b: 0.9 }) });
    const [made] = await pair(engine, await filter([kept], ruled("default"), async () => false), {
      reference: "base",
      round: 1,
      seed: 5,
    });
    expect(made).toMatchObject({ status: "fresh", margin: 0.8, round: 1, seed: 5, reference: { adapter: "base" } });
    const [chosen] = await engine.logprobs([{ task, tokens: [1] }], { adapter: "base" });
    expect(made?.reference.chosen).toBe(chosen);

    expect((await withReference(engine, [made as Pair], "base"))[0]).toBe(made);
    await engine.begin({ adapter: "base", seed: 0, loraR: 8, loraAlpha: 16 });
    await engine.train({ batches: [], contour: fakeContour.train, learningRate: 1e-3 });
    const { hash } = await engine.snapshot();
    const [moved] = await withReference(engine, [made as Pair], hash);
    expect(moved?.reference).toEqual({
      adapter: hash,
      chosen: (await engine.logprobs([{ task, tokens: [1] }], { adapter: hash }))[0],
      rejected: (await engine.logprobs([{ task, tokens: [2] }], { adapter: hash }))[0],
    });
  });

  const stateOf = (train: Partial<Contour["train"]>) =>
    firstState({
      run: "r",
      seed: 1,
      contour: { ...fakeContour, train: { ...fakeContour.train, batchSize: 16, ...train } },
    });

  test("55 pairs make 4 full batches of 16: every pair once, nine of them twice", async () => {
    const batches = await makeBatches({ source: fakeSource() }, stateOf({}), makePairs(55));
    expect(batches.map((batch) => [batch.pairs.length, batch.replay.length])).toEqual([
      [16, 4],
      [16, 4],
      [16, 4],
      [16, 4],
    ]);
    const ids = batches.flatMap((batch) => batch.pairs.map((one) => one.id));
    expect(new Set(ids).size).toBe(55);
    expect(new Set(batches.flatMap((batch) => batch.replay.map((one) => one.task.id))).size).toBe(16);
  });

  test("the control on A alone takes as many steps and no pair", async () => {
    const batches = await makeBatches(
      { source: fakeSource() },
      stateOf({ method: "sft", replayA: { perStep: 0, weight: 1 } }),
      makePairs(55),
    );
    expect(batches.map((batch) => [batch.pairs.length, batch.replay.length])).toEqual([
      [0, 16],
      [0, 16],
      [0, 16],
      [0, 16],
    ]);
  });
});

describe("drift monitor", () => {
  const metrics = (chosen: number, margins: number): StepMetrics => ({
    step: 3,
    loss: 0.5,
    "rewards/chosen": chosen,
    "rewards/rejected": chosen - margins,
    "rewards/accuracies": 1,
    "rewards/margins": margins,
    "logps/chosen": -9,
    "logps/rejected": -20,
    grad_norm: 1,
    learning_rate: 1e-3,
  });
  const well = { start: 0.95, now: 0.94 };

  test("a healthy round is quiet", () => {
    expect(driftAlarm(fakeContour.train, [metrics(0.1, 0.5)], well)).toBeNull();
    expect(driftAlarm(fakeContour.train, [], well)).toBeNull();
  });
  test("chosen answers that fall by 12 nats under a rising margin alarm", () => {
    expect(driftAlarm(fakeContour.train, [metrics(-1.2, 0.9)], well)).toMatch(/fell by 12\.0 nats/);
    expect(driftAlarm(fakeContour.train, [metrics(-0.5, 0.9)], well)).toBeNull();
  });
  test("answers that stop ending alarm", () => {
    expect(driftAlarm(fakeContour.train, [metrics(0.1, 0.5)], { start: 0.95, now: 0.7 })).toMatch(
      /70% of samples are finished, 95%/,
    );
  });
});

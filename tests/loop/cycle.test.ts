import { describe, expect, test } from "vitest";
import type { Contour, JudgeRule } from "../../src/base/contour.ts";
import { createLoop } from "../../src/loop/cycle.ts";
import type { LoopState } from "../../src/loop/ports.ts";
import { summarise } from "../../src/loop/summary.ts";
import { type FakeOptions, type FakePorts, fakeContour, fakePorts, only, quality, timeless } from "./fakes.ts";

const run = "run-1";

async function runAll(
  options: FakeOptions = {},
  contour: Contour = fakeContour,
  seed = 7,
): Promise<FakePorts & { end: LoopState }> {
  const ports = fakePorts(options);
  const loop = createLoop(ports);
  await loop.start({ run, contour, seed });
  return { ...ports, end: await loop.run() };
}
const ruled = (rule: JudgeRule): Contour => ({ ...fakeContour, judge: { ...fakeContour.judge, rule } });

describe("a whole run", () => {
  test("the model improves without labels: better adapters are committed, their pairs accepted", async () => {
    const { emitted, store, engine, end } = await runAll();
    expect(end).toMatchObject({ phase: "finished", finished: "rounds", round: 4, candidate: null });
    const committed = only(emitted, "committed");
    expect(committed.map((event) => event.rounds)).toEqual([
      [1, 2],
      [3, 4],
    ]);
    expect(end.incumbent).toBe(committed[1]?.adapter);
    expect(engine.skillOf(end.incumbent).b).toBeGreaterThan(engine.skillOf("base").b + 0.15);
    expect(await store.pairs({ status: "trained" })).toEqual([]);
    expect((await store.pairs({ status: "accepted" })).length).toBe(
      committed.reduce((sum, event) => sum + event.pairs, 0),
    );
  });

  test("events are numbered without a gap, in the order of the stages, and emitted as committed", async () => {
    const { emitted, store } = await runAll();
    expect(emitted.map((event) => event.seq)).toEqual(emitted.map((_, i) => i));
    expect(await store.events({ since: 0 })).toEqual(emitted);
    const types = emitted.filter((event) => event.round <= 2).map((event) => event.type);
    const round = ["proposed", "sampled", "judged", "filtered", "paired", "trained"];
    const evaluations = ["evaluated", "evaluated"];
    expect(types).toEqual([
      "started",
      "sealed",
      ...round,
      ...evaluations,
      ...round,
      "gated",
      "committed",
      ...evaluations,
    ]);
  });

  test("the same seed gives the same events, another seed others", async () => {
    const [one, two, other] = [await runAll(), await runAll(), await runAll({}, fakeContour, 8)];
    expect(timeless(two.emitted)).toEqual(timeless(one.emitted));
    expect(timeless(other.emitted)).not.toEqual(timeless(one.emitted));
  });

  test("a key is sealed before its candidate trains and opened with the decision", async () => {
    const { emitted } = await runAll();
    const sealed = only(emitted, "sealed");
    const gated = only(emitted, "gated");
    expect(gated.map((event) => event.report.keyHash)).toEqual(sealed.map((event) => event.keyHash));
    expect(new Set(gated.map((event) => event.report.key)).size).toBe(2);
    const before = JSON.stringify(emitted.slice(0, gated[0]?.seq));
    expect(before).not.toContain(gated[0]?.report.key);
    expect(sealed[0]?.seq).toBeLessThan(only(emitted, "trained")[0]?.seq ?? 0);
  });

  test("the chosen answer is the better one under the pixel judge, and the reference is the incumbent", async () => {
    const { store, emitted } = await runAll();
    const first = only(emitted, "committed")[0]?.adapter;
    const asMade = store.commits.flatMap((commit) => commit.putPairs);
    expect(asMade.length).toBe((await store.pairs({})).length);
    for (const pair of asMade) {
      expect(quality(pair.task, pair.chosen.tokens)).toBeGreaterThan(quality(pair.task, pair.rejected.tokens));
      expect(pair.reference.adapter).toBe(pair.round <= 2 ? "base" : first);
    }
  });

  test("a contour without worlds to evaluate runs to its end", async () => {
    const { emitted, end } = await runAll({}, { ...fakeContour, evaluate: { ...fakeContour.evaluate, worlds: [] } });
    expect(only(emitted, "evaluated")).toEqual([]);
    expect(end.finished).toBe("rounds");
  });

  test("the learning rate decays by round", async () => {
    const contour = { ...fakeContour, train: { ...fakeContour.train, learningRate: 0.5, learningRateDecay: 0.5 } };
    const rates = only((await runAll({}, contour)).emitted, "trained").map(({ outcome }) =>
      outcome.kind === "trained" ? outcome.steps[0]?.learning_rate : null,
    );
    expect(rates).toEqual([0.5, 0.25, 0.125, 0.0625]);
  });

  test("an accepted adapter whose gain is not shown becomes the incumbent, not the best", async () => {
    const { emitted, end } = await runAll(
      { teach: (skill) => ({ a: skill.a, b: 0.35 }) },
      { ...fakeContour, rounds: 2 },
    );
    expect(only(emitted, "gated")[0]?.report.decision).toMatchObject({ kind: "accepted", superior: false });
    expect(end).toMatchObject({ best: "base", gate: { sinceGain: 1 } });
    expect(end.incumbent).toBe(only(emitted, "committed")[0]?.adapter);
    const gained = await runAll({ teach: (skill) => ({ a: skill.a, b: 0.6 }) }, { ...fakeContour, rounds: 2 });
    expect(gained.end).toMatchObject({ best: gained.end.incumbent, gate: { sinceGain: 0 } });
  });

  test("an unchanged incumbent is evaluated once", async () => {
    const { evaluator, emitted } = await runAll({ gain: -0.1 });
    expect(only(emitted, "rejected").length).toBe(2);
    expect(evaluator.calls).toEqual(["base A", "base B"]);
    expect(only(emitted, "evaluated").length).toBe(6);
  });
});

describe("crash and resume", () => {
  test("after a crash at any commit, before or after it is applied, the run comes out the same", async () => {
    // Gains in round 1–2, harm in 3–4: the run has an acceptance and a rollback.
    const teach: NonNullable<FakeOptions["teach"]> = (skill, call) => (call > 2 ? { a: skill.a, b: 0.2 } : skill);
    const whole = await runAll({ teach });
    expect(only(whole.emitted, "rejected").length).toBe(1);
    for (let commit = 2; commit <= whole.store.commits.length; commit++) {
      for (const when of ["before", "after"] as const) {
        const first = fakePorts({ teach, crash: { commit, when } });
        const loop = createLoop(first);
        await loop.start({ run, contour: fakeContour, seed: 7 });
        await expect(loop.run()).rejects.toThrow(`crash ${when} the commit`);
        const second = createLoop(fakePorts({ teach }, first.store));
        await second.resume();
        const end = await second.run();
        expect(timeless(await first.store.events({ since: 0 }))).toEqual(timeless(whole.emitted));
        expect(end).toEqual(whole.end);
      }
    }
  });

  test("a commit that fails emits nothing, and the phase can be tried again in the same process", async () => {
    const ports = fakePorts({ crash: { commit: 3, when: "before" } });
    const loop = createLoop(ports);
    await loop.start({ run, contour: fakeContour, seed: 7 });
    await loop.advance();
    const before = ports.emitted.length;
    await expect(loop.advance()).rejects.toThrow("crash");
    expect(ports.emitted.length).toBe(before);
    await loop.run();
    expect(timeless(ports.emitted)).toEqual(timeless((await runAll()).emitted));
  });

  test("a run that moves to another GPU adapter or to other kernel variants says so, once per move", async () => {
    const first = fakePorts();
    const loop = createLoop(first);
    await loop.start({ run, contour: fakeContour, seed: 7 });
    await loop.advance();
    const resumeOn = async (device: FakeOptions["device"]) => {
      const ports = fakePorts(device ? { device } : {}, first.store);
      const resumed = createLoop(ports);
      const state = await resumed.resume();
      return { ...ports, resumed, state };
    };
    expect((await resumeOn(undefined)).emitted).toEqual([]);

    const other = await resumeOn({ description: "another one" });
    expect(other.emitted).toMatchObject([
      {
        type: "restored",
        adapter: "base",
        reason:
          "resumed on another adapter (fake another one instead of fake in memory): results from here on differ in rounding",
        device: { description: "another one" },
      },
    ]);
    expect(other.state.phase).toBe(loop.state()?.phase);
    expect((await resumeOn({ description: "another one" })).emitted).toEqual([]);

    const variants = await resumeOn({ description: "another one", variants: { matmul: "sg8" } });
    expect(only(variants.emitted, "restored")[0]?.reason).toContain('variants ({"matmul":"sg8"} instead of {})');
    expect((await resumeOn(undefined)).emitted.length).toBe(1);

    const end = await (await resumeOn(undefined)).resumed.run();
    const events = await first.store.events({ since: 0 });
    expect(events.map((event) => event.seq)).toEqual(events.map((_, i) => i));
    expect(end).toMatchObject({ phase: "finished", seq: events.length });
    expect((await resumeOn({ description: "too late" })).emitted).toEqual([]);
  });

  test("resume without a run, start over a run, other weights and a lost adapter say what to do", async () => {
    const ports = fakePorts();
    const loop = createLoop(ports);
    await expect(loop.resume()).rejects.toThrow("start one first");
    await expect(loop.advance()).rejects.toThrow("call start or resume first");
    await loop.start({ run, contour: fakeContour, seed: 7 });
    await expect(createLoop(ports).start({ run, contour: fakeContour, seed: 7 })).rejects.toThrow(
      "holds a run already",
    );
    const others = createLoop(fakePorts({ base: { a: 0.5, b: 0.5 } }, ports.store));
    await expect(others.resume()).rejects.toThrow(
      /other base weights.*train on, open it with the model that it began with/,
    );
    await loop.step();
    const lossy = { ...ports.store, adapter: async () => null };
    const again = createLoop(fakePorts({}, lossy));
    await again.resume();
    await expect(again.advance()).rejects.toThrow("is not in the store");
  });
});

describe("rejection", () => {
  test("the incumbent comes back bit for bit, and the rejected candidate's pairs are never trained again", async () => {
    const teach: NonNullable<FakeOptions["teach"]> = (skill, call) =>
      call === 3 || call === 4 ? { a: skill.a, b: 0.1 } : skill;
    const contour = { ...fakeContour, rounds: 6 };
    const { emitted, store, engine } = await runAll({ teach }, contour);
    const incumbent = only(emitted, "committed")[0]?.adapter as string;
    const [rejected] = only(emitted, "rejected");
    expect(rejected).toMatchObject({ restored: incumbent, reason: "worse-than-incumbent" });
    expect(only(emitted, "restored")[0]?.adapter).toBe(incumbent);
    expect(engine.loads).toContain(incumbent);
    const committed = store.commits.flatMap((commit) => commit.putAdapters).find((one) => one.hash === incumbent);
    const restored = await store.adapter(incumbent);
    expect(restored).toEqual(committed);

    const lost = (await store.pairs({ status: "quarantined" })).filter((pair) => pair.round <= 4);
    expect(lost.length).toBe(rejected?.pairs);
    expect(new Set(lost.map((pair) => pair.round))).toEqual(new Set([3, 4]));
    const later = only(emitted, "trained").filter((event) => event.round > 4);
    expect(later.length).toBe(2);
    const ids = new Set(lost.map((pair) => pair.id));
    for (const event of later) expect(event.pairs.some((id) => ids.has(id))).toBe(false);
    // Round 5 starts from the incumbent: its reference is the incumbent's, as in round 3.
    expect(
      only(emitted, "paired")
        .filter((event) => event.round >= 3)
        .map((event) => event.reference),
    ).toEqual([incumbent, incumbent, incumbent, incumbent]);
  });

  test("forgetting of A is rejected though B improves", async () => {
    const { emitted } = await runAll({ forget: 0.03 });
    expect(only(emitted, "rejected")[0]?.reason).toBe("forgot-base-world");
  });

  test("a candidate that diverges is rolled back, and the loop goes on from the incumbent", async () => {
    const { emitted, store, end } = await runAll({ divergeAt: 2 });
    expect(only(emitted, "trained").map((event) => event.outcome.kind)).toEqual([
      "trained",
      "diverged",
      "trained",
      "diverged",
    ]);
    expect(only(emitted, "rejected").map((event) => event.reason)).toEqual(["diverged", "diverged"]);
    expect(end).toMatchObject({ finished: "rounds", incumbent: "base", candidate: null });
    expect((await store.pairs({})).every((pair) => pair.status === "quarantined")).toBe(true);
    expect(only(emitted, "sealed").length).toBe(1); // no gate was held, so its key stays sealed
  });

  test("an alarm sends the candidate to the gate before its time", async () => {
    const displaced = (call: number) => (call === 1 ? { "rewards/chosen": -2, "rewards/margins": 1 } : {});
    const { emitted } = await runAll({ metrics: displaced, gain: 0 });
    const [first] = only(emitted, "gated");
    expect(first?.round).toBe(1);
    const worse = await runAll(
      { metrics: displaced, gain: 0 },
      { ...fakeContour, gate: { ...fakeContour.gate, maxItems: 50 } },
    );
    expect(only(worse.emitted, "rejected")[0]).toMatchObject({ round: 1, reason: "drift" });
    expect(only(worse.emitted, "rejected")[0]?.detail).toContain("likelihood displacement");
  });

  test("undecided: deferred, trains on, stands again, and is rolled back after maxDeferrals", async () => {
    const contour = { ...fakeContour, rounds: 6, gate: { ...fakeContour.gate, period: 1, maxItems: 50 } };
    const { emitted } = await runAll({ gain: 0 }, contour);
    const kinds = only(emitted, "gated").map((event) => event.report.decision.kind);
    expect(kinds).toEqual(["deferred", "deferred", "rejected", "deferred", "deferred", "rejected"]);
    expect(only(emitted, "rejected")[0]).toMatchObject({ reason: "undecided-too-often" });
    expect(new Set(only(emitted, "sealed").map((event) => event.keyHash)).size).toBe(6);
  });
});

describe("controls", () => {
  test("scrambled truth changes no pair and no update before the first gate, and does change the gate", async () => {
    const [honest, scrambled] = [await runAll(), await runAll({ scrambleTruth: true })];
    const gate = only(honest.emitted, "gated")[0]?.seq ?? 0;
    expect(gate).toBeGreaterThan(10);
    expect(timeless(scrambled.emitted.slice(0, gate))).toEqual(timeless(honest.emitted.slice(0, gate)));
    const written = (ports: FakePorts) =>
      ports.store.commits.slice(0, 6).map(({ putPairs, putAdapters }) => ({ putPairs, putAdapters }));
    expect(written(scrambled)).toEqual(written(honest));
    expect(written(honest).flatMap((one) => one.putAdapters).length).toBe(2);
    expect(timeless(scrambled.emitted)).not.toEqual(timeless(honest.emitted));
  });

  test("a random judge gains nothing, gold and pixels do", async () => {
    const gain = async (rule: JudgeRule): Promise<number> => {
      const contour = { ...ruled(rule), gate: { ...fakeContour.gate, on: false } };
      const { engine, end } = await runAll({}, contour);
      return engine.skillOf(end.incumbent).b - engine.skillOf("base").b;
    };
    expect(Math.abs(await gain("random"))).toBeLessThan(0.1);
    expect(await gain("pixels")).toBeGreaterThan(0.15);
    expect(await gain("gold")).toBeGreaterThan(0.15);
  });

  test("gate off: every period commits, harm included, no label is used and the decision says so", async () => {
    const { emitted, end } = await runAll(
      { gain: -0.05 },
      { ...fakeContour, gate: { ...fakeContour.gate, on: false } },
    );
    expect(only(emitted, "committed").length).toBe(2);
    expect(only(emitted, "sealed")).toEqual([]);
    for (const { report } of only(emitted, "gated")) {
      expect(report).toMatchObject({ items: 0, tests: [], decision: { kind: "accepted", superior: false } });
      expect(report.decision).toHaveProperty("detail", expect.stringContaining("gate is off"));
    }
    expect(end.gate.used).toBe(0);
  });

  test("too few pairs: nothing is trained, the reason is told, the pairs wait for the next round", async () => {
    const contour = { ...fakeContour, rounds: 2, train: { ...fakeContour.train, minPairs: 30 } };
    const { emitted } = await runAll({}, contour);
    const outcomes = only(emitted, "trained").map((event) => event.outcome);
    expect(outcomes[0]).toMatchObject({
      kind: "skipped",
      reason: "too-few-pairs",
      detail: expect.stringContaining("wanted at least 30"),
    });
    expect(outcomes[1]?.kind).toBe("trained");
    const made = only(emitted, "paired").flatMap((event) => event.pairs);
    expect([...(only(emitted, "trained")[1]?.pairs ?? [])].sort()).toEqual(made.sort());
  });

  test("replayed pairs get log-probabilities of the new reference, which are stored", async () => {
    const contour = { ...fakeContour, train: { ...fakeContour.train, replayPairs: 0.5 } };
    const { emitted, store } = await runAll({}, contour);
    const first = only(emitted, "committed")[0]?.adapter;
    const renewed = (await store.pairs({})).filter((pair) => pair.round <= 2 && pair.reference.adapter === first);
    expect(renewed.length).toBeGreaterThan(0);
    expect(renewed.every((pair) => pair.status === "accepted")).toBe(true);
  });
});

describe("driving", () => {
  test("no more gain: stops after `patience` gates without a better best", async () => {
    const contour = { ...fakeContour, rounds: 40, stop: { patience: 2 } };
    const { end, emitted } = await runAll({ gain: -0.1 }, contour);
    expect(end).toMatchObject({ finished: "no-more-gain", round: 4 });
    expect(only(emitted, "finished")[0]?.detail).toContain("2 gates in a row");
  });

  test("advance does a phase, step a round, run stops at the signal, stop ends for good", async () => {
    const ports = fakePorts();
    const loop = createLoop(ports);
    await loop.start({ run, contour: fakeContour, seed: 7 });
    expect((await loop.advance()).phase).toBe("train");
    expect(await loop.step()).toMatchObject({ round: 2, phase: "collect" });
    const aborted = AbortSignal.abort();
    expect(await loop.run({ signal: aborted })).toMatchObject({ round: 2, phase: "collect" });
    const [during, stopped] = await Promise.all([loop.advance(), loop.stop("the visitor said so")]);
    expect(during.phase).toBe("train");
    expect(stopped).toMatchObject({ phase: "finished", finished: "stopped" });
    expect(await loop.run()).toEqual(stopped);
    expect(ports.emitted.at(-1)).toMatchObject({ type: "finished", reason: "stopped", detail: "the visitor said so" });
  });

  test("a visitor's correction is a fresh pair that the next training uses; the same one twice is refused", async () => {
    const ports = fakePorts();
    const loop = createLoop(ports);
    await loop.start({ run, contour: fakeContour, seed: 7 });
    await loop.advance();
    const [pair] = await ports.store.pairs({});
    if (!pair) throw new Error("no pair in round 1");
    const said = { ...pair.chosen, tokens: [1, 2, 3, 10], scores: {} };
    const correction = { task: pair.task, chosen: said, rejected: pair.rejected, detail: "drawn by hand" };
    await loop.correct(correction);
    await expect(loop.correct(correction)).rejects.toThrow("in the buffer already");
    const corrected = only(ports.emitted, "corrected")[0];
    const stored = (await ports.store.pairs({ status: "fresh" })).find((one) => one.id === corrected?.pair);
    expect(stored).toMatchObject({
      chosen: { scores: { visitor: 1 } },
      rejected: { scores: { visitor: 0 } },
      reference: { adapter: "base" },
    });
    await loop.advance();
    expect(only(ports.emitted, "trained")[0]?.pairs).toContain(corrected?.pair);
  });
});

describe("summary", () => {
  test("base, final, a line a round and the labelled items", async () => {
    const { emitted, end } = await runAll();
    const summary = summarise(emitted);
    const held = only(emitted, "evaluated");
    expect(summary.base).toEqual({ A: held[0]?.heldOut, B: held[1]?.heldOut });
    expect(summary.final).toEqual({ A: held.at(-2)?.heldOut, B: held.at(-1)?.heldOut });
    expect(summary.rounds.map(({ round, decision }) => [round, decision])).toEqual([
      [1, "none"],
      [2, "accepted"],
      [3, "none"],
      [4, "accepted"],
    ]);
    expect(summary.rounds.map(({ heldOut }) => heldOut !== null)).toEqual([true, true, false, true]);
    expect(summary.rounds[1]?.reason).toContain("incumbent-B passed");
    expect(summary.labelledGateItems).toBe(end.gate.used);
    expect(summary.labelledGateItems).toBeGreaterThan(0);
    expect(summary.rounds.map(({ pairs }) => pairs)).toEqual(
      only(emitted, "paired").map((event) => event.pairs.length),
    );
  });

  test("divergence and too few pairs have their reasons", async () => {
    const diverged = summarise((await runAll({ divergeAt: 1 })).emitted);
    expect(diverged.rounds[0]).toMatchObject({
      decision: "rejected",
      reason: expect.stringContaining("diverged: loss is not a number"),
    });
    const starved = { ...fakeContour, train: { ...fakeContour.train, minPairs: 1000 } };
    const skipped = summarise((await runAll({}, starved)).emitted);
    expect(skipped.rounds[0]).toMatchObject({ decision: "none", reason: expect.stringContaining("not trained") });
  });
});

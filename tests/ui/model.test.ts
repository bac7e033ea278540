import { describe, expect, it } from "vitest";
import type { EventBody, LoopEvent } from "../../src/base/events.ts";
import { emptyModel, heldOutSpan, lastDecision, modelOf, reduce } from "../../src/ui/model.ts";
import { Timeline } from "../../src/ui/timeline.ts";
import { stepMetrics, syntheticEvents } from "./synthetic.ts";

const events = syntheticEvents({ rounds: 24, seed: 7, preview: 3 });
const number = (bodies: readonly EventBody[], round = 1): LoopEvent[] =>
  bodies.map((body, seq) => ({ ...body, seq, at: 0, round }) as LoopEvent);

describe("modelOf", () => {
  it("counts decisions as the log does", () => {
    const model = modelOf(events);
    expect(model.counts).toEqual({ accepted: 4, rejected: 1, deferred: 1 });
    expect(model.labelledItems).toBe(6 * 1050);
    expect(model.alphaSpent).toBeCloseTo(5 * 0.05);
    expect(model.finished?.reason).toBe("rounds");
    expect(model.count).toBe(events.length);
  });

  it("puts the steps of all rounds on one axis", () => {
    const { curves } = modelOf(events);
    expect(curves.map((point) => point.step)).toEqual(Array.from({ length: 24 * 4 }, (_, step) => step));
    expect(curves[0]?.loss).toBeCloseTo(0.693);
  });

  it("gives an update the rounds, the pairs and the pictures that trained it", () => {
    const first = modelOf(events).updates[0];
    expect(first?.rounds).toEqual([1, 2, 3, 4]);
    expect(first?.pairViews.length).toBeGreaterThan(4);
    for (const pair of first?.pairViews ?? []) {
      expect(pair.margin).toBeGreaterThanOrEqual(0.02);
      expect(pair.chosen.scores.pixels).toBeGreaterThan(pair.rejected.scores.pixels ?? Number.NaN);
    }
  });

  it("keeps a deferred candidate open, so that its next rounds join it", () => {
    const { updates } = modelOf(events);
    const joined = updates[4];
    expect(updates).toHaveLength(5);
    expect(joined?.rounds).toEqual([17, 18, 19, 20, 21, 22, 23, 24]);
    expect(joined?.reports.map((report) => report.decision.kind)).toEqual(["deferred", "accepted"]);
    expect(joined?.outcome.kind).toBe("accepted");
  });

  it("restores the incumbent when a candidate is rejected", () => {
    const index = events.findIndex((event) => event.type === "rejected");
    const before = modelOf(events.slice(0, index));
    const after = modelOf(events.slice(0, index + 1));
    expect(after.incumbent).toBe(before.incumbent);
    expect(after.incumbent).not.toBe("base");
    expect(lastDecision(after)?.outcome).toMatchObject({ kind: "rejected", reason: "forgot-base-world" });
  });

  it("spans the held-out scores of each world apart", () => {
    const model = modelOf(events);
    const b = heldOutSpan(model, "B");
    expect(b?.first.heldOut.greedy.value).toBeCloseTo(0.33, 2);
    expect(b?.last.heldOut.greedy.value).toBeGreaterThan(0.5);
    expect(heldOutSpan(model, "A")?.first.heldOut.greedy.value).toBeCloseTo(0.984, 2);
    expect(heldOutSpan(model, "C")).toBeNull();
  });

  it("starts a round with empty hands", () => {
    const second = events.findIndex((event) => event.type === "proposed" && event.round === 2);
    const model = modelOf(events.slice(0, second + 1));
    expect(model.facts.trained).toBeNull();
    expect(model.verdicts).toEqual({});
    expect(model.tasks.every((task) => task.candidates.length === 0)).toBe(true);
  });
});

describe("reduce", () => {
  it("tells a skipped and a diverged training apart from steps", () => {
    const skipped = modelOf(
      number([
        { type: "trained", outcome: { kind: "skipped", reason: "too-few-pairs", detail: "7 of 16 pairs" }, pairs: [] },
      ]),
    );
    expect(skipped.facts.trained).toEqual({ kind: "skipped", detail: "7 of 16 pairs" });
    expect(skipped.updates).toEqual([]);
    const diverged = modelOf(
      number([
        { type: "trained", outcome: { kind: "trained", steps: [stepMetrics(0, 0)], adapter: "a" }, pairs: ["p"] },
        { type: "trained", outcome: { kind: "diverged", step: 3, detail: "loss is not finite" }, pairs: ["q"] },
        {
          type: "rejected",
          adapter: "b",
          restored: "base",
          reason: "diverged",
          detail: "loss is not finite",
          pairs: 2,
        },
      ]),
    );
    expect(diverged.facts.trained?.kind).toBe("diverged");
    expect(diverged.updates[0]).toMatchObject({
      index: 1,
      pairs: 2,
      outcome: { kind: "rejected", reason: "diverged" },
    });
  });

  it("commits without a gate and says so", () => {
    const model = modelOf(number([{ type: "committed", adapter: "b", previous: "base", pairs: 3, rounds: [1] }]));
    expect(model.updates[0]?.outcome).toEqual({
      kind: "accepted",
      adapter: "b",
      previous: "base",
      superior: false,
      gated: false,
    });
    expect(model.incumbent).toBe("b");
  });

  it("shows an error until the loop goes on", () => {
    const broken = modelOf(number([{ type: "error", code: "quota", message: "Storage is full." }]));
    expect(broken.error?.code).toBe("quota");
    expect(
      reduce(broken, { type: "restored", adapter: "base", reason: "reload", seq: 1, at: 0, round: 1 }).error,
    ).toBeNull();
  });

  it("never changes the model it was given", () => {
    const frozen = (model: typeof emptyModel): typeof emptyModel => {
      for (const value of Object.values(model)) if (value && typeof value === "object") Object.freeze(value);
      return Object.freeze(model);
    };
    expect(() =>
      events.reduce((model, event) => frozen(reduce(model, event)), frozen({ ...emptyModel })),
    ).not.toThrow();
  });
});

describe("Timeline", () => {
  it("goes back to any prefix and gives what folding it anew gives", () => {
    const timeline = new Timeline();
    timeline.append(events);
    timeline.at(events.length);
    for (const count of [0, 1, 17, 60, events.length])
      expect(timeline.at(count)).toEqual(modelOf(events.slice(0, count)));
  });

  it("skips known events and refuses a gap", () => {
    const timeline = new Timeline();
    timeline.append(events.slice(0, 5));
    timeline.append(events.slice(3, 8));
    expect(timeline.length).toBe(8);
    expect(() => timeline.append(events.slice(9, 10))).toThrow(/expected event 8, got 9/);
  });

  it("jumps from decision to decision", () => {
    const timeline = new Timeline();
    timeline.append(events);
    const rejectedAt = events.findIndex((event) => event.type === "rejected") + 1;
    expect(timeline.checkpoints().map((checkpoint) => checkpoint.kind)).toEqual([
      "start",
      "accepted",
      "accepted",
      "rejected",
      "accepted",
      "deferred",
      "accepted",
      "finished",
    ]);
    expect(timeline.neighbour(rejectedAt - 1, 1)).toBe(rejectedAt);
    expect(timeline.neighbour(rejectedAt, 1)).toBeGreaterThan(rejectedAt);
    expect(timeline.neighbour(1, -1)).toBeNull();
    expect(timeline.neighbour(events.length, 1)).toBeNull();
  });
});

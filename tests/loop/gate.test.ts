import { describe, expect, test } from "vitest";
import { defaultContour } from "../../src/base/contour.ts";
import { rngFor } from "../../src/base/rng.ts";
import { decideGate, type GateInput, type Grader, runGate, sealKey } from "../../src/loop/gate.ts";
import { simulateGate } from "../../src/loop/simulate.ts";
import { fakeEngine, fakeSealed } from "./fakes.ts";

const settings = defaultContour.gate;
const names = { incumbent: "i", best: "b" };
const all = (count: number, right: boolean): boolean[] => Array.from({ length: count }, () => right);

/** A grader by chance to be right, each adapter on its own: `b.candidate` … in the shifted world, `a` in the clean one. */
function grader(
  b: { candidate: number; incumbent: number; best: number },
  a = { candidate: 1, base: 1 },
  seed = 0,
): Grader {
  const rng = rngFor(seed, "grader");
  const draw = (count: number, chance: number): boolean[] => all(count, true).map(() => rng.next() < chance);
  return {
    shifted: async (_from, count) => ({
      candidate: draw(count, b.candidate),
      incumbent: draw(count, b.incumbent),
      best: draw(count, b.best),
    }),
    clean: async (_from, count) => ({ candidate: draw(count, a.candidate), base: draw(count, a.base) }),
  };
}

describe("decideGate", () => {
  test("the same answers pass after 200 items in each world: safe, not superior", async () => {
    const verdict = await decideGate(settings, grader({ candidate: 1, incumbent: 1, best: 1 }), names);
    expect(verdict.outcome).toBe("passed");
    expect(verdict.tests.map((one) => [one.name, one.n, one.difference, one.verdict])).toEqual([
      ["incumbent-B", 200, 0, "passed"],
      ["best-B", 200, 0, "passed"],
      ["base-A", 200, 0, "passed"],
    ]);
    expect(verdict.superiority.shown).toBe(false);
  });

  test("a clear gain is superior, and its items are counted in both worlds", async () => {
    const verdict = await decideGate(settings, grader({ candidate: 0.8, incumbent: 0.4, best: 0.4 }), names);
    expect(verdict.outcome).toBe("passed");
    expect(verdict.superiority).toMatchObject({ shown: true });
    const [b, , a] = verdict.tests;
    expect(verdict.items).toBe((b?.n ?? 0) + (a?.n ?? 0));
  });

  test("harm is rejected by the test that shows it", async () => {
    const harm = async (g: Grader) =>
      (await decideGate(settings, g, names)).tests.find((one) => one.verdict === "failed")?.name;
    expect(await harm(grader({ candidate: 0.3, incumbent: 0.6, best: 0.3 }))).toBe("incumbent-B");
    expect(await harm(grader({ candidate: 0.5, incumbent: 0.5, best: 0.9 }))).toBe("best-B");
    expect(await harm(grader({ candidate: 1, incumbent: 1, best: 1 }, { candidate: 0.7, base: 1 }))).toBe("base-A");
  });

  test("a difference at the boundary stays open at the maximum", async () => {
    let i = 0;
    const threeInHundred: Grader = {
      ...grader({ candidate: 1, incumbent: 1, best: 1 }),
      shifted: async (_from, count) => {
        const candidate = all(count, true).map(() => i++ % 33 !== 0);
        return { candidate, incumbent: all(count, true), best: all(count, true) };
      },
    };
    const verdict = await decideGate(settings, threeInHundred, names);
    expect(verdict.outcome).toBe("open");
    expect(verdict.tests[0]?.n).toBe(2000);
  });

  test("never more than maxItems in a world, though the batch does not divide it", async () => {
    const verdict = await decideGate(
      { ...settings, maxItems: 70 },
      grader({ candidate: 1, incumbent: 1, best: 1 }),
      names,
    );
    expect(verdict.outcome).toBe("open");
    expect(verdict.tests.map((one) => one.n)).toEqual([70, 70, 70]);
    expect(verdict.items).toBe(140);
  });
});

describe("runGate", () => {
  const key = "00ff";
  const input = (more: Partial<GateInput> = {}): GateInput => ({
    settings,
    world: "B",
    maxNewTokens: 4,
    key,
    keyHash: sealKey(key),
    index: 0,
    candidate: "base",
    incumbent: "base",
    best: "base",
    deferrals: 0,
    alarm: null,
    onItems: () => {},
    ...more,
  });
  const trained = async (skill: { a: number; b: number }) => {
    const engine = fakeEngine({ teach: () => skill });
    await engine.begin({ adapter: "base", seed: 0, loraR: 8, loraAlpha: 16 });
    await engine.train({ batches: [], contour: defaultContour.train, learningRate: 1e-3 });
    return { engine, candidate: (await engine.snapshot()).hash };
  };

  test("accepts a better candidate; incumbent, best and base are one adapter here and answer once", async () => {
    const { engine, candidate } = await trained({ a: 0.97, b: 0.6 });
    const report = await runGate(engine, fakeSealed(), input({ candidate }));
    expect(report.decision).toMatchObject({ kind: "accepted", adapter: candidate, superior: true });
    expect(report).toMatchObject({ key, keyHash: sealKey(key), alpha: 0.05 });
    const answered = (adapter: string) =>
      engine.greedyCalls.filter((call) => call.adapter === adapter).reduce((sum, call) => sum + call.count, 0);
    expect(answered(candidate)).toBe(report.items);
    expect(answered("base")).toBe(report.items);
  });

  test("rejects forgetting of A with its numbers", async () => {
    const { engine, candidate } = await trained({ a: 0.75, b: 0.6 });
    const { decision } = await runGate(engine, fakeSealed(), input({ candidate }));
    expect(decision).toMatchObject({ kind: "rejected", reason: "forgot-base-world" });
    expect(decision.kind === "rejected" && decision.detail).toMatch(/base-A failed \(−\d+\.\d points on \d+ items/);
  });

  test("undecided: deferred, then rolled back after maxDeferrals, and at once when the monitor has fired", async () => {
    const { engine, candidate } = await trained({ a: 0.97, b: 0.35 });
    const short = { ...settings, maxItems: 50 };
    const decide = async (more: Partial<GateInput>) =>
      (await runGate(engine, fakeSealed(), input({ candidate, settings: short, ...more }))).decision;
    expect(await decide({})).toMatchObject({ kind: "deferred", items: 100 });
    expect(await decide({ deferrals: 2 })).toMatchObject({ kind: "rejected", reason: "undecided-too-often" });
    expect(await decide({ alarm: "answers stopped ending" })).toMatchObject({ kind: "rejected", reason: "drift" });
  });

  test("a key that does not fit its journalled hash stops the run", async () => {
    await expect(runGate(fakeEngine(), fakeSealed(), input({ keyHash: sealKey("other") }))).rejects.toThrow(
      "does not match the hash",
    );
  });
});

describe("what the gate must do to planted candidates", () => {
  const clean = { change: 0, discordance: 0.02 };
  test.each([0.1, 0.15, 0.25])(
    "discordance %s: harm of 4 points passes in at most 5 percent, a gain of 8 in at least 80",
    async (discordance) => {
      const harmful = await simulateGate({
        settings,
        shifted: { change: -0.04, discordance },
        clean,
        runs: 200,
        seed: 11,
      });
      const helpful = await simulateGate({
        settings,
        shifted: { change: 0.08, discordance },
        clean,
        runs: 60,
        seed: 12,
      });
      expect(harmful.accepted).toBeLessThanOrEqual(0.05);
      expect(helpful.accepted).toBeGreaterThanOrEqual(0.8);
    },
  );

  test("harm in A alone is stopped too", async () => {
    const forgetful = await simulateGate({
      settings,
      shifted: { change: 0.08, discordance: 0.15 },
      clean: { change: -0.04, discordance: 0.06 },
      runs: 200,
      seed: 13,
    });
    expect(forgetful.accepted).toBeLessThanOrEqual(0.05);
  });

  test("an impossible candidate is refused", async () => {
    const planted = { settings, shifted: { change: 0.2, discordance: 0.1 }, clean, runs: 1, seed: 0 };
    await expect(simulateGate(planted)).rejects.toThrow("needs a discordance between 0.2 and 1");
  });
});

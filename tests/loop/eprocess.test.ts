import { describe, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { type Counts, countPairs, eHarm, eSafe, noCounts, stakes } from "../../src/loop/eprocess.ts";

/** The definition, item by item, without logarithms. */
function byDefinition(changes: readonly number[], epsilon: number, sign: 1 | -1): number {
  const products = stakes.map((stake) =>
    changes.reduce((product, d) => product * (1 + sign * stake * (d + epsilon)), 1),
  );
  return products.reduce((sum, product) => sum + product, 0) / stakes.length;
}

const toCounts = (changes: readonly number[]): Counts => ({
  n: changes.length,
  wins: changes.filter((d) => d === 1).length,
  losses: changes.filter((d) => d === -1).length,
});

describe("e-values", () => {
  test("without items there is no evidence: 1", () => {
    expect(eSafe(noCounts, 0.03)).toBe(1);
    expect(eHarm(noCounts, 0.03)).toBe(1);
  });

  test("one win at epsilon 0 is worth the mean of 1 + stake = 1.425, one loss 0.575; harm mirrors it", () => {
    expect(eSafe({ n: 1, wins: 1, losses: 0 }, 0)).toBeCloseTo(1.425, 12);
    expect(eSafe({ n: 1, wins: 0, losses: 1 }, 0)).toBeCloseTo(0.575, 12);
    expect(eHarm({ n: 1, wins: 0, losses: 1 }, 0)).toBeCloseTo(1.425, 12);
  });

  test("counts give what the definition gives item by item, in any order", () => {
    const rng = rngFor(1, "changes");
    const changes = Array.from({ length: 200 }, () => rng.int(3) - 1);
    for (const epsilon of [0, 0.03, 0.2]) {
      for (const order of [changes, rng.shuffle(changes)]) {
        expect(eSafe(toCounts(order), epsilon) / byDefinition(order, epsilon, 1)).toBeCloseTo(1, 9);
        expect(eHarm(toCounts(order), epsilon) / byDefinition(order, epsilon, -1)).toBeCloseTo(1, 9);
      }
    }
  });

  test("with no difference at all, safety at 3 points is shown within 200 items and harm never", () => {
    expect(eSafe({ n: 200, wins: 0, losses: 0 }, 0.03)).toBeGreaterThan(20);
    expect(eHarm({ n: 200, wins: 0, losses: 0 }, 0.03)).toBeLessThan(1);
  });

  test("an enormous lead stays a finite number", () => {
    expect(Number.isFinite(eSafe({ n: 5000, wins: 5000, losses: 0 }, 0))).toBe(true);
  });

  test("an epsilon that would make a factor negative is refused", () => {
    expect(() => eSafe(noCounts, 0.3)).toThrow("epsilon must lie in [0, 0.2], got 0.3");
    expect(() => eHarm(noCounts, -0.01)).toThrow("epsilon");
  });

  test("pairs of different length are refused", () => {
    expect(() => countPairs(noCounts, [true], [])).toThrow("1 and 0");
    expect(countPairs(noCounts, [true, false, true, false], [false, true, true, false])).toEqual({
      n: 4,
      wins: 1,
      losses: 1,
    });
  });
});

describe("error rate at the boundary, looking after every five items", () => {
  // True mean change exactly −epsilon: the worst case of both hypotheses.
  const runs = 1000;
  const epsilon = 0.03;
  const alpha = 0.05;

  test.each([0.05, 0.1, 0.25])(
    "discordance %s: safety and harm are each shown wrongly in at most 5 percent of runs",
    (discordance) => {
      let safe = 0;
      let harm = 0;
      for (let run = 0; run < runs; run++) {
        const rng = rngFor(5, "boundary", discordance, run);
        let counts: Counts = noCounts;
        let [sawSafe, sawHarm] = [false, false];
        for (let n = 1; n <= 600; n++) {
          const u = rng.next();
          const win = u < (discordance - epsilon) / 2;
          const loss = !win && u < discordance;
          counts = { n, wins: counts.wins + Number(win), losses: counts.losses + Number(loss) };
          sawSafe ||= n % 5 === 0 && eSafe(counts, epsilon) >= 1 / alpha;
          sawHarm ||= n % 5 === 0 && eHarm(counts, epsilon) >= 1 / alpha;
        }
        safe += Number(sawSafe);
        harm += Number(sawHarm);
      }
      // 5% of 1000 plus two standard errors of the simulation.
      expect(safe).toBeLessThanOrEqual(64);
      expect(harm).toBeLessThanOrEqual(64);
      // A test that never rejects would pass the lines above without being a test.
      expect(safe + harm).toBeGreaterThan(0);
    },
  );
});

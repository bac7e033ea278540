/** Every parser of outside bytes against 10,000 seeded mutations: read right, or refused clearly, in bounded time and memory. */
import { describe, expect, test } from "vitest";
import { InputError } from "../../src/base/input.ts";
import { fuzz, problemOf, Refused, type Target, WrongRead } from "../../src/cli/fuzz/fuzz.ts";
import { TARGETS } from "../../src/cli/fuzz/targets.ts";

const RUNS = 10_000;
const now = () => performance.now();

test.each(TARGETS.map((target) => [target.name, target] as const))(
  "%s",
  async (_name, target) => {
    const report = await fuzz(target, { seed: 1, runs: RUNS, now });
    expect(report.failures).toEqual([]);
    expect(report.read + report.refused).toBe(RUNS);
    // The mutations are neither so mild that all are read nor so wild that none is.
    expect(report.read).toBeGreaterThan(RUNS / 1000);
    expect(report.refused).toBeGreaterThan(RUNS / 10);
    expect(report.slowestMs).toBeLessThan(20_000);
  },
  600_000,
);

test.each(["onnx", "zip"])(
  "%s, the mutations behind those for a minute",
  async (name) => {
    const target = TARGETS.find((one) => one.name === name) as Target;
    const until = now() + 60_000;
    let first = RUNS;
    for (; now() < until; first += 1000) {
      const report = await fuzz(target, { seed: 1, first, runs: 1000, now });
      expect(report.failures).toEqual([]);
      expect(report.read + report.refused).toBe(1000);
    }
    expect(first).toBeGreaterThan(RUNS);
  },
  600_000,
);

describe("the fuzzer sees", () => {
  const target = (attempt: () => void): Target => ({ name: "made-up", what: "nothing", prepare: async () => attempt });
  const messageOf = async (attempt: () => void): Promise<string | undefined> =>
    (await fuzz(target(attempt), { seed: 0, runs: 1, now })).failures[0]?.message;

  test("errors of the language, messages that show insides or say nothing, wrong reads", async () => {
    const broken = null as unknown as { length: number };
    expect(await messageOf(() => void broken.length)).toMatch(/^not one of our errors: TypeError/);
    const says = (message: string) => () => {
      throw new InputError(message);
    };
    expect(await messageOf(says("x.json: Cannot read properties of null"))).toMatch(/shows insides/);
    expect(await messageOf(says(""))).toBe("the message is empty");
    expect(await messageOf(says('x.json: "undefined" is no number'))).toBeUndefined();
    expect(problemOf(new WrongRead("3 became 4"))).toBe("3 became 4");
    expect(problemOf(new Refused(["all fine", "[object Object] is wrong"]))).toMatch(/shows insides/);
  });

  test("a parser that believes a declared size", async () => {
    const held: Uint8Array[] = [];
    expect(await messageOf(() => void held.push(new Uint8Array(2 ** 29)))).toMatch(/hold 51[0-9] MiB/);
    expect(held).toHaveLength(1);
  });

  test("the same mutation again, by its number", async () => {
    const seen: number[] = [];
    const remember: Target = { name: "made-up", what: "", prepare: async () => (rng) => void seen.push(rng.next()) };
    await fuzz(remember, { seed: 5, runs: 3, now });
    await fuzz(remember, { seed: 5, first: 2, runs: 1, now });
    expect(seen[3]).toBe(seen[2]);
    expect(new Set(seen).size).toBe(3);
  });
});

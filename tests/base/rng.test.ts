import { describe, expect, test } from "vitest";
import { sha256Hex } from "../../src/base/hash.ts";
import { rngFor } from "../../src/base/rng.ts";

describe("sha256", () => {
  test("of 'abc' is the value of FIPS 180-2, whole or in parts", () => {
    const want = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    expect(sha256Hex("abc")).toBe(want);
    expect(sha256Hex("a", new Uint8Array([98, 99]))).toBe(want);
  });
});

describe("rngFor", () => {
  test("the same labels give the same stream, other labels another", () => {
    const draw = (...labels: (string | number)[]): number[] => {
      const rng = rngFor(1, ...labels);
      return Array.from({ length: 8 }, () => rng.next());
    };
    expect(draw("a", 1)).toEqual(draw("a", 1));
    expect(draw("a", 1)).not.toEqual(draw("a", 2));
    expect(draw("a", 1)).not.toEqual(draw("a1"));
  });

  test("uniform and normal have the moments that they should", () => {
    const rng = rngFor(3, "moments");
    const n = 40000;
    let sum = 0;
    let normalSum = 0;
    let normalSquares = 0;
    for (let i = 0; i < n; i++) {
      sum += rng.next();
      const z = rng.normal();
      normalSum += z;
      normalSquares += z * z;
    }
    expect(Math.abs(sum / n - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / n));
    expect(Math.abs(normalSum / n)).toBeLessThan(5 / Math.sqrt(n));
    expect(Math.abs(normalSquares / n - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
  });

  test("int covers its range evenly and refuses an empty one", () => {
    const rng = rngFor(5, "int");
    const counts = [0, 0, 0, 0, 0, 0];
    for (let i = 0; i < 6000; i++) {
      const k = rng.int(6);
      counts[k] = (counts[k] as number) + 1;
    }
    for (const count of counts) expect(Math.abs(count - 1000)).toBeLessThan(150);
    expect(() => rng.int(0)).toThrow("positive whole number");
    expect(() => rng.pick([])).toThrow("empty list");
  });

  test("shuffle keeps the elements and leaves its argument alone", () => {
    const items = [1, 2, 3, 4, 5, 6, 7, 8, 9];
    const shuffled = rngFor(9, "shuffle").shuffle(items);
    expect(shuffled).not.toEqual(items);
    expect([...shuffled].sort()).toEqual(items);
    expect(items).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });
});

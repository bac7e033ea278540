import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { canonicalDigest, canonicalJson, fromBase64, parseCanonical, toBase64 } from "../../src/base/canonical.ts";

describe("canonical JSON", () => {
  it("sorts keys, drops undefined, and writes bytes as base64", () => {
    expect(canonicalJson({ b: 1, a: [true, null, "x"], c: undefined, d: new Uint8Array([0, 255]) })).toBe(
      '{"a":[true,null,"x"],"b":1,"d":{"$bytes":"AP8="}}',
    );
    expect(canonicalDigest({ b: 1, a: 2 })).toBe(canonicalDigest({ a: 2, b: 1 }));
    // SHA-256 of the two bytes {}
    expect(canonicalDigest({})).toBe("44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a");
  });

  it("names the path of what it cannot hold", () => {
    expect(() => canonicalJson({ a: [1, { b: Number.NaN }] })).toThrow("a[1].b is NaN");
    expect(() => canonicalJson({ a: new Float32Array(2) })).toThrow("a is a Float32Array");
    expect(() => canonicalJson({ a: () => 1 })).toThrow("a is function");
    expect(() => canonicalJson([undefined])).toThrow("[0] is undefined");
    expect(() => canonicalJson({ $bytes: "AA==" })).toThrow("reserved");
    const loop: Record<string, unknown> = {};
    loop.self = loop;
    expect(() => canonicalJson(loop)).toThrow("64 levels");
  });

  it("reads only its own form", () => {
    for (const text of [
      '{"b":1,"a":2}',
      '{ "a":1}',
      '{"a":1.0}',
      '{"$bytes":"AA"}',
      '{"$bytes":"AB=="}',
      '{"$bytes":1}',
      "[1,]",
      "",
      '{"a":1,"a":1}',
      "-0",
      '"\\u0041"',
      "[".repeat(100_000),
    ]) {
      expect(() => parseCanonical(text), text.slice(0, 20)).toThrow();
    }
  });

  it("gives back every value, __proto__ keys and lone surrogates included", () => {
    const { value } = fc.letrec((tie) => ({
      value: fc.oneof(
        { maxDepth: 4 },
        fc.constant(null),
        fc.boolean(),
        fc.string({ unit: "binary" }),
        fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0 || 0),
        fc.uint8Array(),
        fc.array(tie("value")),
        fc.dictionary(fc.oneof(fc.string(), fc.constant("__proto__")), tie("value"), { noNullPrototype: true }),
      ),
    }));
    fc.assert(
      fc.property(value, (x) => {
        const text = canonicalJson(x);
        const back = parseCanonical(text);
        expect(canonicalJson(back)).toBe(text);
        expect(back).toEqual(x);
      }),
      { numRuns: 300, seed: 6 },
    );
    expect(canonicalJson(parseCanonical('{"__proto__":{"x":1}}'))).toBe('{"__proto__":{"x":1}}');
    expect(parseCanonical(canonicalJson("\ud800"))).toBe("\ud800");
  });

  it("round-trips base64 of every length", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 20_000 }),
        (bytes) => void expect(fromBase64(toBase64(bytes))).toEqual(bytes),
      ),
      { numRuns: 50, seed: 7 },
    );
  });
});

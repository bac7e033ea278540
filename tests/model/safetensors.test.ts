import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { readSafetensors, type TensorView, toFloat32, writeSafetensors } from "../../src/model/safetensors.ts";
import { goldenBytes } from "./golden.ts";

/** A file from a header and a body, without any check. */
function file(header: unknown, body: Uint8Array | number): Uint8Array {
  const text = new TextEncoder().encode(typeof header === "string" ? header : JSON.stringify(header));
  const data = typeof body === "number" ? new Uint8Array(body) : body;
  const bytes = new Uint8Array(8 + text.length + data.length);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(text.length), true);
  bytes.set(text, 8);
  bytes.set(data, 8 + text.length);
  return bytes;
}

const read = (bytes: Uint8Array): ReadonlyMap<string, TensorView> => readSafetensors(bytes, "w.safetensors").tensors;
const one = (dtype: string, shape: readonly number[], body: ArrayBufferView): Float32Array => {
  const bytes = new Uint8Array(body.buffer, body.byteOffset, body.byteLength);
  return toFloat32(read(file({ x: { dtype, shape, data_offsets: [0, bytes.length] } }, bytes)).get("x") as TensorView);
};

describe("reading", () => {
  test("a file that Python wrote, without copying", () => {
    const bytes = goldenBytes("llama-tied/model.safetensors");
    const { metadata, tensors } = readSafetensors(bytes, "golden");
    expect(metadata.get("format")).toBe("pt");
    expect(tensors.size).toBe(2 + 2 * 9);
    const norm = toFloat32(tensors.get("model.norm.weight") as TensorView);
    expect(norm.length).toBe(32);
    expect(norm.buffer).toBe(bytes.buffer);
  });

  test("every dtype becomes f32", () => {
    expect([...one("F32", [2], new Float32Array([1.5, -0]))]).toEqual([1.5, -0]);
    expect([...one("F64", [2], new Float64Array([0.1, -1e300]))]).toEqual([Math.fround(0.1), Number.NEGATIVE_INFINITY]);
    expect([...one("I64", [2], new BigInt64Array([-3n, 2n ** 53n]))]).toEqual([-3, 2 ** 53]);
    expect([...one("I32", [2], new Int32Array([-3, 7]))]).toEqual([-3, 7]);
    expect([...one("I8", [2], new Int8Array([-128, 127]))]).toEqual([-128, 127]);
    expect([...one("U8", [2], new Uint8Array([0, 255]))]).toEqual([0, 255]);
  });

  test("half precision: ones, thirds, the largest, the smallest, infinities, NaN", () => {
    const bits = new Uint16Array([0x3c00, 0xbc00, 0x3555, 0x7bff, 0x0001, 0x0400, 0x8000, 0x7c00, 0xfc00, 0x7e00]);
    const want = [
      1,
      -1,
      0.333251953125,
      65504,
      2 ** -24,
      2 ** -14,
      -0,
      Number.POSITIVE_INFINITY,
      Number.NEGATIVE_INFINITY,
      Number.NaN,
    ];
    expect([...one("F16", [10], bits)]).toEqual(want);
  });

  test("bfloat16 is the upper half of f32, for all 65,536 patterns", () => {
    const bits = Uint16Array.from({ length: 65536 }, (_, i) => i);
    const want = new Float32Array(Uint32Array.from(bits, (b) => b << 16).buffer);
    expect(one("BF16", [65536], bits)).toEqual(want);
  });

  test("a view that is not aligned in memory is converted", () => {
    const aligned = writeSafetensors([["x", { shape: [2], data: new Float32Array([1, 2]) }]]);
    const shifted = new Uint8Array(aligned.length + 1);
    shifted.set(aligned, 1);
    expect([...toFloat32(read(shifted.subarray(1)).get("x") as TensorView)]).toEqual([1, 2]);
  });

  const f32 = (shape: readonly unknown[], ...offsets: number[]): object => ({
    dtype: "F32",
    shape,
    data_offsets: offsets,
  });
  test.each<[string, Uint8Array, RegExp]>([
    ["an empty file", new Uint8Array(0), /w\.safetensors is not a valid safetensors file: it has 0 bytes/],
    [
      "a header longer than the file",
      file("{}", 0).subarray(0, 9),
      /its header claims 2 bytes, at most 1 can be there \(is the download complete\?\)/,
    ],
    [
      "a header of 2^63 bytes",
      Uint8Array.from([0, 0, 0, 0, 0, 0, 0, 0x80, 0x7b]),
      /its header claims 9223372036854775808 bytes/,
    ],
    ["a file of another kind", file("PK", 0), /header does not begin with "\{"/],
    ["a header that is not JSON", file("{oops", 0), /header is not valid JSON/],
    ["a header that is not UTF-8", Uint8Array.from([3, 0, 0, 0, 0, 0, 0, 0, 0x7b, 0xff, 0x7d]), /header is not UTF-8/],
    [
      "an unknown dtype",
      file({ x: { dtype: "F8_E4M3", shape: [1], data_offsets: [0, 1] } }, 1),
      /tensor "x": dtype "F8_E4M3" is not supported; supported are F64/,
    ],
    ["a negative size", file({ x: f32([-1], 0, 4) }, 4), /tensor "x": shape must be a list .* found \[-1\]/],
    ["an entry that is no object", file({ x: 3 }, 0), /tensor "x" must be a JSON object, found 3/],
    [
      "offsets the wrong way round",
      file({ x: f32([1], 4, 0) }, 4),
      /data_offsets must be \[begin, end\], found \[4,0\]/,
    ],
    [
      "a size that does not fit the shape",
      file({ x: f32([2], 0, 4) }, 4),
      /shape \[2\] of F32 takes 8 bytes, data_offsets give 4/,
    ],
    ["a size beyond all numbers", file({ x: f32([2 ** 50, 2 ** 50], 0, 4) }, 4), /data_offsets give 4/],
    [
      "a file cut short",
      file({ x: f32([2], 0, 8) }, 7),
      /tensor "x" ends at byte 8 of 7 \(is the download complete\?\)/,
    ],
    [
      "overlapping tensors",
      file({ x: f32([2], 0, 8), y: f32([2], 4, 12) }, 12),
      /tensor "y" begins at byte 4 and overlaps the one before it, which ends at 8/,
    ],
    [
      "a gap",
      file({ x: f32([1], 0, 4), y: f32([1], 8, 12) }, 12),
      /bytes 4 to 8, before tensor "y", belong to no tensor/,
    ],
    ["bytes left over", file({ x: f32([1], 0, 4) }, 5), /bytes 4 to 5, at the end, belong to no tensor/],
    ["metadata that is not text", file({ __metadata__: { n: 1 } }, 0), /__metadata__ "n" must be a string, found 1/],
  ])("names %s", (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(message);
  });
});

describe("writing", () => {
  const data = fc.array(fc.float({ noNaN: true }), { maxLength: 12 }).map((values) => new Float32Array(values));
  const tensor = data.map((values) => ({ shape: [values.length], data: values }));

  test("whatever is written reads back the same, in any order the same bytes", () => {
    fc.assert(
      fc.property(
        fc.dictionary(
          fc.string().filter((name) => name !== "__metadata__"),
          tensor,
        ),
        (tensors) => {
          const entries = Object.entries(tensors);
          const bytes = writeSafetensors(entries, { format: "pt", by: "é" });
          expect(writeSafetensors(entries.reverse(), { by: "é", format: "pt" })).toEqual(bytes);
          const back = readSafetensors(bytes, "back");
          expect(back.metadata.get("by")).toBe("é");
          expect(back.tensors.size).toBe(entries.length);
          for (const [name, { data, shape }] of entries) {
            const view = back.tensors.get(name) as TensorView;
            expect(view.shape).toEqual(shape);
            expect(toFloat32(view)).toEqual(data);
          }
        },
      ),
      { seed: 1, numRuns: 300 },
    );
  });

  test("integers keep their dtype, wider dtypes come first, data begins at a multiple of 8", () => {
    const bytes = writeSafetensors([
      ["a", { shape: [3], data: new Uint8Array([1, 2, 3]) }],
      ["b", { shape: [], data: new Int32Array([7]) }],
      ["c", { shape: [1, 1], data: new Float32Array([0.5]) }],
    ]);
    expect([...read(bytes).values()].map((view) => `${view.name} ${view.dtype}`)).toEqual(["b I32", "c F32", "a U8"]);
    expect(Number(new DataView(bytes.buffer).getBigUint64(0, true)) % 8).toBe(0);
  });

  test("refuses a shape that does not fit and a name used twice", () => {
    const x = { shape: [3], data: new Float32Array(2) };
    expect(() => writeSafetensors([["x", x]])).toThrow(/\[shape\] x: shape \[3\] has 3 elements, data has 2/);
    const y = { shape: [2], data: new Float32Array(2) };
    expect(() =>
      writeSafetensors([
        ["y", y],
        ["y", y],
      ]),
    ).toThrow(/the name "y" is used twice/);
  });
});

test("10,000 damaged files: each reads correctly within its bounds or gives an error that names the file", {
  timeout: 60_000,
}, () => {
  const good = goldenBytes("llama-untied/adapter/adapter_model.safetensors");
  const headerEnd = 8 + Number(new DataView(good.buffer, good.byteOffset).getBigUint64(0, true));
  const rng = rngFor(1, "safetensors-mutations");
  const outcomes = { read: 0, refused: 0 };
  for (let i = 0; i < 10_000; i++) {
    let bytes = good.slice();
    for (let flips = 1 + rng.int(4); flips > 0; flips--) {
      const kind = rng.int(5);
      const at = rng.int(kind < 4 ? Math.min(headerEnd, bytes.length) : bytes.length);
      if (kind === 0) bytes[at] = rng.int(256);
      else if (kind === 1) bytes[at] = 0x30 + rng.int(10);
      else if (kind === 2) bytes = bytes.slice(0, rng.int(bytes.length) + 1);
      else if (kind === 3) bytes.copyWithin(at, rng.int(bytes.length));
      else bytes[at] = (bytes[at] as number) ^ (1 << rng.int(8));
    }
    try {
      const { tensors } = readSafetensors(bytes, "damaged.safetensors");
      let covered = 0;
      for (const view of tensors.values()) {
        covered += view.bytes.byteLength;
        expect(toFloat32(view).length).toBe(view.shape.reduce((a, b) => a * b, 1));
      }
      expect(covered).toBeLessThan(bytes.length);
      outcomes.read++;
    } catch (error) {
      expect((error as Error).message).toContain("damaged.safetensors");
      outcomes.refused++;
    }
  }
  // Both happen: a flipped bit in the data is still a file, a flipped bit in the header mostly is not.
  expect(outcomes.refused).toBeGreaterThan(5000);
  expect(outcomes.read).toBeGreaterThan(200);
});

import { expect, test } from "vitest";
import { fromFloat16, MAX_FLOAT16, toFloat16 } from "../../src/model/float16.ts";
import { rounded } from "../reference/float16.ts";

const bitsOf = (value: number): number => toFloat16(Float32Array.of(value))[0] as number;
const FINITE = Array.from({ length: 0x7c00 }, (_, bits) => bits);

test("every finite half and infinity comes back as the same bits, with both signs; NaN stays NaN", () => {
  for (const bits of [...FINITE, 0x7c00]) {
    expect(bitsOf(fromFloat16(bits))).toBe(bits);
    expect(bitsOf(fromFloat16(bits | 0x8000))).toBe(bits | 0x8000);
  }
  expect(fromFloat16(bitsOf(Number.NaN))).toBeNaN();
});

test("between any two neighbours: the nearer one, half way the even one", () => {
  for (const bits of FINITE.slice(0, -1)) {
    const [low, high] = [fromFloat16(bits), fromFloat16(bits + 1)];
    const middle = (low + high) / 2; // exact in f32
    expect(bitsOf(middle)).toBe(bits % 2 === 0 ? bits : bits + 1);
    expect(bitsOf(middle - (high - low) / 1024)).toBe(bits);
    expect(bitsOf(-middle - (high - low) / 1024)).toBe(0x8000 | (bits + 1));
  }
});

test("the ends: 65,520 and more are infinite, less than half of the smallest is zero", () => {
  expect(fromFloat16(0x7bff)).toBe(MAX_FLOAT16);
  expect(bitsOf(65519.996)).toBe(0x7bff);
  expect(bitsOf(65520)).toBe(0x7c00);
  expect(bitsOf(-1e30)).toBe(0xfc00);
  expect(bitsOf(2 ** -25)).toBe(0);
  expect(bitsOf(-(2 ** -26))).toBe(0x8000);
  expect(bitsOf(1e-45)).toBe(0);
});

test("the reference rounds likewise", () => {
  const values = Float32Array.from({ length: 5000 }, (_, i) => Math.sin(i) * 2 ** ((i % 40) - 26));
  const found = [...toFloat16(values)].map(fromFloat16);
  expect([...rounded(values)].findIndex((value, i) => value !== found[i])).toBe(-1);
});

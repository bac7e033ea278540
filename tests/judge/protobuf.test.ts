import { expect, test } from "vitest";
import { Message } from "../../src/judge/protobuf.ts";

const bytes = (message: Message) => [...message.encode()];

test("whole numbers are varints: the 150 and 300 of the format's own documentation", () => {
  expect(bytes(new Message().int(1, 150))).toEqual([0x08, 0x96, 0x01]);
  expect(bytes(new Message().int(1, 300))).toEqual([0x08, 0xac, 0x02]);
  expect(bytes(new Message().int(20, 0))).toEqual([0xa0, 0x01, 0]);
  expect(bytes(new Message().int(1, 2 ** 40))).toEqual([0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x20]);
});

test("texts, data and messages carry their length", () => {
  expect(bytes(new Message().string(2, "testing"))).toEqual([0x12, 7, ...new TextEncoder().encode("testing")]);
  expect(bytes(new Message().message(3, new Message().int(1, 150)))).toEqual([0x1a, 3, 0x08, 0x96, 0x01]);
  expect(bytes(new Message().data(9, new Uint8Array(200)))).toEqual([0x4a, 0xc8, 0x01, ...new Array(200).fill(0)]);
});

test("negative and broken numbers are refused", () => {
  for (const value of [-1, 0.5, Number.NaN]) expect(() => new Message().int(1, value)).toThrow("want a whole number");
});

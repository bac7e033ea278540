/** `loop`, `eval` and `verify` as a user calls them, on the bundled models with a contour small enough for a test. */
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { run, SMALL } from "./run.ts";

const folder = mkdtempSync(join(tmpdir(), "autodidact-loop-"));
afterAll(() => rmSync(folder, { recursive: true }));
const at = (name: string): string => join(folder, name);

writeFileSync(at("contour.json"), JSON.stringify({ ...SMALL, gate: { period: 2, maxItems: 50 } }));

test("two rounds run, the archive verifies, and a changed byte does not", async () => {
  const done = await run(
    "loop",
    "--contour",
    at("contour.json"),
    "--rounds",
    "2",
    "--seed",
    "4",
    "--dir",
    at("run"),
    "--out",
    at("run.zip"),
    "--json",
  );
  expect(done.code).toBe(0);
  const summary = JSON.parse(done.out.trim().split("\n").at(-1) as string);
  expect(summary.rounds).toHaveLength(2);
  expect(summary.base.B.greedy.n).toBe(12);
  expect(summary.rounds[1].decision).toMatch(/accepted|rejected|deferred/);
  expect(summary.labelledGateItems).toBeGreaterThan(0);
  expect(done.err).toMatch(/"type":"trained"/);

  expect((await run("verify", at("run.zip"))).code).toBe(0);
  const repeated = await run("verify", at("run.zip"), "--replay", "2", "--json");
  expect(repeated.code).toBe(0);
  expect(repeated.lines()[1]?.replay).toMatchObject({ round: 2, pairs: { kind: "same" }, update: { kind: "same" } });
  const bytes = readFileSync(at("run.zip"));
  const middle = Math.floor(bytes.length / 2);
  bytes[middle] = (bytes[middle] as number) ^ 1;
  writeFileSync(at("changed.zip"), bytes);
  expect((await run("verify", at("changed.zip"))).code).toBe(1);

  // The directory holds a run: starting again is refused, going on with a finished run changes nothing.
  const again = await run("loop", "--contour", at("contour.json"), "--seed", "4", "--dir", at("run"));
  expect(again.code).toBe(1);
  expect(again.err).toMatch(/--resume/);
  const resumed = await run("loop", "--resume", "--dir", at("run"), "--json");
  expect(resumed.code).toBe(0);
  expect(JSON.parse(resumed.out.trim().split("\n").at(-1) as string).rounds).toEqual(summary.rounds);
}, 240_000);

test("eval prints greedy and sampled scores with n and interval", async () => {
  const done = await run("eval", "--world", "A", "--n", "40", "--seed", "1", "--json");
  expect(done.code).toBe(0);
  const { describe } = JSON.parse(done.out.trim().split("\n").at(-1) as string).kinds;
  expect(describe.n).toBe(40);
  expect(describe.greedy.value).toBeGreaterThan(0.8);
  expect(describe.greedy.ci[0]).toBeLessThan(describe.greedy.value);
});

test.each([
  [["loop", "--judge", "oracle"], 2, /--judge is one of/],
  [["loop", "--contour", "nowhere"], 2, /neither a file nor one of/],
  [["loop", "--model", "nowhere", "--dir", at("none")], 1, /nowhere/],
  [["eval", "--world", "D"], 2, /--world is A or B/],
])("bad input is told in plain words: %j", async (words, code, message) => {
  const done = await run(...words);
  expect(done.code).toBe(code);
  expect(done.err).toMatch(message);
});

test("a contour with an unknown key is refused by its path", async () => {
  writeFileSync(at("typo.json"), JSON.stringify({ train: { learningrate: 1 } }));
  const done = await run("loop", "--contour", at("typo.json"), "--dir", at("typo"));
  expect(done.code).toBe(1);
  expect(done.err).toMatch(/train has no key "learningrate"/);
});

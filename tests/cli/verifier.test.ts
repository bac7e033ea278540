/** Verifiers in Node: right scores, and everything that hostile or careless code can do. */
import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { headersOf } from "../../src/cli/headers.mjs";
import { runVerifierInNode } from "../../src/cli/verifier.ts";
import { readReply, type VerifierItem } from "../../src/judge/verifier.ts";

const item = (answer: string): VerifierItem => ({
  task: { kind: "describe", question: "describe", picture: { size: 1, rgb: [255, 0, 0] } },
  answer,
});
const items = [item("red circle b 3"), item("blue square a 1"), item("")];
const run = (code: string, limitMs = 2000) => runVerifierInNode(code, items, { limitMs });
const failed = async (code: string) => {
  const result = await run(code);
  return result.kind === "failed" ? result : null;
};

test("scores come back in order, from task and answer", async () => {
  expect(
    await run('return answer.startsWith("red") && task.picture.rgb[0] === 255 ? 1 : answer === "" ? 0 : 0.25;'),
  ).toEqual({
    kind: "scored",
    scores: [1, 0.25, 0],
  });
});

describe("a verifier that", () => {
  test("never ends is ended", async () => {
    expect(await runVerifierInNode("for (;;);", items, { limitMs: 300 })).toMatchObject({
      reason: "time-limit",
      message: expect.stringContaining("took more than 300 ms"),
    });
  });

  test.each([
    ["threw", "throw new Error('no ' + answer)", 0, "The verifier threw an error: no red circle b 3"],
    ["threw", "null.x", 0, "Cannot read properties of null"],
    ["threw", "const f = () => f(); f();", 0, "Maximum call stack"],
    ["threw", "throw { get message() { throw 1; } }", 0, "no message"],
    ["bad-score", "return NaN", 0, "found NaN"],
    ["bad-score", "return answer === '' ? Infinity : 1", 2, "found Infinity"],
    ["bad-score", "return 1.01", 0, "a number from 0 to 1, found 1.01"],
    ["bad-score", "return -0.5", 0, "found -0.5"],
    ["bad-score", "return '1'", 0, "a value of type string"],
    ["bad-score", "return Promise.resolve(1)", 0, "a value of type object"],
    ["bad-score", "", null, ""],
    ["syntax", "return (", null, "not the body of a JavaScript function"],
  ])("fails by %s: %s", async (reason, code, at, message) => {
    if (code === "") await expect(run(code)).rejects.toThrow("the verifier is empty");
    else expect(await failed(code)).toMatchObject({ reason, item: at, message: expect.stringContaining(message) });
  });

  test.each([
    "fetch",
    "process",
    "require",
    "XMLHttpRequest",
    "WebSocket",
    "setTimeout",
    "SharedArrayBuffer.x",
    "globalThis.process",
  ])("looks for %s finds nothing", async (name) => {
    expect(await run(`try { return ${name} === undefined ? 1 : 0 } catch { return 1 }`)).toEqual({
      kind: "scored",
      scores: [1, 1, 1],
    });
  });

  test("climbs to the constructor of what it is given stays in its context", async () => {
    const climb = `const up = (x) => x.constructor.constructor("return typeof process")();
      return [task, task.picture.rgb, answer, verify, () => 0, this ?? {}].every((x) => up(x) === "undefined") ? 1 : 0;`;
    expect(await run(climb.replace("verify, ", ""))).toEqual({ kind: "scored", scores: [1, 1, 1] });
  });

  test("imports is refused, and WebAssembly is off", async () => {
    await expect(run('return import("fs")')).rejects.toThrow('must not contain the word "import"');
    expect(
      await run("try { new WebAssembly.Module(new Uint8Array([0,97,115,109,1,0,0,0])); return 0 } catch { return 1 }"),
    ).toMatchObject({
      scores: [1, 1, 1],
    });
  });

  test("takes all memory breaks down alone", async () => {
    const before = process.memoryUsage().rss;
    const result = await runVerifierInNode("const all = []; for (;;) all.push(new Array(1e6).fill(0.5));", items, {
      limitMs: 60_000,
    });
    expect(result).toMatchObject({ kind: "failed", reason: "crashed" });
    expect(process.memoryUsage().rss - before).toBeLessThan(2 ** 30);
  });

  test("overwrites what it can reach forges no one else's reply", async () => {
    const forge = `JSON.stringify = () => '{"scores":[1,1,1]}'; Array.isArray = () => true; Number.isFinite = () => true; return 0.5;`;
    expect(await run(forge)).toEqual({ kind: "scored", scores: [0.5, 0.5, 0.5] });
  });
});

test("a reply is believed only if it is a list of as many scores", () => {
  expect(readReply('{"scores":[0,1]}', 2)).toEqual({ kind: "scored", scores: [0, 1] });
  for (const reply of [
    '{"scores":[0]}',
    '{"scores":[0,2]}',
    '{"scores":[0,null]}',
    '{"scores":[0,"1"]}',
    '{"scores":"11"}',
    '{"failed":"everything"}',
    "null",
    "[]",
    "{",
    7,
    { scores: [0, 1] },
    `{"scores":[0,1],"x":"${"y".repeat(2000)}"}`,
  ])
    expect(readReply(reply, 2)).toMatchObject({ kind: "failed", reason: "bad-score" });
  expect(readReply('{"failed":"threw","item":99,"message":5}', 2)).toMatchObject({ item: null, reason: "threw" });
});

test("the sandbox's page carries the policy that its header has, and the hash of its one script", () => {
  const html = readFileSync(new URL("../../public/sandbox.html", import.meta.url), "utf8");
  const script = /<script>([\s\S]*?)<\/script>/.exec(html)?.[1] ?? "";
  const hash = createHash("sha256").update(script).digest("base64");
  const meta = /content="(default-src[^"]*)"/.exec(html)?.[1] ?? "";
  const header = headersOf("sandbox.html")["Content-Security-Policy"] ?? "";
  expect(meta).toBe(`default-src 'none'; script-src 'sha256-${hash}' 'unsafe-eval'; worker-src blob:`);
  expect(header).toBe(`${meta}; sandbox allow-scripts; frame-ancestors 'self'`);
});

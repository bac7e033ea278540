/** The watchdog ends a process that hangs: seen from outside, in a process of its own. */
import { spawnSync } from "node:child_process";
import { expect, test } from "vitest";
import { watchdogThread } from "../../src/cli/fuzz/watchdog.ts";

test("a run that never ends, and one that takes too much memory, end the process by name", () => {
  const program = (limitMs: number, limitBytes: number, body: string) => `
    const { Worker } = require("node:worker_threads");
    const beats = new Int32Array(new SharedArrayBuffer(4));
    new Worker(${JSON.stringify(watchdogThread)}, { eval: true,
      workerData: { beats, label: "made-up --seed 0", limitMs: ${limitMs}, limitBytes: ${limitBytes} } })
      .on("online", () => { Atomics.store(beats, 0, 41); ${body} });`;
  const run = (source: string) => spawnSync(process.execPath, ["-e", source], { encoding: "utf8", timeout: 60_000 });
  const hung = run(program(500, 2 ** 40, "for (;;);"));
  expect(hung.signal).toBe("SIGKILL");
  expect(hung.stderr).toContain("run 41 of made-up --seed 0 hangs");
  const fat = run(program(50_000, 2 ** 26, "globalThis.x = Buffer.alloc(2 ** 28, 1); for (;;);"));
  expect(fat.signal).toBe("SIGKILL");
  expect(fat.stderr).toMatch(/run 41 of made-up --seed 0 takes \d+ MiB/);
});

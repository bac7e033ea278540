import { spawn } from "node:child_process";
import { once } from "node:events";
import { expect, test } from "vitest";
import { treeMemory } from "../../src/cli/processes.ts";

const touched = 100e6;
const program = `const held = Buffer.alloc(${touched}, 1); console.log(held.length); setInterval(() => {}, 1000);`;

test("on Linux, counts what a child holds, and no longer when it has ended; elsewhere it is not known", async () => {
  const before = await treeMemory(process.pid);
  if (process.platform !== "linux") {
    expect(before).toBeNull();
    return;
  }
  const child = spawn(process.execPath, ["-e", program]);
  await once(child.stdout, "data");
  const during = (await treeMemory(process.pid)) as number;
  child.kill();
  await once(child, "exit");
  const after = (await treeMemory(process.pid)) as number;
  expect(during - (before as number)).toBeGreaterThan(touched);
  expect(during - (before as number)).toBeLessThan(3 * touched);
  expect(after).toBeLessThan(during - touched);
});

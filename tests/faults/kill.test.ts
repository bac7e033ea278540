/** A process that is really killed: SIGKILL at a random moment of `autodidact loop`, again and again, until the run is done. */
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { problemsOf } from "../../src/cli/faults/invariants.ts";
import { presets } from "../../src/cli/faults/preset.ts";
import { openFolderStore } from "../../src/store/folder.ts";

const folder = mkdtempSync(join(tmpdir(), "autodidact-kill-"));
afterAll(() => rmSync(folder, { recursive: true }));
const contour = join(folder, "contour.json");
const program = fileURLToPath(new URL("../../src/cli/bin.mjs", import.meta.url));
writeFileSync(contour, JSON.stringify(presets[0]?.contour));

/** Kills of one run. */
const KILLS = 3;

interface Ended {
  readonly code: number | null;
  readonly error: string;
}

/** The run in `dir`, from its last commit; with `after`, killed that many milliseconds after its first commit of this process. */
function loop(dir: string, resume: boolean, after: number | null): Promise<Ended> {
  const words = ["loop", "--contour", contour, "--seed", "1", "--dir", dir, "--json", ...(resume ? ["--resume"] : [])];
  const child = spawn(process.execPath, [program, ...words], { stdio: ["ignore", "ignore", "pipe"] });
  let error = "";
  child.stderr.on("data", (chunk: Buffer) => {
    error += chunk.toString();
    if (after !== null && error.includes('"type"')) setTimeout(() => child.kill("SIGKILL"), after);
  });
  return new Promise((resolve) => child.on("close", (code) => resolve({ code, error })));
}

async function contentOf(dir: string): Promise<string> {
  const store = openFolderStore(dir);
  expect(await problemsOf(store)).toEqual([]);
  store.sweep();
  const { state, lines } = await store.snapshot();
  store.close();
  expect(state?.finished).toBe("rounds");
  return lines.at(-1)?.content ?? "";
}

test("a run killed three times ends like one that was left alone", async () => {
  const [alone, killed] = [join(folder, "alone"), join(folder, "killed")];
  const whole = await loop(alone, false, null);
  expect(whole.code, whole.error).toBe(0);
  const rng = rngFor("kill");
  let killings = 0;
  for (let kill = 0; kill < KILLS; kill++) {
    const { code } = await loop(killed, kill > 0, rng.next() * 600);
    if (code === 0) break; // it was faster than its killer
    expect(code).toBeNull();
    killings++;
  }
  expect(killings).toBeGreaterThan(0);
  const last = await loop(killed, true, null);
  expect(last.code, last.error).toBe(0);
  expect(await contentOf(killed)).toBe(await contentOf(alone));
}, 600_000);

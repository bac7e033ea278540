/** A stored run keeps the kernels that it began with, whatever has been tuned since. */
import { cpSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { DeviceSummary } from "../../src/base/events.ts";
import { main } from "../../src/cli/main.ts";
import { openNodeRuntime } from "../../src/cli/runtime.ts";
import { fileTuningStore } from "../../src/cli/tuning-file.ts";
import { tuningKey } from "../../src/ops/tune.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { run, SMALL } from "./run.ts";

const root = mkdtempSync(join(tmpdir(), "autodidact-pinned-"));
const at = (name: string): string => join(root, name);
const model = resolve("public/models/policy");
const before = { cwd: process.cwd(), env: { ...process.env } };

/** A table that has one choice for every product of the policy's training. */
const tableOf = (choice: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    ["nn", "nt", "tn"].flatMap((product) =>
      [64, 128, 256, 512, 1024, 2048].flatMap((rows) =>
        ["64x64", "64x176", "176x64"].map((sizes) => [`${product} ${rows}x${sizes}`, choice]),
      ),
    ),
  );
/** The kernels of the run, and those that are tuned by the time that it goes on. */
const [own, today] = [tableOf("plain-8/2"), tableOf("plain-8")];

const put = (device: Omit<DeviceSummary, "variants">, table: Readonly<Record<string, string>>): Promise<void> =>
  fileTuningStore().put(tuningKey(device), JSON.stringify(table));

/** What the run in a folder says of itself: its tuned kernels, its events, and the hashes that its results chain to. */
async function told(directory: string) {
  const store = openFolderStore(directory);
  const events = await store.events({ since: 0 });
  const { lines } = await store.snapshot();
  store.close();
  const [started] = events;
  if (started?.type !== "started") throw new Error(`${directory} holds no run`);
  const { matmul: _, ...kernels } = started.device.variants;
  return { kernels, types: events.map(({ type }) => type), contents: lines.map(({ content }) => content) };
}

/** Runs a command line and calls `seen` at each remark that holds `word`. */
function watched(words: readonly string[], word: string, seen: () => void): Promise<number> {
  const err = (text: string): void => {
    if (text.includes(word)) seen();
  };
  return main(words, { out: () => undefined, err, debug: false });
}

const begin = (directory: string): readonly string[] => [
  ...["loop", "--contour", at("contour.json"), "--model", model, "--rounds", "2", "--seed", "4"],
  ...["--dir", directory, "--out", `${directory}.zip`, "--json"],
];

/** The whole run, with a copy of it as it lay on the disk after its first training; then other kernels are tuned. */
beforeAll(async () => {
  process.env.MESA_SHADER_CACHE_DIR ??= process.env.XDG_CACHE_HOME ?? join(homedir(), ".cache"); // stays where it is
  process.env.XDG_CACHE_HOME = at("cache");
  writeFileSync(
    at("contour.json"),
    JSON.stringify({ ...SMALL, judge: { rule: "pixels", record: ["pixels"] }, gate: { on: false } }),
  );
  const { gpu } = await openNodeRuntime();
  gpu.destroy();
  await put(gpu.summary, own);
  const copy = (): void => {
    if (!existsSync(at("half"))) cpSync(at("whole"), at("half"), { recursive: true });
  };
  expect(await watched(begin(at("whole")), '"type":"trained"', copy)).toBe(0);
  expect((await told(at("half"))).types.at(-1)).toBe("trained");
  await put(gpu.summary, today);
});
afterAll(() => {
  process.chdir(before.cwd);
  for (const name of ["MESA_SHADER_CACHE_DIR", "XDG_CACHE_HOME"]) {
    const value = before.env[name];
    if (value === undefined) delete process.env[name];
    else process.env[name] = value;
  }
  rmSync(root, { recursive: true });
});

test("the same run begun today has today's kernels and other results", async () => {
  expect((await run(...begin(at("anew")))).code).toBe(0);
  const [whole, anew] = [await told(at("whole")), await told(at("anew"))];
  expect([whole.kernels, anew.kernels]).toEqual([own, today]);
  expect(anew.types).toEqual(whole.types);
  expect(anew.contents.at(-1)).not.toBe(whole.contents.at(-1));
});

test("loop --resume goes on with the run's kernels, bit for bit as if it had never ended", async () => {
  cpSync(at("half"), at("resumed"), { recursive: true });
  expect((await run("loop", "--resume", "--model", model, "--dir", at("resumed"))).code).toBe(0);
  expect(await told(at("resumed"))).toEqual(await told(at("whole")));
});

test("so does experiment; the next run that it begins has today's", async () => {
  process.chdir(root);
  const runs = { "pixels seed 1": "runs/experiment/pixels-1", "pixels seed 2": "runs/experiment/pixels-2" };
  cpSync(at("half"), runs["pixels seed 1"], { recursive: true });
  const words = ["experiment", "--arms", "pixels", "--seeds", "1,2", "--rounds", "1", "--eval-items", "12"];
  const code = await main([...words, "--model", model], {
    out: () => undefined,
    // What is finished is deleted: copies are made after each of its remarks.
    err: (text) => {
      for (const [name, directory] of Object.entries(runs))
        if (text.startsWith(name)) cpSync(directory, at(name), { recursive: true });
    },
    debug: false,
  });
  expect(code).toBe(0);
  const [whole, resumed, next] = [
    await told(at("whole")),
    await told(at("pixels seed 1")),
    await told(at("pixels seed 2")),
  ];
  expect(resumed.contents.length).toBeGreaterThan((await told(at("half"))).contents.length);
  expect(resumed.contents).toEqual(whole.contents.slice(0, resumed.contents.length));
  expect(next.kernels).toEqual(today);
});

test("verify --replay repeats a round with the run's kernels", async () => {
  const done = await run("verify", at("whole.zip"), "--model", model, "--replay", "2", "--json");
  expect(done.lines()[1]).toMatchObject({
    replay: { pairs: { kind: "same" }, update: { kind: "same" } },
    device: { variants: own },
  });
  expect(done.code).toBe(0);
});

/** The store in a real Chromium: a large buffer's pages, and tensors in files. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startVisit, type Visit } from "./browser.ts";
import type { StoreTasks } from "./store-worker.ts";

/** STORE_PAIRS=100000 measures what docs/RELIABILITY.md says of a large buffer. */
const PAIRS = Number(process.env.STORE_PAIRS ?? 4_000);
/** What a page must take at most on an idle machine, and what this test still lets pass on a busy one. */
const [PROMISED_MS, ALLOWED_MS] = [200, 5000];

const folder = mkdtempSync(join(tmpdir(), "autodidact-store-"));
const profile = mkdtempSync(join(tmpdir(), "autodidact-profile-"));
let visit: Visit;

beforeAll(async () => {
  const entry = fileURLToPath(new URL("./store-worker.ts", import.meta.url));
  const lib = { entry, formats: ["es" as const], fileName: "worker" };
  const built = await build({ configFile: false, logLevel: "error", build: { write: false, lib, target: "es2022" } });
  const [output] = Array.isArray(built) ? built : [built];
  if (output === undefined || !("output" in output)) throw new Error("vite built nothing");
  writeFileSync(join(folder, "worker.js"), output.output[0].code);
  writeFileSync(join(folder, "index.html"), "<!doctype html><title>store</title>");
  visit = await startVisit({ folder, profile });
  await visit.page.goto(visit.url);
}, 600_000);

afterAll(async () => {
  await visit.close();
  for (const path of [folder, profile]) rmSync(path, { recursive: true, force: true, maxRetries: 5 });
});

/** The browser is quit and started again, with what it has on its disk. */
async function quitAndOpen(): Promise<void> {
  const port = Number(new URL(visit.url).port);
  await visit.close();
  visit = await startVisit({ folder, profile, port });
  await visit.page.goto(visit.url);
}

/** One task in a worker of its own. */
async function ask<T extends keyof StoreTasks>(task: T, ...args: Parameters<StoreTasks[T]>) {
  const answer = await visit.page.evaluate(
    (message) =>
      new Promise<{ value?: unknown; failed?: string }>((resolve) => {
        const worker = new Worker("worker.js", { type: "module" });
        worker.onmessage = ({ data }) => {
          worker.terminate();
          resolve(data as { value?: unknown; failed?: string });
        };
        worker.onerror = ({ message: failed }) => resolve({ failed });
        worker.postMessage(message);
      }),
    { task, args },
  );
  if (answer.failed !== undefined) throw new Error(answer.failed);
  return answer.value as Awaited<ReturnType<StoreTasks[T]>>;
}

test(`${PAIRS} pairs are listed under every filter, page by page`, async () => {
  const filled = await ask("fill", PAIRS);
  const whole = { source: "camera:B", round: 3, kind: "count", status: "accepted" } as const;
  const fields = Object.keys(whole) as (keyof typeof whole)[];
  const sets = Array.from({ length: 2 ** fields.length }, (_, set) =>
    Object.fromEntries(fields.filter((_, i) => (set & (1 << i)) !== 0).map((field) => [field, whole[field]])),
  );
  const filters: Parameters<StoreTasks["list"]>[0][] = [...sets, { source: "visitor" }, { source: "nobody" }];
  const cold: string[] = [];
  for (const newestFirst of [false, true]) {
    await quitAndOpen();
    const { opening, ms } = await ask("list", {}, newestFirst, 1);
    cold.push(
      `${newestFirst ? "newest" : "oldest"} first ${ms[0]?.toFixed(0)} ms, after opening in ${opening.toFixed(0)} ms`,
    );
    expect(opening + (ms[0] as number)).toBeLessThan(ALLOWED_MS);
  }
  const found = await ask("sources");
  expect(found.found).toEqual(["camera:B", "imported:camera:B", "visitor"]);
  const slowest: string[] = [];
  for (const filter of filters) {
    const lists = [await ask("list", filter, false, 3), await ask("list", filter, true, 3)];
    const ms = Math.max(...lists.flatMap((list) => list.ms));
    const counting = Math.max(...lists.map((list) => list.counting));
    slowest.push(
      `${ms.toFixed(0)} ms, counted in ${counting.toFixed(0)} ms: ${lists[0]?.count} of ${JSON.stringify(filter)}`,
    );
    expect(ms).toBeLessThan(ALLOWED_MS);
  }
  // The page counts up to 1000.
  const visitors = await ask("list", { source: "visitor" }, false, 100);
  expect(visitors.ids).toEqual(Array.from({ length: Math.ceil(PAIRS / 997) }, (_, i) => `pair-${i * 997}`));
  expect(visitors.count).toBe(visitors.ids.length);
  const newest = await ask("list", {}, true, 1);
  expect(newest.ids).toEqual(Array.from({ length: 50 }, (_, i) => `pair-${PAIRS - 1 - i}`));
  expect(newest.count).toBe(1000);
  console.info(`${PAIRS} pairs written in ${(filled / 1000).toFixed(1)} s`);
  console.info(`first page of a browser just started: ${cold.join("; ")}`);
  console.info(
    `sources found in ${found.ms.toFixed(0)} ms; slowest page of 50 with its pictures, of 3 in each direction:`,
  );
  console.info(`${slowest.join("\n")}\n(promised on an idle machine: ${PROMISED_MS} ms)`);
}, 900_000);

test("large tensors lie in files that a worker writes, are swept at the start and go with their run", async () => {
  const { written, swept, same, verified, left, expected } = await ask("files");
  expect(written).toHaveLength(expected);
  expect(swept).toEqual(written);
  expect([same, verified]).toEqual([true, true]);
  expect(left).toEqual([]);
}, 600_000);

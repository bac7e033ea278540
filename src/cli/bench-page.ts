/** `bench --page`: two rounds of the default contour on the built page, in a Chromium on SwiftShader. */
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { Page } from "playwright-core";
import type { LoopEvent } from "../base/events.ts";
import { chromiumFlags, findChromium } from "./chromium.mjs";
import { type PhaseTime, phaseTimes, roundSeconds } from "./phase-times.ts";
import { treeMemory } from "./processes.ts";
import { serve } from "./serve.mjs";

const ROUNDS = 2;
const MINUTES = 60_000;
/** Between two looks at the memory: each look walks the page tables of every process. */
const memoryEveryMs = 2000;

export interface PageReport {
  readonly browser: string;
  /** The GPU adapter that the run used. */
  readonly device: string;
  /** From the click on Train to the first live answers on screen: files, workers, GPU, models, the first samples. */
  readonly firstSampleSeconds: number;
  /** Of each round, propose to train. */
  readonly roundSeconds: readonly (number | null)[];
  readonly phases: readonly PhaseTime[];
  /** Labelled items that the gate of the last round used. */
  readonly gateItems: number | null;
  /** PSS of all of the browser's processes in bytes; null where there is no /proc. */
  readonly memory: { readonly empty: number; readonly peak: number; readonly peakOverEmpty: number } | null;
  /** Of the page's main thread, from the click on; 0 if no task took 50 ms, the least that browsers report. */
  readonly longestTaskMs: number;
}

interface LongTask {
  readonly start: number;
  readonly duration: number;
}

/** Runs in the page before its own scripts. As text, so that no build step changes it. */
const watchLongTasks = `
  globalThis.longTasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) globalThis.longTasks.push({ start: startTime, duration });
  }).observe({ type: "longtask", buffered: true });
`;

/** Runs in the page: resolves with the times of the click and of the first answers of the live run that are on screen. */
const watchFirstSample = `new Promise((resolve, reject) => {
  let clicked = 0;
  let cleared = false; // the recording's answers have left the screen
  document.addEventListener("click", () => { clicked = performance.now(); }, { capture: true, once: true });
  const timer = setInterval(() => {
    const failed = document.querySelector("[role=alert]")?.textContent;
    if (clicked > 0 && failed) reject(new Error("the page says: " + failed));
    const answers = document.querySelector(".now .candidate") !== null;
    if (clicked > 0 && !answers && globalThis.autodidact.state().mode === "live") cleared = true;
    if (!cleared || !answers) return;
    clearInterval(timer);
    resolve({ clicked, shown: performance.now() });
  }, 20);
})`;

/** `folder`: the built page; the default one is built if it is missing. Throws in plain words if a tool is absent. */
export async function benchPage(folder: string, note: (line: string) => void): Promise<PageReport> {
  await buildIfMissing(folder, note);
  const { chromium } = await import("playwright-core").catch(() => {
    throw new Error("bench --page drives a browser with playwright-core, which is not installed: run npm ci first");
  });
  const found = findChromium(chromium.executablePath());
  if (!found) throw new Error("bench --page found no Chromium: install one, or set CHROMIUM_PATH to its executable");
  const server = await serve({ root: resolve(folder) });
  const profile = await mkdtemp(join(tmpdir(), "autodidact-bench-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath: found.path,
    headless: true,
    args: [...chromiumFlags],
    viewport: { width: 1280, height: 900 },
  });
  try {
    await context.addInitScript({ content: watchLongTasks });
    const page = context.pages()[0] ?? (await context.newPage());
    const browser = context.browser()?.version() ?? "";
    return { browser: `Chromium ${browser}`.trim(), ...(await measure(page, server.url, note)) };
  } finally {
    await context.close();
    await server.close();
    await rm(profile, { recursive: true, force: true, maxRetries: 5 });
  }
}

async function buildIfMissing(folder: string, note: (line: string) => void): Promise<void> {
  if (existsSync(join(folder, "index.html"))) return;
  if (!existsSync("vite.config.ts") || resolve(folder) !== resolve("dist/page"))
    throw new Error(`there is no page in ${folder}: run npm run build in the project's folder first`);
  note("building the page");
  const { build } = await import("vite");
  await build({ logLevel: "warn" });
}

async function measure(page: Page, url: string, note: (line: string) => void): Promise<Omit<PageReport, "browser">> {
  await page.goto("about:blank");
  await page.waitForTimeout(3000);
  const empty = await treeMemory(process.pid);
  await page.goto(url);
  await page.evaluate("autodidact.ready");
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByLabel("Rounds").fill(String(ROUNDS));
  const firstSample = page.evaluate(watchFirstSample) as Promise<{ clicked: number; shown: number }>;
  const train = page.getByRole("button", { name: /Train on this GPU/ }).first();
  note("training");
  await train.click();
  const peak = memoryPeak();
  const { clicked, shown } = await firstSample;
  note(`first sample after ${((shown - clicked) / 1000).toFixed(1)} s`);
  await untilFinished(page);
  const highest = await peak.stop();
  const events = (await page.evaluate(
    "autodidact.events().map((event) => ({ ...event, preview: [] }))",
  )) as readonly LoopEvent[];
  const tasks = (await page.evaluate("longTasks")) as readonly LongTask[];
  const phases = phaseTimes(events);
  const started = events.find((event) => event.type === "started");
  const gated = events.findLast((event) => event.type === "gated");
  return {
    device: started?.device.description || `${started?.device.vendor} ${started?.device.architecture}`,
    firstSampleSeconds: (shown - clicked) / 1000,
    roundSeconds: Array.from({ length: ROUNDS }, (_, i) => roundSeconds(phases, i + 1)),
    phases,
    gateItems: gated?.report.items ?? null,
    memory: empty === null || highest === null ? null : { empty, peak: highest, peakOverEmpty: highest - empty },
    longestTaskMs: Math.max(0, ...tasks.filter(({ start }) => start >= clicked).map(({ duration }) => duration)),
  };
}

/** Waits for the end of the run; a failure that the page shows is thrown. */
async function untilFinished(page: Page): Promise<void> {
  for (const deadline = performance.now() + 60 * MINUTES; performance.now() < deadline; ) {
    const failed = await page.evaluate(`document.querySelector("[role=alert]")?.textContent ?? ""`);
    if (failed) throw new Error(`the page says: ${failed}`);
    if (await page.evaluate(`autodidact.events().some(({ type }) => type === "finished")`)) return;
    await page.waitForTimeout(1000);
  }
  throw new Error("the page did not finish its two rounds within an hour");
}

/** Looks at the memory of this process's children until stopped; the highest value seen. */
function memoryPeak(): { stop: () => Promise<number | null> } {
  const stopped = new AbortController();
  const watch = async (): Promise<number | null> => {
    let highest: number | null = null;
    for (;;) {
      const now = await treeMemory(process.pid);
      if (now !== null) highest = Math.max(highest ?? 0, now);
      if (stopped.signal.aborted) return highest;
      await new Promise((resolve) => setTimeout(resolve, memoryEveryMs));
    }
  };
  const watching = watch();
  return {
    stop: () => {
      stopped.abort();
      return watching;
    },
  };
}

const seconds = (value: number | null | undefined): string =>
  value === null || value === undefined ? "–" : `${value.toFixed(1)} s`;
const megabytes = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`;

/** Rows of a table: what was measured, and how much. */
export function pageRows(report: PageReport): readonly [string, string][] {
  const phase = (name: PhaseTime["phase"], round: number) =>
    report.phases.find((time) => time.phase === name && time.round === round)?.seconds;
  const rounds = report.roundSeconds.map((value, i): [string, string] => [
    `round ${i + 1}, propose to train`,
    `${seconds(value)}  (collect ${seconds(phase("collect", i + 1))}, train ${seconds(phase("train", i + 1))})`,
  ]);
  const { memory, gateItems } = report;
  return [
    ["click to first sample on screen", seconds(report.firstSampleSeconds)],
    ...rounds,
    [`gate after round ${ROUNDS}`, `${seconds(phase("gate", ROUNDS))}  (${gateItems ?? "–"} labelled items)`],
    ["held-out evaluation of the base", seconds(phase("evaluate", 1))],
    [`held-out evaluation after round ${ROUNDS}`, seconds(phase("evaluate", ROUNDS))],
    [
      "memory while training, over an empty page",
      memory === null
        ? "not known on this system"
        : `${megabytes(memory.peakOverEmpty)}  (${megabytes(memory.peak)} − ${megabytes(memory.empty)}, PSS)`,
    ],
    [
      "longest task of the main thread",
      report.longestTaskMs === 0 ? "none of 50 ms or more" : `${report.longestTaskMs.toFixed(0)} ms`,
    ],
  ];
}

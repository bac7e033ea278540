/**
 * Faults in a real browser: workers that die, a device that is lost, tabs, renderers and browsers that are killed, a reload in
 * the middle of a step. Each run goes on and ends with the content of an undisturbed one. The rest of the fault matrix,
 * with faults at every call, runs in Node: tests/faults.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { unzipSync } from "fflate";
import type { Page, Worker as PageWorker } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Contour } from "../../src/base/contour.ts";
import type { LoopEvent } from "../../src/base/events.ts";
import { rngFor } from "../../src/base/rng.ts";
import type { JournalLine } from "../../src/store/journal.ts";
import { verifyArchive } from "../../src/store/verify.ts";
import type { StartRequest } from "../../src/ui/automation.ts";
import { startVisit, type Visit } from "./browser.ts";
import { eventsOf, numbers, open, ready, startTiny, tiny } from "./tiny.ts";

const given = tiny.contour as Contour;
/** Without a gate, whose key would come from the system's entropy: the same seed gives the same run. */
const request: StartRequest = {
  ...tiny,
  rounds: 2,
  contour: { ...given, gate: { ...given.gate, on: false, period: 1 }, evaluate: { ...given.evaluate, every: 0 } },
};

/**
 * When a fault strikes: at most `ms` after the first event of this type in this round. What takes a browser a while, such as
 * closing a tab, is for the first round only: behind the last one the run is over before it strikes.
 */
interface Moment {
  readonly after: LoopEvent["type"];
  readonly round: number;
  readonly ms: number;
}

const sampling: Moment = { after: "started", round: 1, ms: 1200 };
const training: Moment = { after: "paired", round: 1, ms: 400 };
const trainingAgain: Moment = { after: "paired", round: 2, ms: 400 };
const saving: Moment = { after: "trained", round: 1, ms: 60 };
const evaluating: Moment = { after: "gated", round: 1, ms: 300 };

type Deed = (visit: Visit, page: Page) => Promise<Page>;

/** Outlives a browser that is quit or killed. */
const profile = mkdtempSync(join(tmpdir(), "autodidact-profile-"));
let visit: Visit;
let page: Page;
let undisturbed: string;

beforeAll(async () => {
  visit = await startVisit({ profile });
  page = await prepared(visit.page);
  await open(page, visit.url);
  await startTiny(page, request);
  undisturbed = await contentOfFinished(page);
}, 600_000);
afterAll(async () => {
  await visit.close();
  rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
});

/** The page notes its workers, so that a test can end one behind its back. */
async function prepared(page: Page): Promise<Page> {
  await page.addInitScript(() => {
    const noted: Worker[] = [];
    Object.assign(window, { workersOfTest: noted });
    window.Worker = class extends Worker {
      constructor(...args: ConstructorParameters<typeof Worker>) {
        super(...args);
        noted.push(this);
        Object.assign(this, { nameOfTest: args[1]?.name });
      }
    };
  });
  page.on("worker", (worker) => {
    if (worker.url().includes("engine.worker")) void noteDevices(worker);
  });
  return page;
}

/** The engine's worker notes the devices that it opens. */
const noteDevices = (worker: PageWorker): Promise<void> =>
  worker
    .evaluate(() => {
      const noted: GPUDevice[] = [];
      Object.assign(globalThis, { devicesOfTest: noted });
      const real = GPUAdapter.prototype.requestDevice;
      GPUAdapter.prototype.requestDevice = async function (descriptor) {
        const device = await real.call(this, descriptor);
        noted.push(device);
        return device;
      };
    })
    .catch(() => undefined);

/** Waits for the run's end; the archive verifies and the page has told every event once. Gives the content's last hash. */
async function contentOfFinished(page: Page): Promise<string> {
  await page.waitForFunction(() => window.autodidact.state().status === "finished", null, { timeout: 240_000 });
  const bytes = await page.evaluate(async () => {
    const result = await window.autodidact.exportRun();
    if (!result.ok) throw new Error(result.message);
    return Array.from(result.value);
  });
  const archive = Uint8Array.from(bytes);
  const verdict = await verifyArchive(archive);
  expect(verdict.ok ? [] : verdict.problems).toEqual([]);
  const told = await eventsOf(page);
  expect(told.map((event) => event.seq)).toEqual(numbers(told));
  const lines = new TextDecoder().decode(unzipSync(archive)["journal.jsonl"]).trim().split("\n");
  expect(lines).toHaveLength(told.length);
  return (JSON.parse(lines.at(-1) as string) as JournalLine).content;
}

async function wait({ after, round, ms }: Moment, seed: string): Promise<void> {
  await page.waitForFunction(
    ([type, round]) => window.autodidact.events().some((event) => event.type === type && event.round === round),
    [after, round] as const,
    { timeout: 240_000, polling: 20 },
  );
  await new Promise((resolve) => setTimeout(resolve, rngFor("fault in the browser", seed).next() * ms));
}

const engineOf = (page: Page): PageWorker => {
  const engine = page.workers().findLast((worker) => worker.url().includes("engine.worker"));
  if (!engine) throw new Error("the page has no engine worker");
  return engine;
};

/** Ends a worker as the browser does that runs out of memory: nobody is told. */
const end =
  (name: string): Deed =>
  async (_visit, page) => {
    const ended = await page.evaluate((name) => {
      const noted = (window as unknown as { workersOfTest: (Worker & { nameOfTest: string })[] }).workersOfTest;
      const worker = noted.findLast((one) => one.nameOfTest === name);
      worker?.terminate();
      return worker !== undefined;
    }, name);
    expect(ended, `there is a worker "${name}"`).toBe(true);
    return page;
  };

const closeItself: Deed = async (_visit, page) => {
  await engineOf(page)
    .evaluate(() => self.close())
    .catch(() => undefined); // it is gone before it can answer
  return page;
};

const throwInside: Deed = async (_visit, page) => {
  await engineOf(page).evaluate(() => {
    setTimeout(() => {
      throw new Error("thrown by the test");
    });
  });
  return page;
};

const loseDevice: Deed = async (_visit, page) => {
  const lost = await engineOf(page).evaluate(() => {
    const noted = (globalThis as unknown as { devicesOfTest?: GPUDevice[] }).devicesOfTest ?? [];
    for (const device of noted) device.destroy();
    return noted.length;
  });
  expect(lost, "devices that the engine has opened").toBeGreaterThan(0);
  return page;
};

const reload: Deed = async (_visit, page) => {
  await page.reload();
  await ready(page);
  return page;
};

const another = async (visit: Visit): Promise<Page> => {
  const next = await prepared(await visit.context.newPage());
  await open(next, visit.url);
  return next;
};

const closeTab: Deed = async (visit, page) => {
  // The browser must not close with its last tab.
  const blank = await visit.context.newPage();
  await page.close();
  const next = await another(visit);
  await blank.close();
  return next;
};

const crash: Deed = async (visit, page) => {
  const crashed = page.waitForEvent("crash");
  const devtools = await visit.context.newCDPSession(page);
  void devtools.send("Page.crash").catch(() => undefined);
  await crashed;
  const next = await another(visit);
  await page.close();
  return next;
};

/** Kills the processes that draw pages, as the system does that runs out of memory. */
const killRenderer: Deed = async (visit, page) => {
  const crashed = page.waitForEvent("crash");
  const browser = visit.context.browser();
  if (!browser) throw new Error("the context has no browser");
  const devtools = await browser.newBrowserCDPSession();
  const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
  for (const { type, id } of processInfo) if (type === "renderer") process.kill(id, "SIGKILL");
  await crashed;
  const next = await another(visit);
  await page.close();
  return next;
};

const killGpuProcess: Deed = async (visit, page) => {
  const browser = visit.context.browser();
  if (!browser) throw new Error("the context has no browser");
  const devtools = await browser.newBrowserCDPSession();
  const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
  const gpu = processInfo.find(({ type }) => type === "GPU");
  expect(gpu, "the browser has a GPU process").toBeDefined();
  if (gpu) process.kill(gpu.id, "SIGKILL");
  return page;
};

/** The browser is quit, or its process killed, and started again with the same profile and address. */
const restart =
  (kill: boolean): Deed =>
  async (old) => {
    if (kill) {
      const browser = old.context.browser();
      if (!browser) throw new Error("the context has no browser");
      const devtools = await browser.newBrowserCDPSession();
      const { processInfo } = await devtools.send("SystemInfo.getProcessInfo");
      const closed = old.context.waitForEvent("close");
      for (const { type, id } of processInfo) if (type === "browser") process.kill(id, "SIGKILL");
      await closed;
    }
    await old.close();
    visit = await startVisit({ profile, port: Number(new URL(old.url).port) });
    const next = await prepared(visit.page);
    await open(next, visit.url);
    return next;
  };

test.each<[string, string, Deed, Moment]>([
  ["the engine's worker ends", "while it samples", end("engine"), sampling],
  ["the engine's worker ends", "while it trains", end("engine"), training],
  ["the engine's worker ends", "while it saves", end("engine"), saving],
  ["the engine's worker closes itself", "while it trains", closeItself, trainingAgain],
  ["the engine's worker throws", "while it evaluates", throwInside, evaluating],
  ["the judge's worker ends", "while it samples", end("judge"), sampling],
  ["the store's worker ends", "while it saves", end("store"), saving],
  ["the device is lost", "while it samples", loseDevice, sampling],
  ["the device is lost", "while it trains", loseDevice, training],
  ["the device is lost", "while it saves", loseDevice, saving],
  ["the GPU process is killed", "while it trains", killGpuProcess, trainingAgain],
  ["the page is reloaded", "in the middle of a step", reload, training],
  ["the page is reloaded", "while it saves", reload, saving],
  ["the tab is closed", "in the middle of a step", closeTab, training],
  ["the tab crashes", "while it trains", crash, training],
  ["the renderer is killed", "while it evaluates", killRenderer, evaluating],
  ["the browser is quit and started again", "while it trains", restart(false), training],
  ["the browser is killed and started again", "while it saves", restart(true), saving],
])("%s %s", async (name, when, deed, moment) => {
  // A run that a failed test has left is none of this one's business.
  if (await page.evaluate(() => window.autodidact.state().status === "playing"))
    await page.evaluate(() => window.autodidact.stop());
  await startTiny(page, request);
  await wait(moment, `${name} ${when}`);
  page = await deed(visit, page);
  expect(await contentOfFinished(page)).toBe(undisturbed);
  const { workers } = await page.evaluate(() => window.autodidact.state());
  expect(workers).toBeLessThanOrEqual(3);
});

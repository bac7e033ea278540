/** A run small enough for software rendering in a tab, and what tests ask of a page that has one. */
import type { Page } from "playwright-core";
import type { LoopEvent } from "../../src/base/events.ts";
import type { StartRequest } from "../../src/ui/automation.ts";

/** Rounds of about two seconds; the judge is the one that needs no second model. */
export const tiny: StartRequest = {
  rounds: 200,
  seed: 3,
  contour: {
    name: "tiny",
    propose: { tasks: 4 },
    sample: { k: 4, temperature: 1.2, topK: 0, topP: 1, maxNewTokens: 26 },
    judge: { rule: "pixels", record: ["pixels"] },
    filter: { minMargin: 0.001, entropy: [0, 10], duplicates: false },
    train: {
      method: "dpo",
      lossType: "sigmoid",
      beta: 0.1,
      sftWeight: 0.2,
      learningRate: 1e-4,
      learningRateDecay: 1,
      weightDecay: 0,
      maxGradNorm: 1,
      batchSize: 2,
      minPairs: 1,
      loraR: 2,
      loraAlpha: 4,
      replayA: { perStep: 2, weight: 1 },
      replayPairs: 0,
    },
    gate: {
      on: true,
      period: 2,
      alpha: 0.05,
      epsilonA: 0.03,
      epsilonB: 0.03,
      batch: 4,
      maxItems: 8,
      maxDeferrals: 2,
    },
    evaluate: { every: 100, items: 6, worlds: ["B"] },
    stop: { patience: 0 },
  },
};

/** Resolves when the page has met the machine; its document may be there before its script has run. */
export async function ready(page: Page): Promise<void> {
  await page.waitForFunction(() => "autodidact" in window);
  await page.evaluate(() => window.autodidact.ready);
}

/** Opens the page and waits until it has met the machine. */
export async function open(page: Page, url: string): Promise<void> {
  await page.goto(url);
  await ready(page);
}

/** Starts the tiny run and resolves with its id. */
export async function startTiny(page: Page, request: StartRequest = tiny): Promise<string> {
  const started = await page.evaluate((request) => window.autodidact.start(request), request);
  if (!started.ok) throw new Error(`the run did not start: ${started.message}`);
  return (await page.evaluate(() => window.autodidact.state().run)) ?? "";
}

/** Events that the page knows, without their pictures. */
export const eventsOf = (page: Page): Promise<readonly LoopEvent[]> =>
  page.evaluate(() => window.autodidact.events().map((event) => ({ ...event, preview: [] })) as never);

/** Resolves when the page knows at least `count` events, and gives their number. Throws what the page says if it fails. */
export async function eventsReach(page: Page, count: number): Promise<number> {
  const reached = await page.waitForFunction(
    (count) => {
      const { events } = window.autodidact.state();
      const failed = document.querySelector("[role=alert]")?.textContent;
      return events >= count ? { events } : failed ? { failed } : null;
    },
    count,
    { polling: 100 },
  );
  const { events, failed } = (await reached.jsonValue()) as { events?: number; failed?: string };
  if (events === undefined) throw new Error(`the page says: ${failed}`);
  return events;
}

/** The sequence numbers of a log without gaps or repetitions. */
export const numbers = (events: readonly LoopEvent[]): number[] => events.map((_, index) => index);

/** Resolves when the service worker has stored every file and controls the page. */
export async function offlineReady(page: Page): Promise<void> {
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    while (navigator.serviceWorker.controller === null) await new Promise((resolve) => setTimeout(resolve, 50));
  });
}

/** The whole promise in one visit: train live, reload, go on, lose the server, go on, export, verify. */
import { expect, test } from "vitest";
import type { LoopEvent } from "../../src/base/events.ts";
import { verifyArchive } from "../../src/store/verify.ts";
import { startVisit, type Visit } from "./browser.ts";
import { eventsOf, offlineReady, open, ready } from "./tiny.ts";

const MINUTES = 60_000;

/** Waits until the page knows an event of this type in this round, and returns it. */
async function eventOf<T extends LoopEvent["type"]>(
  visit: Visit,
  type: T,
  round: number,
): Promise<Extract<LoopEvent, { type: T }>> {
  const handle = await visit.page.waitForFunction(
    ([type, round]) => {
      const failed = document.querySelector("[role=alert]")?.textContent;
      const found = window.autodidact.events().find((event) => event.type === type && event.round === round);
      return found ? { event: { ...found, preview: [] } } : failed ? { failed } : null;
    },
    [type, round] as const,
    { timeout: 10 * MINUTES, polling: 250 },
  );
  const value = (await handle.jsonValue()) as { event?: never; failed?: string };
  if (!value.event) throw new Error(`the page says: ${value.failed}`);
  return value.event;
}

const noGaps = (events: readonly LoopEvent[]): void =>
  expect(events.map((event) => event.seq)).toEqual(events.map((_, i) => i));

test(
  "two live rounds survive a reload and the end of the server, and the archive verifies",
  async () => {
    const visit = await startVisit();
    try {
      const { page, url } = visit;
      await open(page, url);
      await offlineReady(page);
      expect((await page.evaluate(() => window.autodidact.state())).mode).toBe("recording");

      // Two rounds, through the page's own controls.
      await page.getByRole("link", { name: "Settings" }).click();
      await page.getByLabel("Rounds").fill("2");
      await page.getByLabel("Seed").fill("5");
      const clicked = Date.now();
      await page
        .getByRole("button", { name: /Train on this GPU/ })
        .first()
        .click();
      const proposed = await eventOf(visit, "paired", 1);
      expect(proposed.pairs.length).toBeGreaterThan(5);
      const trained = await eventOf(visit, "trained", 1);
      expect(trained.outcome.kind).toBe("trained");
      if (trained.outcome.kind === "trained") {
        expect(trained.outcome.steps.length).toBeGreaterThan(0);
        for (const step of trained.outcome.steps) expect(Number.isFinite(step.loss)).toBe(true);
      }
      const secondsToTrained = (Date.now() - clicked) / 1000;
      const judged = (await eventsOf(page)).find((event) => event.type === "judged");
      expect(Object.keys(judged?.type === "judged" ? judged.meanScore : {})).toEqual(
        expect.arrayContaining(["pixels", "onnx-image", "onnx-text", "self"]),
      );
      const before = await eventsOf(page);
      noGaps(before);

      // A visitor draws six objects in the dark (the base cannot say so many), asks both models, and corrects them.
      await page.getByRole("link", { name: "Draw" }).click();
      await page.getByRole("button", { name: "Clear" }).click();
      for (const cell of ["a 1", "c 1", "b 2", "d 3", "a 4", "c 4"])
        await page.getByRole("button", { name: `${cell}: empty` }).click();
      await page.getByRole("button", { name: "Ask both models" }).click();
      const teach = page.getByRole("button", { name: /Correct it/ });
      await teach.waitFor({ timeout: MINUTES });
      expect(await page.locator(".answer-card").count()).toBe(3);
      await teach.click();
      await page.getByText(/Stored as pair/).waitFor({ timeout: MINUTES });
      await page.waitForFunction(() => window.autodidact.events().some((event) => event.type === "corrected"));

      // A reload goes on at the last committed event.
      await page.reload();
      await ready(page);
      await page.waitForFunction(() => window.autodidact.state().mode === "live", null, { timeout: MINUTES });
      await eventOf(visit, "evaluated", 1);
      const after = await eventsOf(page);
      noGaps(after);
      expect(after.slice(0, before.length)).toEqual(before);

      // The server is gone: the page still loads and trains to the end.
      await visit.stopServer();
      await page.reload();
      await ready(page);
      const gated = await eventOf(visit, "gated", 2);
      expect(["accepted", "rejected", "deferred"]).toContain(gated.report.decision.kind);
      expect(gated.report.items).toBeGreaterThan(0);
      await eventOf(visit, "finished", 2);
      const all = await eventsOf(page);
      noGaps(all);
      expect(all.filter((event) => event.type === "started")).toHaveLength(1);
      expect(all.filter((event) => event.type === "paired")).toHaveLength(2);

      // The archive verifies, and any changed byte is found.
      const exported = await page.evaluate(async () => {
        const result = await window.autodidact.exportRun();
        return result.ok ? Array.from(result.value) : result.message;
      });
      if (typeof exported === "string") throw new Error(exported);
      const archive = Uint8Array.from(exported);
      const verdict = await verifyArchive(archive);
      expect(verdict).toMatchObject({ ok: true });
      for (const share of [0.1, 0.5, 0.9]) {
        const changed = archive.slice();
        const at = Math.floor(share * archive.length);
        changed[at] = (changed[at] as number) ^ 1;
        expect((await verifyArchive(changed)).ok).toBe(false);
      }
      console.info(`first update trained ${secondsToTrained.toFixed(0)} s after the click`);
      const unexpected = visit.problems.filter(
        (problem) => !/ERR_CONNECTION_REFUSED|Failed to load resource|service-worker|sw\.js/.test(problem),
      );
      expect(unexpected).toEqual([]);
    } finally {
      await visit.close();
    }
  },
  25 * MINUTES,
);

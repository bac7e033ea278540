/** The pairs of a stored run, through the page's own buttons: filtered, looked at, forgotten for good, imported ones let train. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import axe from "axe-core";
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { sumJournal } from "../../src/store/journal.ts";
import { readArchive } from "../../src/store/verify.ts";
import { poisonedArchive } from "../store/poison.ts";
import { startVisit, type Visit } from "./browser.ts";
import { eventsOf, eventsReach, numbers, open, startTiny, tiny } from "./tiny.ts";

let visit: Visit;
let page: Page;
/** A run of this page with some pairs, paused. */
let own: string;

beforeAll(async () => {
  visit = await startVisit();
  page = visit.page;
  await open(page, visit.url);
  own = await startTiny(page, { ...tiny, seed: 5 });
  await page.waitForFunction(
    () => window.autodidact.events().flatMap((event) => (event.type === "paired" ? event.pairs : [])).length >= 12,
  );
  await page.evaluate(() => window.autodidact.pause());
  await page.getByRole("link", { name: "Runs", exact: true }).click();
}, 600_000);
afterAll(() => visit.close());

const rowOf = (name: string) => page.locator(".run-table tbody tr", { hasText: name });
const region = () => page.getByRole("region", { name: /^Pairs of/ });
const items = () => region().locator("li.pair");
const totalOf = async (): Promise<number> =>
  Number(/of (\d+)\./.exec((await region().getByRole("status").textContent()) ?? "")?.[1]);
const shown = (text: string | RegExp) => region().getByRole("status").getByText(text).waitFor();

async function openPairs(name: string): Promise<void> {
  await rowOf(name).getByRole("button", { name: "Pairs", exact: true }).click();
  await items().first().waitFor();
  await shown(/of \d+\./);
}

test("pairs are listed page by page under source, round, question and verdict; the keyboard is enough", async () => {
  await openPairs(own);
  expect(await page.evaluate(() => document.activeElement?.id)).toBe("pairs-title");
  const total = await totalOf();
  expect(total).toBeGreaterThan(11);
  expect(await items().count()).toBe(10);
  await region().getByRole("button", { name: "Older" }).press("Enter");
  await shown(`11 to ${Math.min(20, total)} of ${total}.`);
  await region().getByRole("button", { name: "Newer" }).press("Enter");
  await shown(`1 to 10 of ${total}.`);

  await region().getByLabel("Round").selectOption("1");
  await page.waitForFunction(
    (total) => !document.querySelector(".run-pairs [role=status]")?.textContent?.includes(`of ${total}.`),
    total,
  );
  const inRound = await totalOf();
  expect(inRound).toBeGreaterThan(0);
  expect(inRound).toBeLessThan(total);
  await region().getByLabel("Source").selectOption("camera:B");
  await region().getByLabel("Verdict").selectOption({ label: "set aside" });
  await shown(/No pair passes|of \d+\./);
  await region().getByLabel("Verdict").selectOption({ label: "all" });
  await region().getByLabel("Round").selectOption({ label: "all" });
  await shown(`1 to 10 of ${total}.`);
  await region().getByLabel("Question").selectOption({ label: "how many" });
  await shown("No pair passes this filter.");
  await region().getByLabel("Question").selectOption({ label: "describe" });
  await shown(`1 to 10 of ${total}.`);
  await region().getByLabel("Question").selectOption({ label: "all" });
}, 300_000);

test("chosen pairs are forgotten for good after a question, and the paused run goes on", async () => {
  const total = await totalOf();
  const before = await eventsOf(page);
  await region().getByText("Choose pairs to forget or include them.").waitFor();
  await items().nth(0).getByRole("checkbox").press("Space");
  await items().nth(2).getByRole("checkbox").check();
  await region().getByRole("button", { name: "Forget 2 pairs" }).click();
  await region().getByText("2 pairs will be gone for good").waitFor();
  await region().getByRole("button", { name: "Keep as it is" }).click();
  await region().getByRole("button", { name: "Forget 2 pairs" }).click();
  await region().getByRole("button", { name: "Really forget?" }).click();
  await shown("2 pairs forgotten");
  await shown(`of ${total - 2}.`);

  const after = await eventsOf(page);
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.at(-1)).toMatchObject({
    type: "deleted",
    reason: "request",
    detail: expect.stringContaining("visitor"),
  });
  const exported = await page.evaluate(async () => {
    const result = await window.autodidact.exportRun();
    return result.ok ? Array.from(result.value) : result.message;
  });
  const read = await readArchive(Uint8Array.from(exported as number[]));
  if (!read.ok) throw new Error(JSON.stringify(read.problems));
  const sum = sumJournal(read.contents.lines);
  const last = after.at(-1);
  expect([...sum.removed.keys()].sort()).toEqual(last?.type === "deleted" ? [...last.pairs].sort() : []);

  expect(await page.evaluate(() => window.autodidact.start())).toEqual({ ok: true, value: null });
  await region().getByText("The run is training. Pause it to change its pairs.").waitFor();
  await eventsReach(page, after.length + 3);
  await page.evaluate(() => window.autodidact.pause());
  const gone = await eventsOf(page);
  expect(gone.slice(0, after.length)).toEqual(after);
  expect(gone.map((event) => event.seq)).toEqual(numbers(gone));
}, 300_000);

test("imported pairs stay set aside until the visitor includes some of them, after a question", async () => {
  const folder = mkdtempSync(join(tmpdir(), "poison-"));
  const archive = await poisonedArchive(folder);
  rmSync(folder, { recursive: true });
  await page
    .locator("input[type=file]")
    .setInputFiles({ name: "run.zip", mimeType: "application/zip", buffer: Buffer.from(archive) });
  await page.getByText("is imported as a run of its own").waitFor();
  await region().getByRole("button", { name: "Close" }).click();
  await page
    .locator(".run-table tbody tr", { hasText: "imported" })
    .getByRole("button", { name: "Pairs", exact: true })
    .click();
  await region().getByText("they do not train here unless you include them").waitFor();
  await shown("1 to 10 of 11.");
  expect(await region().locator("img, script").count()).toBe(0);
  await region().getByLabel("Source").selectOption("imported:visitor");
  await shown("1 to 1 of 1.");
  await items().first().getByText("imported:visitor · set aside").waitFor();
  await items().first().getByRole("checkbox").check();
  await region().getByRole("button", { name: "Include 1 pair in training" }).click();
  await region().getByText("1 pair that somebody else made").waitFor();
  await region().getByRole("button", { name: "Really include?" }).click();
  await shown("1 pair included");
  await items().first().getByText("imported:visitor · not trained yet").waitFor();

  await region().getByLabel("Source").selectOption({ label: "all" });
  await shown("of 11.");
  await region().getByRole("button", { name: "Choose all 11" }).click();
  await region().getByRole("button", { name: "Include 10 pairs in training" }).waitFor();
  await region().getByRole("button", { name: "Choose none" }).click();
}, 300_000);

test.each(["light", "dark"] as const)(
  "in %s the list keeps the rules of WCAG 2.2 AA, and fits 360 px",
  async (colorScheme) => {
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await items().nth(1).getByRole("checkbox").check();
    await page.evaluate(axe.source);
    const violations = await page.evaluate(async () => {
      const { axe } = window as unknown as { axe: typeof import("axe-core") };
      const values = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
      const found = await axe.run(document, { runOnly: { type: "tag", values } });
      return found.violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
    });
    expect(violations).toEqual([]);
    for (const width of [360, 768, 1440]) {
      await page.setViewportSize({ width, height: 900 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(overflow, `${width} px`).toBeLessThanOrEqual(0);
      if (process.env.SCREENSHOTS)
        await page.screenshot({
          path: join(process.env.SCREENSHOTS, `pairs-${colorScheme}-${width}.png`),
          fullPage: true,
        });
    }
    await items().nth(1).getByRole("checkbox").uncheck();
  },
  120_000,
);

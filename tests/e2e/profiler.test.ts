/** The developer panel on a live run: kernels with their shares, the flame chart under the keyboard, recording over panels. */
import axe from "axe-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startVisit, type Visit } from "./browser.ts";
import { open, startTiny } from "./tiny.ts";

let visit: Visit;
beforeAll(async () => {
  visit = await startVisit();
});
afterAll(() => visit.close());

const numbersOf = (texts: readonly string[]): number[] => texts.map((text) => Number.parseFloat(text));

test("kernels of a run are recorded with shares that add up to 100%", async () => {
  const { page, url } = visit;
  await open(page, url);
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByText("For developers").click();
  const record = page.getByRole("button", { name: "Record", exact: true });
  expect(await record.isDisabled()).toBe(true);
  expect(await page.getByText("Start or resume a live run first.").isVisible()).toBe(true);

  await startTiny(page);
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByText("For developers").click();
  await record.click();
  await page.locator(".kernels tbody tr").first().waitFor();

  // Another section of the page, and back: the panel is open and still records. The second update that ends from here on
  // was recorded from its beginning.
  await page.getByRole("link", { name: "Watch" }).click();
  const updates = () => window.autodidact.events().filter(({ type }) => type === "trained").length;
  const before = await page.evaluate(updates);
  await expect.poll(() => page.evaluate(updates), { timeout: 180_000 }).toBeGreaterThan(before + 1);
  await page.getByRole("link", { name: "Settings" }).click();
  await page.getByRole("button", { name: "Stop recording" }).click();
  await record.waitFor();
  await page.evaluate(() => window.autodidact.pause());

  await page
    .locator(".kernels tbody th", { hasText: /^adamw/ })
    .first()
    .waitFor();
  // In one look: what the engine was still waiting for may join the table.
  const rows = await page
    .locator(".kernels tbody tr")
    .evaluateAll((rows) => rows.map((row) => [...row.children].map(({ textContent }) => textContent ?? "")));
  const column = (index: number): string[] => rows.map((row) => row[index] as string);
  const names = column(0);
  expect(names.some((name) => name.startsWith("matmul_"))).toBe(true);
  expect(names.some((name) => name.startsWith("adamw"))).toBe(true);
  expect(new Set(names).size).toBe(names.length);
  for (const count of numbersOf(column(1))) expect(count).toBeGreaterThan(0);
  const shares = numbersOf(column(3));
  expect(shares).toEqual([...shares].sort((a, b) => b - a));
  const sum = shares.reduce((a, b) => a + b, 0);
  expect(Math.abs(sum - 100)).toBeLessThan(0.05 * names.length + 1e-9); // each is rounded to a tenth

  // One tab stop; arrows go from block to block, Enter zooms in, Escape out.
  const chart = page.getByRole("group", { name: "Round, phases, plans and kernels over time" });
  expect(await chart.locator('[tabindex="0"]').count()).toBe(1);
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute("aria-label") ?? "");
  await chart.locator('[tabindex="0"]').focus();
  const first = await focused();
  await page.keyboard.press("ArrowRight");
  expect(await focused()).not.toBe(first);
  const whole = page.getByRole("button", { name: "Show everything" });
  expect(await whole.count()).toBe(0);
  await page.keyboard.press("Enter");
  await whole.waitFor();
  await page.keyboard.press("Escape");
  await whole.waitFor({ state: "detached" });
  expect(visit.problems).toEqual([]);
});

test.each(["light", "dark"] as const)(
  "in %s the panel keeps the rules of WCAG 2.2 AA, and fits 360 px",
  async (colorScheme) => {
    const { page } = visit;
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate(axe.source);
    const violations = await page.evaluate(async () => {
      const { axe } = window as unknown as { axe: typeof import("axe-core") };
      const values = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];
      const found = await axe.run(".profiler", { runOnly: { type: "tag", values } });
      return found.violations.flatMap(({ id, nodes }) => nodes.map(({ target }) => `${id}: ${target.join(" ")}`));
    });
    expect(violations).toEqual([]);
    for (const width of [360, 1440]) {
      await page.setViewportSize({ width, height: 900 });
      const overflow = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      expect(overflow, `${width} px`).toBeLessThanOrEqual(0);
    }
  },
);

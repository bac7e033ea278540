/** A new version of the page arrives while a run is going on. */
import { expect, test } from "vitest";
import { verifyArchive } from "../../src/store/verify.ts";
import { startVisit } from "./browser.ts";
import { copyOfPage, release, updated } from "./release.ts";
import { eventsOf, eventsReach, numbers, offlineReady, open, ready, startTiny } from "./tiny.ts";

test("a new version lands neither in a run nor by a reload, but on a click once the run is paused", async () => {
  const copy = copyOfPage();
  const visit = await startVisit({ folder: copy.folder });
  try {
    const { page, url } = visit;
    await open(page, url);
    await offlineReady(page);
    const run = await startTiny(page);
    await eventsReach(page, 3);

    release(copy.folder, "Changed");
    expect(await updated(page)).toBe("installed");
    const update = page.getByRole("button", { name: "A new version is ready. Update" });
    await update.click();
    await page.getByText("A run is going on. Pause it or let it finish").waitFor();
    await page.getByRole("button", { name: "Dismiss" }).click();
    await eventsReach(page, (await eventsReach(page, 0)) + 3);

    // A reload in the middle of a run stays with the version that the run began with.
    await page.reload();
    await ready(page);
    expect(await page.title()).toBe("Autodidact");
    await page.waitForFunction(() => window.autodidact.state().status === "playing");
    await eventsReach(page, (await eventsReach(page, 0)) + 3);

    expect(await page.evaluate(() => window.autodidact.pause())).toEqual({ ok: true, value: null });
    const before = await eventsOf(page);
    await update.click();
    await page.waitForFunction(() => document.title === "Changed");
    await ready(page);
    expect(await page.evaluate(() => window.autodidact.state())).toMatchObject({ run, status: "paused" });
    expect(await page.evaluate(() => window.autodidact.start())).toEqual({ ok: true, value: null });
    await eventsReach(page, before.length + 3);
    const after = await eventsOf(page);
    expect(after.slice(0, before.length)).toEqual(before);
    expect(after.map((event) => event.seq)).toEqual(numbers(after));
  } finally {
    await visit.close();
    copy.remove();
  }
});

test("a version with another base names the runs that cannot go on, keeps them, and says so when they are to", async () => {
  const copy = copyOfPage();
  const visit = await startVisit({ folder: copy.folder });
  try {
    const { page, url } = visit;
    await open(page, url);
    await offlineReady(page);
    const run = await startTiny(page);
    await eventsReach(page, 4);
    await page.evaluate(() => window.autodidact.pause());
    const before = await eventsOf(page);

    release(copy.folder, "Changed", { otherBase: true });
    expect(await updated(page)).toBe("installed");
    const update = page.getByRole("button", { name: "A new version is ready. Update" });
    await update.click();
    const note = page.getByRole("alert").filter({ hasText: "The new version has another base model" });
    await note.getByText(run).waitFor();
    await note.getByRole("button", { name: "Update all the same" }).click();
    const landed = await page.waitForFunction(
      () => (document.title === "Changed" ? "changed" : document.querySelector("[role=alert]")?.textContent),
      undefined,
      { timeout: 60_000 },
    );
    expect(await landed.jsonValue()).toBe("changed");
    await ready(page);

    // The run is there with everything that it had, and only training is refused.
    await page.waitForFunction((count) => window.autodidact.state().events === count, before.length);
    expect(await eventsOf(page)).toEqual(before);
    await page.getByRole("link", { name: "Runs", exact: true }).click();
    await page.locator(".run-table tbody tr", { hasText: run }).getByRole("button", { name: "Resume" }).click();
    await page.getByRole("alert").getByText("adapters belong to other base weights").first().waitFor();
    await page.getByRole("alert").getByText("The run can be looked at and exported").first().waitFor();
    const exported = await page.evaluate(async () => {
      const result = await window.autodidact.exportRun();
      return result.ok ? Array.from(result.value) : result.message;
    });
    expect(await verifyArchive(Uint8Array.from(exported as number[]))).toMatchObject({
      ok: true,
      lines: before.length,
    });
    expect(await eventsOf(page)).toEqual(before);
  } finally {
    await visit.close();
    copy.remove();
  }
});

/** A new version of the page arrives while a run is going on. */
import { expect, test } from "vitest";
import { startVisit } from "./browser.ts";
import { copyOfPage, release, updated } from "./release.ts";
import { eventsOf, eventsReach, numbers, offlineReady, open, startTiny } from "./tiny.ts";

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
    const ready = page.getByRole("button", { name: "A new version is ready. Update" });
    await ready.click();
    await page.getByText("A run is going on. Pause it or let it finish").waitFor();
    await page.getByRole("button", { name: "Dismiss" }).click();
    await eventsReach(page, (await eventsReach(page, 0)) + 3);

    // A reload in the middle of a run stays with the version that the run began with.
    await page.reload();
    await page.evaluate(() => window.autodidact.ready);
    expect(await page.title()).toBe("Autodidact");
    await page.waitForFunction(() => window.autodidact.state().status === "playing");
    await eventsReach(page, (await eventsReach(page, 0)) + 3);

    expect(await page.evaluate(() => window.autodidact.pause())).toEqual({ ok: true, value: null });
    const before = await eventsOf(page);
    await ready.click();
    await page.waitForFunction(() => document.title === "Changed");
    await page.evaluate(() => window.autodidact.ready);
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

/** What is stored: runs by name and side by side, archives in and out, a full disk, a frozen tab, and no worker left over. */
import type { CDPSession, Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startVisit, type Visit } from "./browser.ts";
import { eventsOf, eventsReach, numbers, open, startTiny, tiny } from "./tiny.ts";

let visit: Visit;
let page: Page;
let devtools: CDPSession;
/** A finished run of one round, and the bytes of its archive. */
let short: string;
let archive: number[];

beforeAll(async () => {
  visit = await startVisit();
  page = visit.page;
  await open(page, visit.url);
  devtools = await visit.context.newCDPSession(page);
  short = await startTiny(page, { ...tiny, rounds: 1, seed: 8 });
  await page.waitForFunction(() => window.autodidact.state().status === "finished");
  archive = await page.evaluate(async () => {
    const result = await window.autodidact.exportRun();
    if (!result.ok) throw new Error(result.message);
    return Array.from(result.value);
  });
}, 600_000);
afterAll(() => visit.close());

const goTo = (name: string) => page.getByRole("link", { name, exact: true }).click();
const rowOf = (name: string) => page.locator(".run-table tbody tr", { hasText: name });
/** Bytes that the browser allows for the page; back to its own choice without a number. */
const setQuota = (quotaSize?: number) =>
  devtools.send("Storage.overrideQuotaForOrigin", {
    origin: new URL(visit.url).origin,
    ...(quotaSize === undefined ? {} : { quotaSize }),
  });

test("an archive that was changed, is none, or is of a run that is here already is refused with the reason", async () => {
  await goTo("Runs");
  const importFile = async (bytes: readonly number[]): Promise<string> => {
    await page
      .locator("input[type=file]")
      .setInputFiles({ name: "run.zip", mimeType: "application/zip", buffer: Buffer.from(bytes) });
    const alert = page.getByRole("alert");
    await alert.waitFor();
    const said = (await alert.textContent()) ?? "";
    await page.getByRole("button", { name: "Dismiss" }).click();
    return said;
  };
  const changed = archive.slice();
  const middle = Math.floor(changed.length / 2);
  changed[middle] = (changed[middle] as number) ^ 1;
  expect(await importFile(changed)).toContain("The archive was not imported");
  expect(await importFile([...Buffer.from("<b>not a zip</b>")])).toContain("The archive was not imported");
  expect(await importFile(archive)).toContain("an import never overwrites one");
  expect(await page.locator(".run-table tbody tr").count()).toBe(1);
  expect(await page.locator("main b").count()).toBe(0);
});

test("a run gets a name, and its export says what it contains", async () => {
  await rowOf(short).getByRole("button", { name: "Rename" }).click();
  await page.getByLabel(`New name of ${short}`).fill("<i>one round</i>");
  await page.getByRole("button", { name: "Save name" }).click();
  await page.getByText("The run is called <i>one round</i> now.").waitFor();
  const saved = page.waitForEvent("download");
  await rowOf("one round").getByRole("button", { name: "Export run" }).click();
  expect((await saved).suggestedFilename()).toBe(`autodidact-${short}.zip`);
  await page.getByText(/It holds all \d+ events of the run, \d+ preference pairs/).waitFor();
  await page.getByText("Nothing in it is drawn or written by you.").waitFor();
  expect(await page.locator("main i").count()).toBe(0);
});

test("a run deleted here comes back from its archive, under the name that it had", async () => {
  await rowOf("one round").getByRole("button", { name: "Delete" }).click();
  await page.getByText("will be gone for good").waitFor();
  await page.getByRole("button", { name: "Really delete?" }).click();
  await page.getByText("No runs yet").waitFor();
  const imported = await page.evaluate((bytes) => window.autodidact.importRun(Uint8Array.from(bytes)), archive);
  expect(imported).toEqual({ ok: true, value: short });
  await rowOf(short).getByText("imported").waitFor();
});

test("a full disk pauses the run with the last commit whole, says what fills it, and lets it go on when there is room", async () => {
  const run = await startTiny(page);
  await eventsReach(page, 6);
  await setQuota(1_000);
  await page.getByText("There is no storage space left").waitFor();
  await page.waitForFunction(() => window.autodidact.state().status === "paused");
  const before = await eventsOf(page);
  const notice = page.getByRole("alert");
  expect(await notice.textContent()).toContain("This page uses");
  expect(await notice.textContent()).toContain(`${run}: `);

  // The other run can be deleted right there, although nothing can be written.
  const other = notice.locator("li", { hasText: short });
  await other.getByRole("button", { name: "Delete" }).click();
  await other.getByRole("button", { name: "Really delete?" }).click();
  await other.waitFor({ state: "detached" });
  await setQuota();
  await page.getByRole("button", { name: "Go on" }).first().click();
  await notice.waitFor({ state: "detached" }); // it stays until the worker has answered
  await eventsReach(page, before.length + 3);
  const after = await eventsOf(page);
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.map((event) => event.seq)).toEqual(numbers(after));
});

test("a tab that the browser freezes goes on where it was", async () => {
  const before = await eventsOf(page);
  await devtools.send("Page.setWebLifecycleState", { state: "frozen" });
  await new Promise((resolve) => setTimeout(resolve, 1500));
  await devtools.send("Page.setWebLifecycleState", { state: "active" });
  await eventsReach(page, before.length + 3);
  const after = await eventsOf(page);
  expect(after.slice(0, before.length)).toEqual(before);
  expect(after.map((event) => event.seq)).toEqual(numbers(after));
});

test("runs that start and stop leave no worker behind, and two of them stand side by side", async () => {
  const workers = () => page.evaluate(() => window.autodidact.state().workers);
  expect(await page.evaluate(() => window.autodidact.stop())).toEqual({ ok: true, value: null });
  await page.evaluate(() => window.autodidact.reset());
  const [alive, threads] = [await workers(), page.workers().length];
  expect(alive).toBe(3);
  for (const seed of [21, 22]) {
    await startTiny(page, { ...tiny, seed });
    await eventsReach(page, 2);
    await page.evaluate(() => window.autodidact.pause());
    await page.evaluate(() => window.autodidact.stop());
    await page.evaluate(() => window.autodidact.reset());
    expect(await workers()).toBe(alive);
    expect(page.workers().length).toBe(threads);
  }
  await goTo("Runs");
  for (const seed of [21, 22]) await rowOf(`tiny-${seed}-`).getByRole("checkbox").check();
  const compare = page.getByRole("region", { name: "Two runs side by side" });
  await compare.getByText("Settings that differ").waitFor();
  expect(await compare.locator(".compare-table tbody tr").allTextContents()).toEqual(["seed2122"]);
});

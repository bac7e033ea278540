/** One tab trains, every other one looks on; the run passes from one to the other at its last commit. */
import type { Page } from "playwright-core";
import { afterAll, beforeAll, expect, test } from "vitest";
import { startVisit, type Visit } from "./browser.ts";
import { eventsOf, eventsReach, numbers, open, startTiny } from "./tiny.ts";

let visit: Visit;
let first: Page;
let second: Page;
let run: string;

beforeAll(async () => {
  visit = await startVisit();
  first = visit.page;
  await open(first, visit.url);
  run = await startTiny(first);
  await eventsReach(first, 5);
  second = await visit.context.newPage();
  await open(second, visit.url);
}, 600_000);
afterAll(() => visit.close());

const stateOf = (page: Page) => page.evaluate(() => window.autodidact.state());

/** The log is the same up to where the shorter one ends, without gaps. */
async function expectSameLog(a: Page, b: Page): Promise<void> {
  const [one, other] = [await eventsOf(a), await eventsOf(b)];
  const shared = Math.min(one.length, other.length);
  expect(shared).toBeGreaterThan(0);
  expect(one.slice(0, shared)).toEqual(other.slice(0, shared));
  expect(one.map((event) => event.seq)).toEqual(numbers(one));
}

test("a second tab shows the run live, says why it does not train, and changes nothing", async () => {
  await second.waitForFunction(() => window.autodidact.state().mode === "live");
  expect(await stateOf(second)).toMatchObject({ role: "reader", run, status: "playing" });
  const seen = (await stateOf(second)).events;
  await eventsReach(second, seen + 3);
  await expectSameLog(first, second);
  await second.getByText("Another tab of this page trains").waitFor();
  expect(await second.getByRole("button", { name: /Train on this GPU/ }).count()).toBe(0);
  const refusals = await second.evaluate(async () => {
    const { autodidact } = window;
    const calls = [autodidact.start(), autodidact.pause(), autodidact.step(), autodidact.stop()];
    return Promise.all([...calls, autodidact.importRun(new Uint8Array([1]))]);
  });
  for (const refusal of refusals) expect(refusal).toMatchObject({ ok: false, code: "locked" });
  // Its store is its only worker: no engine, no judge.
  expect((await stateOf(second)).workers).toBe(1);
  await second.getByRole("link", { name: "Runs" }).click();
  expect(await second.getByRole("button", { name: "Delete" }).isDisabled()).toBe(true);
  expect(await second.getByRole("button", { name: "Rename" }).isDisabled()).toBe(true);
  expect(await second.locator("button", { hasText: "Import a run" }).isDisabled()).toBe(true);
});

test("“Continue here” moves the run to the second tab, and the first looks on", async () => {
  await second.getByRole("button", { name: "Continue here" }).click();
  await second.waitForFunction(() => window.autodidact.state().role === "writer");
  // One that is slow to answer has its pen taken, and shows it once its workers are ended.
  await first.waitForFunction(() => window.autodidact.state().role === "reader");
  const taken = (await stateOf(second)).events;
  await eventsReach(second, taken + 3);
  expect((await stateOf(second)).run).toBe(run);
  await eventsReach(first, taken + 3);
  await expectSameLog(first, second);
  // All of its workers were ended; its store comes back with the next thing that it reads, and nothing else does.
  await first.waitForFunction(() => window.autodidact.state().workers === 1);
  await eventsReach(first, (await stateOf(first)).events + 1);
  expect((await stateOf(first)).workers).toBe(1);
});

test("when the tab that trains is closed, the other goes on by itself from the last commit", async () => {
  const seen = (await stateOf(second)).events;
  await second.close();
  await first.waitForFunction(() => window.autodidact.state().role === "writer");
  await first.getByText("The other tab has let go").waitFor();
  await eventsReach(first, seen + 3);
  const events = await eventsOf(first);
  expect(events.map((event) => event.seq)).toEqual(numbers(events));
  expect(events.filter((event) => event.type === "started")).toHaveLength(1);
});

test("when the tab that trains crashes, the other goes on by itself from the last commit", async () => {
  second = await visit.context.newPage();
  await open(second, visit.url);
  await second.waitForFunction(() => window.autodidact.state().mode === "live");
  const before = await eventsOf(second);
  const crashed = first.waitForEvent("crash");
  const devtools = await visit.context.newCDPSession(first);
  void devtools.send("Page.crash").catch(() => undefined);
  await crashed;
  await second.waitForFunction(() => window.autodidact.state().role === "writer");
  await eventsReach(second, before.length + 4);
  const events = await eventsOf(second);
  expect(events.slice(0, before.length)).toEqual(before);
  expect(events.map((event) => event.seq)).toEqual(numbers(events));
  expect((await stateOf(second)).run).toBe(run);
});

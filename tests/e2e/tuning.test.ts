/** Kernels are measured while the page is idle, after somebody has done something; the next run takes the table and says so. */
import { afterAll, beforeAll, expect, test } from "vitest";
import type { Contour } from "../../src/base/contour.ts";
import type { DeviceSummary } from "../../src/base/events.ts";
import { startVisit, type Visit } from "./browser.ts";
import { eventsOf, eventsReach, open, ready, startTiny, tiny } from "./tiny.ts";

let visit: Visit;
beforeAll(async () => {
  visit = await startVisit();
});
afterAll(() => visit.close());

/** One short round without a gate. */
const contour = tiny.contour as Contour;
const short = { ...tiny, rounds: 1, contour: { ...contour, gate: { ...contour.gate, on: false } } };

/** The adapter's table in the browser's database, {} before there is one. */
async function tableOf({ page }: Visit): Promise<Record<string, string>> {
  const text = await page.evaluate(
    () =>
      new Promise<string>((resolve, reject) => {
        const request = indexedDB.open("autodidact-tuning");
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const db = request.result;
          const none = !db.objectStoreNames.contains("tables");
          const all = none ? null : db.transaction("tables").objectStore("tables").getAll();
          const done = (): void => {
            db.close();
            resolve((all?.result[0] as string | undefined) ?? "{}");
          };
          if (all) all.onsuccess = done;
          else done();
        };
      }),
  );
  return JSON.parse(text) as Record<string, string>;
}

/** Puts another table in the place of the adapter's. */
async function replaceTable({ page }: Visit, table: Readonly<Record<string, string>>): Promise<void> {
  await page.evaluate(
    (text) =>
      new Promise<void>((resolve, reject) => {
        const request = indexedDB.open("autodidact-tuning");
        request.onerror = () => reject(request.error);
        request.onsuccess = () => {
          const db = request.result;
          const writing = db.transaction("tables", "readwrite");
          const tables = writing.objectStore("tables");
          const keys = tables.getAllKeys();
          keys.onsuccess = () => tables.put(text, keys.result[0] as string);
          writing.onabort = () => reject(writing.error);
          writing.oncomplete = () => {
            db.close();
            resolve();
          };
        };
      }),
    JSON.stringify(table),
  );
}

/** The kernels that a run began with, without the family: shape → choice. */
async function journalled({ page }: Visit): Promise<Record<string, string>> {
  const started = (await eventsOf(page)).find((event) => event.type === "started");
  const { matmul, ...tuned } = (started as { device: DeviceSummary }).device.variants;
  expect(matmul).toBeDefined();
  return tuned;
}

const finished = ({ page }: Visit) =>
  page.waitForFunction(() => window.autodidact.events().some(({ type }) => type === "finished"), null, {
    polling: 100,
  });

/** While no run is open, whoever holds its lock measures. */
const measuring = ({ page }: Visit) =>
  page.waitForFunction(
    async () => (await navigator.locks.query()).held?.some(({ name }) => name === "autodidact-run"),
    null,
    { polling: 100 },
  );

test("a run ends the measuring, a table appears when nobody does anything, and the next run is pinned to it", async () => {
  const { page, url } = visit;
  await open(page, url);
  await page.waitForTimeout(4000); // an open page alone measures nothing
  expect(await page.evaluate(async () => (await navigator.locks.query()).held?.map(({ name }) => name))).not.toContain(
    "autodidact-run",
  );
  await startTiny(page, short);
  await finished(visit);
  expect(await journalled(visit)).toEqual({});

  // The shape that is being measured is given up, and the run has the GPU's lock.
  await measuring(visit);
  await startTiny(page, short);
  await finished(visit);
  expect(await tableOf(visit)).toEqual(await journalled(visit));

  await expect.poll(() => tableOf(visit), { timeout: 300_000, interval: 500 }).not.toEqual({});
  await startTiny(page);
  const table = await tableOf(visit);
  const began = await journalled(visit);
  expect(Object.keys(began).length).toBeGreaterThan(0);
  for (const [shape, choice] of Object.entries(began)) expect(table[shape], shape).toBe(choice);
  expect(Object.keys(began)).toEqual(Object.keys(table));
  await eventsReach(page, 12);
  expect(await tableOf(visit)).toEqual(table);

  // After a reload the run goes on with the kernels that it began with, whatever the table says by then.
  await page.evaluate(() => window.autodidact.pause());
  const other = Object.fromEntries(Object.keys(table).map((shape) => [shape, "plain-8/2"]));
  expect(other).not.toEqual(table);
  await replaceTable(visit, other);
  await page.reload();
  await ready(page);
  const before = (await page.evaluate(() => window.autodidact.state().events)) as number;
  expect(await page.evaluate(() => window.autodidact.start())).toEqual({ ok: true, value: null });
  await eventsReach(page, before + 4);
  expect(await journalled(visit)).toEqual(began);
  // With other kernels than its last events were computed with it would have recorded "restored".
  expect((await eventsOf(page)).filter(({ type }) => type === "restored")).toEqual([]);
  expect(await tableOf(visit)).toEqual(other);

  // The next run takes the other table.
  expect(await page.evaluate(() => window.autodidact.stop())).toEqual({ ok: true, value: null });
  await startTiny(page, short);
  await finished(visit);
  expect(await journalled(visit)).toMatchObject(other);
  expect(visit.problems).toEqual([]);
});

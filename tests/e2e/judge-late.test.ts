/** The judge is fetched once there are answers: one that cannot be loaded pauses the run, which goes on when it can. */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Contour, defaultContour } from "../../src/base/contour.ts";
import { startVisit, type Visit } from "./browser.ts";
import { eventsOf, numbers, open, startTiny, tiny } from "./tiny.ts";

let visit: Visit;
beforeAll(async () => {
  visit = await startVisit();
  // Without the service worker, which would have the judge's files.
  await visit.context.addInitScript("delete Navigator.prototype.serviceWorker");
});
afterAll(() => visit.close());

test("a judge that does not load pauses the run with nothing kept of the round, and it goes on when it does", async () => {
  const { page, context, url } = visit;
  let asked = 0;
  await context.route("**/models/judge/config.json", (route) => {
    asked++;
    return route.abort();
  });
  await open(page, url);
  await startTiny(page, { ...tiny, contour: { ...(tiny.contour as Contour), judge: defaultContour.judge } });
  await page.getByRole("alert").getByText("The judge could not be loaded").waitFor();
  expect(asked).toBeGreaterThan(0);
  expect(await page.evaluate(() => window.autodidact.state().status)).toBe("paused");
  expect((await eventsOf(page)).map(({ type }) => type)).toEqual(["started"]);

  await context.unroute("**/models/judge/config.json");
  expect(await page.evaluate(() => window.autodidact.start())).toEqual({ ok: true, value: null });
  await page.waitForFunction(() => window.autodidact.events().some(({ type }) => type === "paired"));
  const events = await eventsOf(page);
  expect(events.map(({ seq }) => seq)).toEqual(numbers(events));
  const judged = events.find((event) => event.type === "judged");
  expect(judged?.type === "judged" && Object.keys(judged.meanScore)).toContain("onnx-image");
});

/** Every section in light and dark against the rules of WCAG 2.2 AA that a program can check (axe-core). */
import axe from "axe-core";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { canonicalJson } from "../../src/base/canonical.ts";
import { views } from "../../src/ui/app.ts";
import { recordingUrl } from "../../src/ui/recording.ts";
import { syntheticEvents } from "../ui/synthetic.ts";
import { startVisit, type Visit } from "./browser.ts";
import { open } from "./tiny.ts";

const WCAG_22_AA = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"];

let visit: Visit;
beforeAll(async () => {
  visit = await startVisit();
  const { page, url } = visit;
  await page.emulateMedia({ reducedMotion: "reduce" });
  // An invented run with every kind of decision in it, instead of the page's recording.
  const events = syntheticEvents({ rounds: 12, seed: 1, preview: 3 });
  const body = events.map((event) => canonicalJson(event)).join("\n");
  await page.route(`**/${recordingUrl}`, (route) => route.fulfill({ body }));
  await open(page, url);
  expect(await page.evaluate(() => window.autodidact.events().length)).toBe(events.length);
  await page.evaluate(() => window.autodidact.pause());
  // Not as a script of the page, which its policy would refuse.
  await page.evaluate(axe.source);
});
afterAll(() => visit.close());

/** Rule, element and reason of each violation, and the rules that something on the page was found to keep. */
async function check(): Promise<{ violations: string[]; kept: string[] }> {
  return visit.page.evaluate(async (values) => {
    const { axe } = window as unknown as { axe: typeof import("axe-core") };
    const { violations, passes } = await axe.run(document, { runOnly: { type: "tag", values } });
    return {
      violations: violations.flatMap(({ id, nodes }) =>
        nodes.map(({ target, failureSummary }) => `${id}: ${target.join(" ")}: ${failureSummary}`),
      ),
      kept: passes.map(({ id }) => id),
    };
  }, WCAG_22_AA);
}

describe.each(["light", "dark"] as const)("in %s", (colorScheme) => {
  test.each(views)("%s has no violations", async (view) => {
    const { page } = visit;
    await page.emulateMedia({ colorScheme, reducedMotion: "reduce" });
    await page.evaluate((hash) => {
      location.hash = hash;
    }, view);
    await page.locator(`nav a[href="#${view}"][aria-current="page"]`).waitFor();
    await page.locator("main h1").waitFor();
    const { violations, kept } = await check();
    expect(violations).toEqual([]);
    expect(kept).toEqual(expect.arrayContaining(["color-contrast", "button-name", "link-name", "target-size"]));
  });
});

test.each([0, 0.25, 0.5, 0.75, 1])("watch has no violations at %f of the run", async (share) => {
  const { page } = visit;
  await page.evaluate(() => {
    location.hash = "watch";
  });
  const slider = page.locator(".timeline input");
  const place = String(Math.round(share * Number(await slider.getAttribute("max"))));
  await slider.fill(place);
  expect(await slider.inputValue()).toBe(place);
  expect((await check()).violations).toEqual([]);
});

test("the check finds what is wrong: a picture without a name and grey on grey", async () => {
  const { page } = visit;
  await page.evaluate(() => {
    const picture = new Image();
    picture.src = "icon-192.png";
    const grey = document.createElement("p");
    grey.textContent = "grey on grey";
    Object.assign(grey.style, { color: "#999", background: "#888" });
    document.querySelector("main h1")?.after(picture, grey);
  });
  const { violations } = await check();
  expect(violations.map((violation) => violation.split(":")[0]).sort()).toEqual(["color-contrast", "image-alt"]);
});

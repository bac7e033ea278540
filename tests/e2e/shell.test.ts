import { readdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { contentSecurityPolicy } from "../../src/cli/headers.mjs";
import { pageFolder, startVisit, type Visit } from "./browser.ts";
import { copyOfPage, release, updated } from "./release.ts";
import { offlineReady } from "./tiny.ts";

let visit: Visit | null = null;
afterEach(async () => {
  await visit?.close();
  visit = null;
});

test("the page is isolated, keeps to its policy, and finds a WebGPU adapter", async () => {
  visit = await startVisit();
  const { page, url } = visit;
  const response = await page.goto(url);
  const headers = (await response?.allHeaders()) ?? {};
  expect(headers["cross-origin-opener-policy"]).toBe("same-origin");
  expect(headers["cross-origin-embedder-policy"]).toBe("require-corp");
  expect(headers["content-security-policy"]).toBe(`${contentSecurityPolicy()}; frame-ancestors 'none'`);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  expect(await page.locator('meta[http-equiv="Content-Security-Policy"]').getAttribute("content")).toBe(
    contentSecurityPolicy(),
  );
  const blocked = await page.evaluate(async () => {
    const violation = new Promise<string>((resolve) => {
      document.addEventListener("securitypolicyviolation", (event) => resolve(event.effectiveDirective), {
        once: true,
      });
    });
    await fetch("https://example.invalid/").catch(() => undefined);
    return violation;
  });
  expect(blocked).toBe("connect-src");

  const adapter = await page.evaluate(async () => {
    const found = await navigator.gpu.requestAdapter();
    return found && { architecture: found.info.architecture, fallback: found.info.isFallbackAdapter };
  });
  expect(adapter).toEqual({ architecture: "swiftshader", fallback: true });
});

test("after the first visit every file of the page loads with the server stopped", async () => {
  visit = await startVisit();
  const { page, url, stopServer } = visit;
  await page.goto(url);
  await offlineReady(page);
  await stopServer();
  await page.reload();
  expect(await page.title()).toBe("Autodidact");
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
  const files = readdirSync(pageFolder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && !entry.name.endsWith(".map") && entry.name !== "sw.js")
    .map((entry) => join(entry.parentPath, entry.name).slice(pageFolder.length + 1));
  expect(files).toContain("index.html");
  const missing = await page.evaluate(async (paths) => {
    const lost: string[] = [];
    for (const path of paths) {
      const ok = await fetch(path).then(
        (response) => response.ok,
        () => false,
      );
      if (!ok) lost.push(path);
    }
    return lost;
  }, files);
  expect(missing).toEqual([]);
  expect(await page.evaluate(() => fetch("not-there.txt").then(String, () => "refused"))).toBe("refused");
});

test("on a host that sends no headers the page is isolated from the second load on", async () => {
  visit = await startVisit({ headers: {} });
  const { page, url } = visit;
  await page.goto(url);
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(false);
  await offlineReady(page);
  await page.reload();
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
});

test("a new version waits until the page asks for it, and a file that was changed on the way is refused", async () => {
  const copy = copyOfPage();
  try {
    visit = await startVisit({ folder: copy.folder });
    const { page, url } = visit;
    await page.goto(url);
    await offlineReady(page);

    // A new index.html whose hash the new sw.js does not list: it must not be installed.
    release(copy.folder, "Changed", { sha256: "0".repeat(64) });
    expect(await updated(page)).toBe("redundant");

    // The same with the right hash: it waits, and the old version goes on being shown.
    release(copy.folder, "Changed");
    expect(await updated(page)).toBe("installed");
    await page.reload();
    expect(await page.title()).toBe("Autodidact");

    // Both tabs go to the new version together.
    const other = await visit.context.newPage();
    await other.goto(url);
    await page.getByRole("button", { name: "A new version is ready. Update" }).click();
    for (const tab of [page, other]) await tab.waitForFunction(() => document.title === "Changed");
  } finally {
    copy.remove();
  }
});

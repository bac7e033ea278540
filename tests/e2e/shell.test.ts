import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test } from "vitest";
import { contentSecurityPolicy } from "../../src/cli/headers.mjs";
import { pageFolder, startVisit, type Visit } from "./browser.ts";

let visit: Visit | null = null;
afterEach(async () => {
  await visit?.close();
  visit = null;
});

/** Resolves when the service worker has stored every file and controls the page. */
async function offlineReady({ page }: Visit): Promise<void> {
  await page.evaluate(async () => {
    await navigator.serviceWorker.ready;
    while (navigator.serviceWorker.controller === null) await new Promise((resolve) => setTimeout(resolve, 50));
  });
}

test("the page is isolated, keeps to its policy, and a worker of it finds a WebGPU adapter", async () => {
  visit = await startVisit();
  const { page, url } = visit;
  const response = await page.goto(url);
  const headers = (await response?.allHeaders()) ?? {};
  expect(headers["cross-origin-opener-policy"]).toBe("same-origin");
  expect(headers["cross-origin-embedder-policy"]).toBe("require-corp");
  expect(headers["content-security-policy"]).toBe(contentSecurityPolicy());
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
    const source = `navigator.gpu.requestAdapter().then((a) => postMessage(a && {
      architecture: a.info.architecture, fallback: a.info.isFallbackAdapter }), (e) => postMessage(String(e)))`;
    const worker = new Worker(URL.createObjectURL(new Blob([source], { type: "text/javascript" })));
    return new Promise((resolve) => {
      worker.onmessage = (event) => resolve(event.data);
      worker.onerror = (event) => resolve(event.message);
    });
  });
  expect(adapter).toEqual({ architecture: "swiftshader", fallback: true });
});

test("after the first visit every file of the page loads with the server stopped", async () => {
  visit = await startVisit();
  const { page, url, stopServer } = visit;
  await page.goto(url);
  await offlineReady(visit);
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
  await offlineReady(visit);
  await page.reload();
  expect(await page.evaluate(() => crossOriginIsolated)).toBe(true);
});

test("a new version waits until the page asks for it, and a file that was changed on the way is refused", async () => {
  const folder = mkdtempSync(join(tmpdir(), "autodidact-page-"));
  try {
    cpSync(pageFolder, folder, { recursive: true });
    visit = await startVisit({ folder });
    const { page, url } = visit;
    await page.goto(url);
    await offlineReady(visit);

    // A new index.html whose hash the new sw.js does not list: it must not be installed.
    const html = readFileSync(join(folder, "index.html"), "utf8");
    const worker = readFileSync(join(folder, "sw.js"), "utf8");
    writeFileSync(join(folder, "index.html"), html.replace("<title>Autodidact", "<title>Changed"));
    const indexHash = /"?path"?:\s*["'`]index\.html["'`],\s*"?sha256"?:\s*["'`]([0-9a-f]{64})/.exec(worker)?.[1];
    expect(indexHash).toBeDefined();
    writeFileSync(join(folder, "sw.js"), worker.replace(String(indexHash), "0".repeat(64)));
    expect(await update(visit)).toBe("redundant");

    // The same with the right hash: it waits, and the old version goes on being shown.
    const bytes = new TextEncoder().encode(readFileSync(join(folder, "index.html"), "utf8"));
    const hash = Buffer.from(await crypto.subtle.digest("SHA-256", bytes)).toString("hex");
    writeFileSync(join(folder, "sw.js"), worker.replace(String(indexHash), hash));
    expect(await update(visit)).toBe("installed");
    await page.reload();
    expect(await page.title()).toBe("Autodidact");

    await page.evaluate(async () => {
      const changed = new Promise((resolve) => {
        navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
      });
      (await navigator.serviceWorker.ready).waiting?.postMessage("activate");
      await changed;
    });
    await page.reload();
    expect(await page.title()).toBe("Changed");
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

/** Looks for a new service worker and returns the state in which its installation ends. */
function update({ page }: Visit): Promise<string> {
  return page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready;
    await registration.update().catch(() => undefined);
    const worker = registration.installing ?? registration.waiting;
    if (worker === null) return "no new version";
    while (worker.state === "installing") await new Promise((resolve) => setTimeout(resolve, 50));
    return worker.state;
  });
}

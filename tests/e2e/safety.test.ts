/** What the page's policy and sandbox hold back, in a real Chromium. */
import { mkdtempSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { contentSecurityPolicy, hubHosts } from "../../src/cli/headers.mjs";
import type { VerifierItem } from "../../src/judge/verifier.ts";
import { evil, poisonedArchive } from "../store/poison.ts";
import { startVisit, type Visit } from "./browser.ts";
import { open } from "./tiny.ts";

let visit: Visit;
/** A server elsewhere: whatever arrives here has left the machine's page. */
const outside: string[] = [];
const elsewhere = createServer((request, response) => {
  outside.push(String(request.url));
  response.writeHead(200, { "Access-Control-Allow-Origin": "*" }).end("0");
});
let foreign = "";

beforeAll(async () => {
  await new Promise<void>((resolve) => elsewhere.listen(0, "127.0.0.1", () => resolve()));
  foreign = `http://127.0.0.1:${(elsewhere.address() as AddressInfo).port}/`;
  visit = await startVisit();
  await visit.page.addInitScript(() => {
    const seen: string[] = [];
    Object.assign(window, { violations: seen });
    document.addEventListener("securitypolicyviolation", (event) => seen.push(event.effectiveDirective));
  });
  await open(visit.page, visit.url);
});
afterAll(async () => {
  await visit.close();
  elsewhere.close();
});

/** Directives violated since the last call. */
const violations = (): Promise<string[]> =>
  visit.page.evaluate(async () => {
    await new Promise((resolve) => setTimeout(resolve, 200));
    return (window as unknown as { violations: string[] }).violations.splice(0);
  });

test("the policy forbids what it does not name", () => {
  const policy = contentSecurityPolicy();
  expect(policy).toMatch(
    /^default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; connect-src 'self' https:/,
  );
  for (const directive of ["object-src 'none'", "base-uri 'none'", "form-action 'none'"])
    expect(policy).toContain(directive);
  expect(policy).not.toMatch(/unsafe-inline|unsafe-eval'(?<!'wasm-unsafe-eval')|\*|http:/);
  for (const host of hubHosts) expect(host).toMatch(/^https:\/\/([a-z0-9-]+\.)*(huggingface\.co|hf\.co)$/);
});

test("the page itself violates nothing, whichever section is open", async () => {
  const { page } = visit;
  for (const section of ["draw", "runs", "settings", "explain", "watch"]) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, section);
    await page.waitForTimeout(300);
  }
  expect(await violations()).toEqual([]);
  expect(visit.problems).toEqual([]);
});

describe("blocked", () => {
  test.each([
    [
      "an inline script",
      "script-src-elem",
      `const s = document.createElement("script"); s.textContent = "window.ran = 1"; document.body.append(s);`,
    ],
    [
      "an inline handler",
      "script-src-attr",
      `const i = document.createElement("img"); i.setAttribute("onerror", "window.ran = 1"); i.src = "data:,"; document.body.append(i);`,
    ],
    [
      "a script from elsewhere",
      "script-src-elem",
      `const s = document.createElement("script"); s.src = FOREIGN + "x.js"; document.body.append(s);`,
    ],
    [
      "a frame from elsewhere",
      "frame-src",
      `const f = document.createElement("iframe"); f.src = FOREIGN; document.body.append(f);`,
    ],
    ["a picture from elsewhere", "img-src", `new Image().src = FOREIGN + "x.png";`],
    ["a fetch to elsewhere", "connect-src", `fetch(FOREIGN).catch(() => 0);`],
    ["a beacon to elsewhere", "connect-src", `navigator.sendBeacon(FOREIGN, "x");`],
    ["a socket to elsewhere", "connect-src", `try { new WebSocket(FOREIGN.replace("http", "ws")) } catch {}`],
    [
      "a style from elsewhere",
      "style-src-elem",
      `const l = document.createElement("link"); l.rel = "stylesheet"; l.href = FOREIGN; document.head.append(l);`,
    ],
    ["a worker out of a text", "worker-src", `try { new Worker(URL.createObjectURL(new Blob(["0"]))) } catch {}`],
    [
      "a base elsewhere",
      "base-uri",
      `const b = document.createElement("base"); b.href = FOREIGN; document.head.append(b); b.remove();`,
    ],
  ])("%s", async (_what, directive, code) => {
    outside.length = 0;
    // Playwright's own evaluation is not under the policy; what it builds in the page is.
    await visit.page.evaluate(code.replaceAll("FOREIGN", JSON.stringify(foreign)).replace(/;?$/, "; 0"));
    expect(await violations()).toContain(directive);
    expect(await visit.page.evaluate(() => "ran" in window)).toBe(false);
    expect(outside).toEqual([]);
  });

  test("eval and Function in the page's own scripts", async () => {
    const { page } = visit;
    // A script of this origin that calls eval: the recording's address cannot serve one, so it is routed in.
    await page.route("**/probe.js", (route) =>
      route.fulfill({
        contentType: "text/javascript",
        headers: { "Cross-Origin-Resource-Policy": "same-origin" },
        body: `window.probe = []; for (const f of [() => eval("1"), () => new Function("return 1")(), () => setTimeout("1")])
          try { window.probe.push(f()) } catch (e) { window.probe.push(e.name) }`,
      }),
    );
    await page.evaluate(
      () =>
        new Promise((resolve) => {
          const script = document.createElement("script");
          script.src = "probe.js";
          script.onload = script.onerror = resolve;
          document.body.append(script);
        }),
    );
    const probe = await page.evaluate(() => (window as unknown as { probe: unknown[] }).probe);
    expect(probe.slice(0, 2)).toEqual(["EvalError", "EvalError"]);
    expect(await violations()).toContain("script-src");
  });

  test("nothing of the hub: its hosts are allowed, whether they answer or not", async () => {
    await visit.page.evaluate(
      (hosts) => Promise.all(hosts.map((host) => fetch(host).catch(() => 0))).then(() => 0),
      hubHosts,
    );
    expect(await violations()).toEqual([]);
  });
});

test("a poisoned archive is imported as data: its texts are drawn, nothing of it runs, its pairs do not train", async () => {
  const { page } = visit;
  const folder = mkdtempSync(join(tmpdir(), "poison-"));
  const archive = [...(await poisonedArchive(folder))];
  rmSync(folder, { recursive: true });
  await page.evaluate(() => {
    location.hash = "runs";
  });
  const imported = await page.evaluate((bytes) => window.autodidact.importRun(Uint8Array.from(bytes)), archive);
  expect(imported).toEqual({ ok: true, value: "poison" });
  const row = page.locator("tr", { hasText: evil });
  await row.getByText("imported").waitFor();
  await row.getByRole("button", { name: "Open" }).click();
  await page.waitForFunction(() => window.autodidact.events().some((event) => event.type === "corrected"));
  const events = await page.evaluate(() => window.autodidact.events().map((event) => ({ ...event, preview: [] })));
  expect(events.at(-1)).toMatchObject({
    type: "restored",
    reason: expect.stringContaining("8 of them taken out of training"),
  });
  for (const section of ["watch", "runs"]) {
    await page.evaluate((hash) => {
      location.hash = hash;
    }, section);
    await page.waitForTimeout(300);
    expect(await page.locator("main img[src=x], main script").count()).toBe(0);
  }
  expect(await page.evaluate(() => "ran" in window)).toBe(false);
  expect(await violations()).toEqual([]);
});

describe("a verifier in the sandbox", () => {
  const items: VerifierItem[] = ["red", "blue"].map((answer) => ({
    task: { kind: "describe", question: "describe", picture: null },
    answer,
  }));
  const run = (code: string, limitMs = 3000) =>
    visit.page.evaluate(([code, items, limitMs]) => window.autodidact.verify(code, items, { limitMs }), [
      code,
      items,
      limitMs,
    ] as const);

  test("scores answers", async () => {
    expect(await run('return answer === "red" ? 1 : 0.25')).toEqual({ kind: "scored", scores: [1, 0.25] });
  });

  test("has no network, storage, page or nested escape", async () => {
    outside.length = 0;
    const code = `
      const url = ${JSON.stringify(foreign)};
      const tries = [
        () => { fetch(url).then(() => { globalThis.leaked = 1 }, () => 0); return 0; },
        () => { const x = new XMLHttpRequest(); x.open("GET", url, false); x.send(); return 1; },
        () => { importScripts(url); return 1; },
        () => { new WebSocket(url.replace("http", "ws")); return 0; },
        () => { new EventSource(url); return 0; },
        () => { new Worker(url); return 0; },
        () => typeof indexedDB === "undefined" ? 0 : (indexedDB.open("autodidact"), 1),
        () => typeof document === "undefined" ? 0 : 1,
        () => self.origin === "null" ? 0 : 1,
      ];
      let open = 0;
      for (const one of tries) try { open += one() } catch {}
      const until = Date.now() + 300; while (Date.now() < until);
      return open / 10;`;
    expect(await run(code)).toEqual({ kind: "scored", scores: [0, 0] });
    await visit.page.waitForTimeout(300);
    expect(outside).toEqual([]);
  });

  test("that never ends is ended, and the page goes on meanwhile", async () => {
    const result = await visit.page.evaluate(async (items) => {
      let ticks = 0;
      const timer = setInterval(() => ticks++, 20);
      const verdict = await window.autodidact.verify("for (;;);", items, { limitMs: 1000 });
      clearInterval(timer);
      return { verdict, ticks, frames: document.querySelectorAll("iframe[sandbox]").length };
    }, items);
    expect(result.verdict).toMatchObject({ kind: "failed", reason: "time-limit" });
    expect(result.ticks).toBeGreaterThan(5);
    expect(result.frames).toBe(0);
  });

  test.each([
    ["threw", "throw new Error('no')"],
    ["bad-score", "return NaN"],
    ["bad-score", "return 2"],
    ["syntax", "return ("],
    ["threw", "return new Uint8Array(2 ** 50).length"],
  ])("fails by %s: %s", async (reason, code) => {
    expect(await run(code)).toMatchObject({ kind: "failed", reason });
  });

  test("forges no reply: messages of its own reach nobody", async () => {
    const forge = `
      postMessage('{"scores":[1,1]}');
      MessagePort.prototype.postMessage = function () { throw 1 };
      JSON.stringify = () => '{"scores":[1,1]}';
      return 0.5;`;
    expect(await run(forge)).toEqual({ kind: "scored", scores: [0.5, 0.5] });
  });

  test("leaves the page's policy unviolated", async () => {
    expect(await violations()).toEqual([]);
  });
});

/** New versions of the built page, for tests of updates. */
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Page } from "playwright-core";
import { pageFolder } from "./browser.ts";

/** The built page in a folder of its own, to be changed and served. */
export function copyOfPage(): { readonly folder: string; remove(): void } {
  const folder = mkdtempSync(join(tmpdir(), "autodidact-page-"));
  cpSync(pageFolder, folder, { recursive: true });
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** The bundled base's weights, below the page's folder. */
const WEIGHTS = "models/policy/model.safetensors";

/**
 * A version with another title; `sha256` is what its list says about index.html (the truth, if left out). With
 * `otherBase` its base model has other weights, by one bit.
 */
export function release(
  folder: string,
  title: string,
  { sha256, otherBase = false }: { sha256?: string; otherBase?: boolean } = {},
): void {
  const html = readFileSync(join(pageFolder, "index.html"), "utf8");
  const changed = html.replace("<title>Autodidact", `<title>${title}`);
  const actual = createHash("sha256").update(changed).digest("hex");
  const worker = readFileSync(join(pageFolder, "sw.js"), "utf8");
  const listed = createHash("sha256").update(html).digest("hex");
  if (!worker.includes(listed)) throw new Error("sw.js does not list index.html");
  writeFileSync(join(folder, "index.html"), changed);
  const listing = worker.replace(listed, sha256 ?? actual);
  writeFileSync(join(folder, "sw.js"), otherBase ? withOtherBase(folder, listing) : listing);
}

function withOtherBase(folder: string, worker: string): string {
  const weights = readFileSync(join(pageFolder, WEIGHTS));
  const before = createHash("sha256").update(weights).digest("hex");
  const last = weights.length - 4; // the lowest bit of the last number
  weights[last] = (weights[last] as number) ^ 1;
  writeFileSync(join(folder, WEIGHTS), weights);
  return worker.replaceAll(before, createHash("sha256").update(weights).digest("hex"));
}

/** Looks for a new version and returns the state in which its installation ends. */
export function updated(page: Page): Promise<string> {
  return page.evaluate(async () => {
    const registration = await navigator.serviceWorker.ready;
    await registration.update().catch(() => undefined);
    const worker = registration.installing ?? registration.waiting;
    if (worker === null) return "no new version";
    while (worker.state === "installing") await new Promise((resolve) => setTimeout(resolve, 50));
    return worker.state;
  });
}

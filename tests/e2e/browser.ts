/** For end-to-end tests: the built page on a server of its own, in a Chromium with an empty profile. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { type BrowserContext, chromium, type Page } from "playwright-core";
import { chromiumFlags } from "../../src/cli/chromium.mjs";
import { serve } from "../../src/cli/serve.mjs";

export const pageFolder = fileURLToPath(new URL("../../dist/page", import.meta.url));

export interface Visit {
  readonly page: Page;
  readonly context: BrowserContext;
  /** Address of the page, ending with a slash. */
  readonly url: string;
  /** What went wrong in the page so far: uncaught errors, errors on the console, policy violations. */
  readonly problems: readonly string[];
  /** From here on the server answers nothing; the browser stays. */
  stopServer(): Promise<void>;
  /** Starts it again at the same address, with another folder if one is given. */
  startServer(folder?: string): Promise<void>;
  /** Browser, server and profile are gone after this. */
  close(): Promise<void>;
}

/**
 * Starts server and browser; the page is not opened yet (`visit.page.goto(visit.url)`).
 * @param options.headers of the server instead of the page's own: {} is a static host that sends none
 * @param options.profile a folder that is kept: a later visit at the same `port` finds what this one has stored
 * @param options.args more flags for Chromium, such as "--disable-features=WebGPU"
 */
export async function startVisit(
  options: {
    folder?: string;
    headers?: Record<string, string>;
    profile?: string;
    port?: number;
    args?: readonly string[];
  } = {},
): Promise<Visit> {
  const { folder = pageFolder, headers, args = [] } = options;
  const executablePath = process.env.CHROMIUM_PATH;
  if (!executablePath) throw new Error("CHROMIUM_PATH is not set: run these tests with npx vitest --project e2e");
  const served = headers === undefined ? {} : { headers };
  let server = await serve({ root: folder, ...(options.port === undefined ? {} : { port: options.port }), ...served });
  const { port, url } = server;
  const profile = options.profile ?? mkdtempSync(join(tmpdir(), "autodidact-profile-"));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    args: [...chromiumFlags, ...args],
    viewport: { width: 1280, height: 900 },
    acceptDownloads: true,
  });
  context.setDefaultTimeout(180_000); // software rendering on a busy machine takes its time
  const page = context.pages()[0] ?? (await context.newPage());
  const problems: string[] = [];
  page.on("pageerror", (error) => problems.push(`uncaught: ${error.stack ?? error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") problems.push(`console: ${message.text()} (${message.location().url})`);
  });
  return {
    page,
    context,
    url,
    problems,
    stopServer: () => server.close(),
    async startServer(again = folder) {
      server = await serve({ root: again, port, ...served });
    },
    async close() {
      await context.close();
      await server.close();
      if (options.profile === undefined) rmSync(profile, { recursive: true, force: true, maxRetries: 5 });
    },
  };
}

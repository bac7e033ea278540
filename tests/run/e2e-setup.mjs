/** Before the end-to-end tests: finds a Chromium, and builds the page unless the runner just did. */
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { findOrInstallChromium } from "./chromium.mjs";

export async function setup() {
  process.env.CHROMIUM_PATH = findOrInstallChromium(console.log);
  if (process.env.PAGE_IS_BUILT) return;
  const root = fileURLToPath(new URL("../../", import.meta.url));
  // Vitest sets NODE_ENV=test, and the page is tested as visitors get it.
  process.env.NODE_ENV = "production";
  await build({ root, configFile: `${root}vite.config.ts`, logLevel: "warn", mode: "production" });
  process.env.NODE_ENV = "test";
}

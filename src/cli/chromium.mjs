/** Where a Chromium is, and how it is started for WebGPU without a GPU: for `bench --page` and the end-to-end tests. */
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";

/** WebGPU on Chromium's SwiftShader, whatever the machine has; no traffic of the browser's own. */
export const chromiumFlags = [
  "--enable-unsafe-webgpu",
  "--use-webgpu-adapter=swiftshader",
  "--no-sandbox",
  "--disable-quic",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

const installed = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  ...[process.env.PROGRAMFILES, process.env["PROGRAMFILES(X86)"], process.env.LOCALAPPDATA]
    .filter((folder) => folder !== undefined)
    .map((folder) => join(String(folder), "Google", "Chrome", "Application", "chrome.exe")),
];
const commands = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/**
 * In this order: CHROMIUM_PATH, the system's, Playwright's.
 * @param {string} cached where Playwright would have put its own (`chromium.executablePath()`)
 * @returns {{ path: string, from: string } | null}
 * @throws if CHROMIUM_PATH names a file that is not there
 */
export function findChromium(cached) {
  const given = process.env.CHROMIUM_PATH;
  if (given) {
    if (!existsSync(given))
      throw new Error(`CHROMIUM_PATH is ${given}, and there is no such file: correct or unset it.`);
    return { path: given, from: "CHROMIUM_PATH" };
  }
  const folders = (process.env.PATH ?? "").split(delimiter);
  const system = [...commands.flatMap((name) => folders.map((folder) => join(folder, name))), ...installed];
  const path = system.find((file) => existsSync(file));
  if (path !== undefined) return { path, from: "the system" };
  return existsSync(cached) ? { path: cached, from: "Playwright's cache" } : null;
}

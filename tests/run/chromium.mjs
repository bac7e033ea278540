/** Finds a Chromium for the end-to-end tests, or installs one. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { delimiter, join } from "node:path";
import { chromium } from "playwright-core";
import { aptInstall, isDebianAsRoot, lastLine } from "./debian.mjs";

const installed = [
  "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
  "/Applications/Chromium.app/Contents/MacOS/Chromium",
  ...[process.env.PROGRAMFILES, process.env["PROGRAMFILES(X86)"], process.env.LOCALAPPDATA]
    .filter((folder) => folder !== undefined)
    .map((folder) => join(String(folder), "Google", "Chrome", "Application", "chrome.exe")),
];
const commands = ["chromium", "chromium-browser", "google-chrome-stable", "google-chrome"];

/**
 * In this order: CHROMIUM_PATH, the system's, Playwright's cache.
 * @returns {{ path: string, from: string } | null}
 * @throws if CHROMIUM_PATH names a file that is not there
 */
export function findChromium() {
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
  const cached = chromium.executablePath();
  return existsSync(cached) ? { path: cached, from: "Playwright's cache" } : null;
}

/**
 * The one that is found, else Debian's package (as root on Debian), else Playwright's build.
 * @param {(line: string) => void} say told each thing that is done
 * @returns {string} path of the executable
 */
export function findOrInstallChromium(say) {
  const found = findChromium();
  if (found) {
    say(`Chromium: ${found.path} (from ${found.from})`);
    return found.path;
  }
  if (isDebianAsRoot()) {
    say("No Chromium found.");
    try {
      aptInstall(say, "chromium");
    } catch (error) {
      say(`apt-get failed: ${lastLine(error)}`);
    }
  }
  if (!findChromium()) {
    say("No Chromium found; running playwright-core install chromium …");
    const cli = join(createRequire(import.meta.url).resolve("playwright-core/package.json"), "..", "cli.js");
    const withLibraries = process.getuid?.() === 0 && process.platform === "linux" ? ["--with-deps"] : [];
    execFileSync(process.execPath, [cli, "install", ...withLibraries, "chromium"], { stdio: "inherit" });
  }
  const now = findChromium();
  if (!now) throw new Error("No Chromium could be installed: install one and set CHROMIUM_PATH to its executable.");
  say(`Chromium: installed ${now.path}`);
  return now.path;
}

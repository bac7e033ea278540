/** Finds a Chromium for the end-to-end tests, or installs one. */
import { execFileSync } from "node:child_process";
import { createRequire } from "node:module";
import { join } from "node:path";
import { chromium } from "playwright-core";
import { findChromium } from "../../src/cli/chromium.mjs";
import { aptInstall, isDebianAsRoot, lastLine } from "./debian.mjs";

const find = () => findChromium(chromium.executablePath());

/**
 * The one that is found, else Debian's package (as root on Debian), else Playwright's build.
 * @param {(line: string) => void} say told each thing that is done
 * @returns {string} path of the executable
 */
export function findOrInstallChromium(say) {
  const found = find();
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
  if (!find()) {
    say("No Chromium found; running playwright-core install chromium …");
    const cli = join(createRequire(import.meta.url).resolve("playwright-core/package.json"), "..", "cli.js");
    const withLibraries = process.getuid?.() === 0 && process.platform === "linux" ? ["--with-deps"] : [];
    execFileSync(process.execPath, [cli, "install", ...withLibraries, "chromium"], { stdio: "inherit" });
  }
  const now = find();
  if (!now) throw new Error("No Chromium could be installed: install one and set CHROMIUM_PATH to its executable.");
  say(`Chromium: installed ${now.path}`);
  return now.path;
}

/** Installs Debian packages for the tests: a software adapter for WebGPU here, Chromium from chromium.mjs. */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";

const release = () => (existsSync("/etc/os-release") ? readFileSync("/etc/os-release", "utf8") : "");

/** Only there may the tests install packages. */
export function isDebianAsRoot() {
  return /^ID=debian$/m.test(release()) && process.getuid?.() === 0;
}

/**
 * For test machines: Debian, root, no GPU. Installs Mesa's drivers (for Debian 12 from backports, added on the mirror
 * that the system already uses) and the Vulkan loader.
 * @param {(line: string) => void} say told each thing that is done
 */
export function installSoftwareAdapter(say) {
  if (!isDebianAsRoot()) {
    say("Mesa is installed only on Debian as root; left as it is.");
    return;
  }
  const bookworm = /^VERSION_CODENAME=bookworm$/m.test(release());
  try {
    if (bookworm) addBackports(say);
    const backports = bookworm ? ["-t", "bookworm-backports"] : [];
    aptInstall(say, ...backports, "mesa-vulkan-drivers");
  } catch (error) {
    say(`Mesa could not be installed (${lastLine(error)}); trying the Vulkan loader alone, for SwiftShader.`);
    try {
      aptInstall(say, "libvulkan1");
    } catch (second) {
      say(`libvulkan1 could not be installed either (${lastLine(second)}).`);
    }
  }
}

/**
 * Installs Debian packages. A list of packages that can't be refreshed is reported, and the install is tried anyway.
 * @param {(line: string) => void} say
 * @param {string[]} packages and options of apt-get install
 * @throws if apt-get install fails
 */
export function aptInstall(say, ...packages) {
  say(`apt-get install ${packages.join(" ")} …`);
  try {
    apt("update");
  } catch (error) {
    say(`apt-get update failed: ${lastLine(error)}`);
  }
  apt("install", "-y", "--no-install-recommends", ...packages);
  say(`Installed ${packages.at(-1)}.`);
}

/** @param {string[]} args */
function apt(...args) {
  execFileSync("apt-get", ["-q", "-o", "Acquire::Retries=2", "-o", "Acquire::http::Timeout=30", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    timeout: 10 * 60 * 1000,
  });
}

/** @param {unknown} error of a child process */
export function lastLine(error) {
  const { stderr, message } = /** @type {{ stderr?: Buffer, message?: string }} */ (error);
  const lines = String(stderr?.length ? stderr : message)
    .trim()
    .split("\n");
  return lines[lines.length - 1] ?? "";
}

/** @param {(line: string) => void} say */
function addBackports(say) {
  const folder = "/etc/apt/sources.list.d";
  const files = ["/etc/apt/sources.list", ...readdirSync(folder).map((name) => join(folder, name))];
  const source = backportsSource(files.filter((file) => existsSync(file)).map((file) => readFileSync(file, "utf8")));
  if (source === null) return;
  writeFileSync(join(folder, source.name), source.text);
  say(`Added bookworm-backports to ${folder}, on the mirror that the system uses.`);
}

/**
 * A source of bookworm-backports on the mirror of the given sources.
 * @param {readonly string[]} texts contents of the files in which apt finds its sources
 * @returns {{ name: string, text: string } | null} file name and content; null if backports are there already
 */
export function backportsSource(texts) {
  const lines = texts.flatMap((text) => text.split("\n")).filter((line) => !line.startsWith("#"));
  if (lines.some((line) => /\bbookworm-backports\b/.test(line))) return null;
  // deb822 stanzas ("URIs: …", "Suites: bookworm …"), else one-line entries ("deb [options] URI bookworm main").
  const stanza = texts
    .flatMap((text) => text.split(/\n\s*\n/))
    .find((part) => /^Suites:(?:.*\s)?bookworm(?:\s|$)/m.test(part) && /^URIs:/m.test(part));
  if (stanza !== undefined) {
    const text = stanza
      .replace(/^#.*\n/gm, "")
      .replace(/^Suites:.*$/m, "Suites: bookworm-backports")
      .replace(/^Components:.*$/m, "Components: main");
    return { name: "bookworm-backports.sources", text: `${text.trim()}\n` };
  }
  const line = lines.find((part) => /^deb\s.*\sbookworm\s/.test(part));
  if (line === undefined) throw new Error("no Debian mirror found in /etc/apt");
  return { name: "bookworm-backports.list", text: `${line.replace(/\sbookworm\s.*$/, " bookworm-backports main")}\n` };
}

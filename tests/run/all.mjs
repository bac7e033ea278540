/**
 * `npm test`: all checks and tests, one after the other; a failure does not stop the rest.
 * Ends with "N passed, N failed": each check counts as one, each test of a test run as one.
 * `npm test -- unit gpu` runs only those steps.
 */
import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { chooseAdapter } from "../../src/cli/adapter.mjs";
import { findOrInstallChromium } from "./chromium.mjs";
import { installSoftwareAdapter } from "./debian.mjs";

const root = fileURLToPath(new URL("../../", import.meta.url));
const reports = join(root, "node_modules", ".cache", "autodidact-tests");

/** @typedef {{ passed: number, failed: number, failures: string[], skipped: string[] }} Counts */

/** @type {{ name: string, title: string, run: () => Promise<Counts> }[]} */
const steps = [
  { name: "chromium", title: "A Chromium", run: () => check("chromium", browser) },
  { name: "adapter", title: "A WebGPU adapter for Node", run: () => check("adapter", adapter) },
  { name: "format", title: "Format", run: () => tool("format", "@biomejs/biome/bin/biome", "format", ".") },
  {
    name: "lint",
    title: "Lint",
    run: () => tool("lint", "@biomejs/biome/bin/biome", "lint", "--error-on-warnings", "."),
  },
  { name: "types", title: "Types", run: () => tool("types", "typescript/bin/tsc", "-p", ".") },
  { name: "layers", title: "Layers", run: () => tests("layers") },
  { name: "dead-code", title: "Dead code", run: () => tool("dead-code", "knip/bin/knip.js", "--no-progress") },
  { name: "build", title: "Build of page and command line", run: () => check("build", build) },
  { name: "unit", title: "Unit tests", run: () => tests("unit") },
  { name: "gpu", title: "Kernels, model and training on WebGPU (Dawn in Node)", run: () => tests("gpu") },
  { name: "e2e", title: "End to end in Chromium", run: () => tests("e2e") },
];

const names = process.argv.slice(2);
const unknown = names.filter((name) => !steps.some((step) => step.name === name));
if (unknown.length > 0) {
  console.error(`No step ${unknown.join(", ")}; the steps are ${steps.map((step) => step.name).join(", ")}.`);
  process.exit(2);
}

/** @type {Counts} */
const total = { passed: 0, failed: 0, failures: [], skipped: [] };
mkdirSync(reports, { recursive: true });
for (const step of steps) {
  if (names.length > 0 && !names.includes(step.name)) continue;
  console.log(`\n── ${step.title}`);
  const started = performance.now();
  const counts = await step.run();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(
    `   ${counts.failed === 0 ? "ok" : "FAILED"}: ${counts.passed} passed, ${counts.failed} failed, ${seconds} s`,
  );
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.failures.push(...counts.failures);
  total.skipped.push(...counts.skipped);
}
console.log("");
for (const name of total.skipped) console.log(`skipped: ${name}`);
for (const name of total.failures) console.log(`failed: ${name}`);
console.log(`${total.passed} passed, ${total.failed} failed`);
process.exit(total.failed === 0 ? 0 : 1);

async function browser() {
  process.env.CHROMIUM_PATH = findOrInstallChromium(console.log);
}

/** A software adapter is installed only on test machines (CI is set): on a person's own, their system is left alone. */
async function adapter() {
  let choice = chooseAdapter();
  if (process.env.CI && (choice.kind === "swiftshader" || choice.kind === "none")) {
    console.log(`${choice.detail}. Looking for a better one …`);
    installSoftwareAdapter(console.log);
    choice = chooseAdapter();
  }
  if (choice.kind === "none") throw new Error(choice.detail);
  console.log(choice.detail);
  Object.assign(process.env, choice.env);
}

async function build() {
  const vite = join(root, "node_modules", "vite", "bin", "vite.js");
  for (const args of [["build"], ["build", "--ssr", "src/cli/main.ts"]]) {
    const code = await spawned([vite, ...args, "--logLevel", "warn"]);
    if (code !== 0) throw new Error(`vite ${args.join(" ")} ended with code ${code}`);
  }
  process.env.PAGE_IS_BUILT = "1";
}

/**
 * @param {string} name
 * @param {() => Promise<void>} work throws if the check fails
 * @returns {Promise<Counts>}
 */
async function check(name, work) {
  try {
    await work();
    return { passed: 1, failed: 0, failures: [], skipped: [] };
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return { passed: 0, failed: 1, failures: [name], skipped: [] };
  }
}

/**
 * A program of node_modules that ends with code 0 if all is well.
 * @param {string} name
 * @param {string} script
 * @param {string[]} args
 */
function tool(name, script, ...args) {
  return check(name, async () => {
    const code = await spawned([join(root, "node_modules", script), ...args]);
    if (code !== 0) throw new Error(`${name} ended with code ${code}`);
  });
}

/**
 * A Vitest project; its JSON report gives the counts.
 * @param {string} project
 * @returns {Promise<Counts>}
 */
async function tests(project) {
  const file = join(reports, `${project}.json`);
  rmSync(file, { force: true });
  const vitest = join(root, "node_modules", "vitest", "vitest.mjs");
  const reporters = ["--reporter=default", "--reporter=json", `--outputFile.json=${file}`];
  const code = await spawned([vitest, "run", "--project", project, ...reporters]);
  /** @type {Counts} */
  const counts = { passed: 0, failed: 0, failures: [], skipped: [] };
  for (const suite of readReport(file)) {
    const name = suite.name.replace(root, "");
    if (suite.status === "failed" && suite.assertionResults.length === 0)
      counts.failures.push(`${name} (did not load)`);
    for (const test of suite.assertionResults) {
      if (test.status === "passed") counts.passed += 1;
      else if (test.status === "failed") counts.failures.push(`${name}: ${test.fullName}`);
      else counts.skipped.push(`${name}: ${test.fullName}`);
    }
  }
  if (code !== 0 && counts.failures.length === 0) counts.failures.push(`${project}: Vitest ended with code ${code}`);
  if (counts.passed === 0 && counts.failures.length === 0) counts.failures.push(`${project}: no test ran`);
  counts.failed = counts.failures.length;
  return counts;
}

/**
 * @param {string} file
 * @returns {{ name: string, status: string, assertionResults: { status: string, fullName: string }[] }[]}
 */
function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, "utf8")).testResults;
  } catch {
    return [];
  }
}

/**
 * @param {string[]} args of Node
 * @returns {Promise<number>} exit code; 1 if a signal ended it
 */
function spawned(args) {
  return new Promise((resolve) => {
    const child = spawn(process.execPath, args, { cwd: root, stdio: "inherit" });
    child.on("close", (code) => resolve(code ?? 1));
    child.on("error", () => resolve(1));
  });
}

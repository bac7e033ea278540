#!/usr/bin/env node
/** `npx autodidact <command>`: chooses a GPU for Dawn, builds the CLI when its sources changed, and runs it. */
import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { chooseAdapter } from "./adapter.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");
const bundle = join(root, "dist", "cli", "autodidact.js");

try {
  if (isStale()) await buildBundle();
  const { env } = chooseAdapter();
  Object.assign(process.env, env); // before Dawn loads: its Vulkan loader reads the environment once
  if ("LD_LIBRARY_PATH" in env) {
    process.exitCode = spawnSync(process.execPath, process.argv.slice(1), { stdio: "inherit" }).status ?? 1;
  } else {
    const { main } = await import(pathToFileURL(bundle).href);
    process.exitCode = await main(process.argv.slice(2));
  }
} catch (error) {
  console.error(error instanceof Error ? (process.env.DEBUG ? error.stack : error.message) : error);
  process.exitCode = 1;
}

/** Is the bundle missing or older than something it is made of? */
function isStale() {
  if (!existsSync(bundle)) return true;
  const built = statSync(bundle).mtimeMs;
  return ["src", "shaders", "vite.config.ts", "package.json"].some((name) => newest(join(root, name)) > built);
}

/**
 * @param {string} path
 * @returns {number} latest modification time in path or below it, milliseconds
 */
function newest(path) {
  const here = statSync(path, { throwIfNoEntry: false });
  if (here === undefined) return 0;
  if (!here.isDirectory()) return here.mtimeMs;
  return readdirSync(path).reduce((latest, name) => Math.max(latest, newest(join(path, name))), here.mtimeMs);
}

/** Builds beside the target and moves it there, so that two commands started at once do not see half a file. */
async function buildBundle() {
  const { build } = await import("vite");
  const folder = join(root, "dist", `cli.${process.pid}`);
  try {
    await build({
      root,
      configFile: join(root, "vite.config.ts"),
      logLevel: "warn",
      build: { ssr: "src/cli/main.ts", outDir: folder },
    });
    mkdirSync(dirname(bundle), { recursive: true });
    renameSync(join(folder, "autodidact.js"), bundle);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

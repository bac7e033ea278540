/** `npm start`: builds the page, serves it on this machine and opens it in the default browser. */
import { spawn } from "node:child_process";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "vite";
import { serve } from "./serve.mjs";

const root = join(dirname(fileURLToPath(import.meta.url)), "..", "..");

/** A browser keeps runs per address, port included: the same port each time, or the runs seem to be gone. */
const usualPort = 4173;

await build({ root, configFile: join(root, "vite.config.ts"), logLevel: "warn" });
const page = await serveAtUsualPort();
console.log(`Autodidact: ${page.url}\nEverything runs on this machine. Ctrl+C stops the server.`);
openInBrowser(page.url);
for (const signal of /** @type {const} */ (["SIGINT", "SIGTERM"])) {
  process.once(signal, () => void page.close().then(() => process.exit(0)));
}

async function serveAtUsualPort() {
  const folder = join(root, "dist", "page");
  const port = process.env.PORT === undefined ? usualPort : Number(process.env.PORT);
  if (!Number.isInteger(port) || port < 0 || port > 65535) {
    throw new Error(`PORT is "${process.env.PORT}": give a whole number from 0 to 65535.`);
  }
  try {
    return await serve({ root: folder, port });
  } catch (error) {
    if (/** @type {NodeJS.ErrnoException} */ (error).code !== "EADDRINUSE") throw error;
    const other = await serve({ root: folder });
    console.log(`Port ${port} is taken, so this is port ${other.port}. Runs stored at ${port} are not shown here.`);
    return other;
  }
}

/** @param {string} url */
function openInBrowser(url) {
  const hasDisplay = process.platform !== "linux" || process.env.DISPLAY || process.env.WAYLAND_DISPLAY;
  if (!hasDisplay || process.env.CI || process.env.BROWSER === "none") return;
  /** @type {[string, string[]]} */
  const [command, args] =
    process.platform === "darwin"
      ? ["open", [url]]
      : process.platform === "win32"
        ? ["cmd", ["/c", "start", "", url]]
        : ["xdg-open", [url]];
  const child = spawn(command, args, { stdio: "ignore", detached: true });
  child.on("error", () => console.log(`Open ${url} in a browser with WebGPU.`));
  child.unref();
}

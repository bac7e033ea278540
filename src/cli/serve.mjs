/** A static server for dist/page on the loopback interface, with the page's headers. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import { createServer } from "node:http";
import { extname, join, normalize, relative, sep } from "node:path";
import { headersOf, pageHeaders } from "./headers.mjs";

/** @type {Record<string, string>} */
const types = {
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".mjs": "text/javascript; charset=utf-8",
  ".css": "text/css; charset=utf-8",
  ".json": "application/json; charset=utf-8",
  ".jsonl": "application/jsonl; charset=utf-8",
  ".webmanifest": "application/manifest+json; charset=utf-8",
  ".svg": "image/svg+xml",
  ".png": "image/png",
  ".wasm": "application/wasm",
  ".md": "text/markdown; charset=utf-8",
};

/**
 * Serves a folder until closed.
 * @param {{ root: string, port?: number, host?: string, headers?: Record<string, string> }} options
 *   root: folder with index.html · port: 0 (default) for any free one · headers: instead of the page's own
 * @returns {Promise<{ url: string, port: number, close: () => Promise<void> }>} rejects with EADDRINUSE if the port is taken
 */
export async function serve({ root, port = 0, host = "127.0.0.1", headers = pageHeaders() }) {
  const server = createServer(async (request, response) => {
    const file = await fileFor(root, request.url ?? "/");
    const path = file === null ? "" : relative(root, file.path).split(sep).join("/");
    for (const [name, value] of Object.entries(headersOf(path, headers))) response.setHeader(name, value);
    if (request.method !== "GET" && request.method !== "HEAD") {
      response.writeHead(405, { Allow: "GET, HEAD" }).end();
    } else if (file === null) {
      response.writeHead(404, { "Content-Type": "text/plain; charset=utf-8" }).end("Not found\n");
    } else {
      response.writeHead(200, {
        "Content-Type": types[extname(file.path)] ?? "application/octet-stream",
        "Content-Length": file.size,
        // Names under assets/ carry a hash of their content; everything else must be asked for again.
        "Cache-Control": file.path.includes(`${sep}assets${sep}`) ? "public, max-age=31536000, immutable" : "no-cache",
      });
      if (request.method === "HEAD") response.end();
      else
        createReadStream(file.path)
          .on("error", () => response.destroy())
          .pipe(response);
    }
  });
  await new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => resolve(undefined));
  });
  const address = server.address();
  const actual = typeof address === "object" && address !== null ? address.port : port;
  return {
    url: `http://${host}:${actual}/`,
    port: actual,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/**
 * @param {string} root
 * @param {string} url path of the request
 * @returns {Promise<{ path: string, size: number } | null>} null for what is not a file inside root
 */
async function fileFor(root, url) {
  let name;
  try {
    name = normalize(decodeURIComponent(new URL(url, "http://page/").pathname));
  } catch {
    return null;
  }
  const path = join(root, name.endsWith(sep) ? join(name, "index.html") : name);
  if (!path.startsWith(join(root, sep))) return null;
  const found = await stat(path).catch(() => null);
  return found?.isFile() ? { path, size: found.size } : null;
}

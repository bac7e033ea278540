/**
 * The service worker: after the first visit the page works with the server stopped.
 *
 * At build time __PRECACHE__ becomes the list of all files of the page (shell, workers, wasm, weights) with their SHA-256.
 * install   fetches what is new, refuses a file whose hash is wrong, keeps what another version already fetched
 * activate  drops what this version does not list
 * fetch     answers from the list; anything else goes to the network
 *
 * A new version waits until no page of the old one is open, or until the page asks for it ("activate"), so an update
 * never lands in the middle of a run. This file imports nothing, since it must be a script of its own.
 */
export {};

declare const __PRECACHE__: readonly { readonly path: string; readonly sha256: string }[];
declare const __PAGE_HEADERS__: Readonly<Record<string, string>>;
declare const __SANDBOX_HEADERS__: Readonly<Record<string, string>>;

/** This script's global scope; typed here since the library of types also has a window. */
const worker = globalThis as unknown as ServiceWorkerGlobalScope;

const cacheName = "autodidact-files";
const files = new Map(__PRECACHE__.map(({ path, sha256 }) => [path, sha256]));

/** Stored under its content's hash, so that versions share what did not change. */
const keyOf = (path: string, sha256: string) => new URL(`${path}?sha256=${sha256}`, worker.registration.scope).href;

worker.addEventListener("install", (event) => event.waitUntil(install()));
worker.addEventListener("activate", (event) => event.waitUntil(activate()));
worker.addEventListener("message", (event) => {
  if (event.data === "activate") void worker.skipWaiting();
  if (event.data === "base") event.ports[0]?.postMessage(files.get("models/policy/model.safetensors") ?? null);
});
worker.addEventListener("fetch", (event) => {
  const path = listedPath(event.request);
  if (path !== null) event.respondWith(answer(event.request, path));
});

async function install(): Promise<void> {
  const cache = await caches.open(cacheName);
  for (const [path, sha256] of files) {
    const key = keyOf(path, sha256);
    if ((await cache.match(key)) !== undefined) continue;
    const response = await fetch(new URL(path, worker.registration.scope), { cache: "no-cache" });
    if (!response.ok) throw new Error(`${path}: the server answered ${response.status}`);
    const bytes = await response.arrayBuffer();
    const actual = hex(await crypto.subtle.digest("SHA-256", bytes));
    if (actual !== sha256) throw new Error(`${path}: SHA-256 is ${actual}, this version of the page wants ${sha256}`);
    const headers = new Headers({ "Content-Type": response.headers.get("Content-Type") ?? "application/octet-stream" });
    headers.set("Content-Length", String(bytes.byteLength));
    await cache.put(key, new Response(bytes, { headers }));
  }
}

async function activate(): Promise<void> {
  const cache = await caches.open(cacheName);
  const wanted = new Set([...files].map(([path, sha256]) => keyOf(path, sha256)));
  for (const request of await cache.keys()) {
    if (!wanted.has(request.url)) await cache.delete(request);
  }
  await worker.clients.claim();
}

/** Path of a listed file that this request asks for, relative to the page; null for everything else. */
function listedPath(request: Request): string | null {
  const url = new URL(request.url);
  const scope = new URL(worker.registration.scope);
  if (request.method !== "GET" || url.origin !== scope.origin || !url.pathname.startsWith(scope.pathname)) return null;
  const path = decodeURIComponent(url.pathname.slice(scope.pathname.length));
  if (path === "") return files.has("index.html") ? "index.html" : null;
  return files.has(path) ? path : null;
}

/** The stored file with the page's own headers: isolation and policy hold on hosts that send none. */
async function answer(request: Request, path: string): Promise<Response> {
  const sha256 = files.get(path);
  const cache = await caches.open(cacheName);
  const stored = sha256 === undefined ? undefined : await cache.match(keyOf(path, sha256));
  if (stored === undefined) return fetch(request); // the browser evicted it
  const headers = new Headers(stored.headers);
  const wanted = path === "sandbox.html" ? __SANDBOX_HEADERS__ : __PAGE_HEADERS__;
  for (const [name, value] of Object.entries(wanted)) headers.set(name, value);
  // Not the stream of the body: as long as somebody reads it slowly, this version could not give way to the next.
  return new Response(await stored.blob(), { headers });
}

function hex(bytes: ArrayBuffer): string {
  return Array.from(new Uint8Array(bytes), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * The HTTP headers of every response and the page's content security policy: the one place where they are written.
 * Used by the dev server, `npm start`, the end-to-end tests, the service worker (through a build-time constant, so
 * that hosts which send no headers still get an isolated page after the first visit) and the page's own meta tag.
 */

/** Nothing leaves this machine: every fetch goes back to where the page came from. */
const policy = {
  "default-src": ["'self'"],
  "script-src": ["'self'", "'wasm-unsafe-eval'"], // WebAssembly of the ONNX judge; no eval of JavaScript
  "worker-src": ["'self'", "blob:"],
  "connect-src": ["'self'"],
  "img-src": ["'self'", "data:", "blob:"],
  "style-src": ["'self'"],
  "object-src": ["'none'"],
  "base-uri": ["'none'"],
  "form-action": ["'none'"],
};

/**
 * @param {{ dev?: boolean }} [options] dev: also allow what Vite's dev server needs (inline styles, its web socket)
 * @returns {string} value of Content-Security-Policy
 */
export function contentSecurityPolicy({ dev = false } = {}) {
  const extra = /** @type {Record<string, string[]>} */ (
    dev ? { "style-src": ["'unsafe-inline'"], "connect-src": ["ws:"] } : {}
  );
  return Object.entries(policy)
    .map(([name, sources]) => [name, ...sources, ...(extra[name] ?? [])].join(" "))
    .join("; ");
}

/**
 * Cross-origin isolation (threads for onnxruntime-web, exact memory readings) and the policy above.
 * @param {{ dev?: boolean }} [options]
 * @returns {Record<string, string>}
 */
export function pageHeaders(options) {
  return {
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Content-Security-Policy": contentSecurityPolicy(options),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
  };
}

/**
 * The HTTP headers of every response and the page's content security policy: the one place where they are written.
 * Used by the dev server, `npm start`, the end-to-end tests, the service worker (through a build-time constant, so
 * that hosts which send no headers still get an isolated page after the first visit) and the page's own meta tag.
 */

/**
 * Where Hugging Face's hub serves files from, and nothing else: its address and the hosts to which it redirects a
 * browser's downloads (July 2026). docs/SECURITY.md lists them too, and says where the hub keeps the current list.
 */
export const hubHosts = [
  "https://huggingface.co",
  "https://us.aws.cdn.hf.co",
  "https://eu.aws.cdn.hf.co",
  "https://us.gcp.cdn.hf.co",
  "https://cas-bridge.xethub.hf.co",
  "https://cas-bridge.xethub-eu.hf.co",
  "https://cdn-lfs-us-1.hf.co",
  "https://cdn-lfs-eu-1.hf.co",
];

/** What is not named is forbidden. */
const policy = {
  "default-src": ["'none'"],
  "script-src": ["'self'", "'wasm-unsafe-eval'"], // WebAssembly of the ONNX judge; no inline scripts, no eval
  "worker-src": ["'self'"],
  "connect-src": ["'self'", ...hubHosts],
  "img-src": ["'self'", "data:", "blob:"],
  "style-src": ["'self'"],
  "manifest-src": ["'self'"],
  "frame-src": ["'self'"], // sandbox.html
  "object-src": ["'none'"],
  "base-uri": ["'none'"],
  "form-action": ["'none'"],
};

/** Works in a header only; browsers complain about it in a meta tag. */
const headerOnly = "frame-ancestors 'none'";

/** The frame in which a visitor's verifier runs; sandbox.html says the first three itself, for hosts that send no headers. */
const sandboxPolicy = [
  "default-src 'none'",
  "script-src 'sha256-SLhvhHwg9uKcAHQ3PKW2dAsORpf6AjiulCBxRXtQXIQ=' 'unsafe-eval'",
  "worker-src blob:",
  "sandbox allow-scripts",
  "frame-ancestors 'self'",
].join("; ");

/**
 * The policy of the page's meta tag.
 * @param {{ dev?: boolean }} [options] dev: also allow what Vite's dev server needs (inline styles and scripts, its web socket)
 * @returns {string} value of Content-Security-Policy
 */
export function contentSecurityPolicy({ dev = false } = {}) {
  const extra = /** @type {Record<string, string[]>} */ (
    dev ? { "style-src": ["'unsafe-inline'"], "script-src": ["'unsafe-inline'"], "connect-src": ["ws:"] } : {}
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
    "Content-Security-Policy": `${contentSecurityPolicy(options)}; ${headerOnly}`,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
  };
}

/**
 * Headers of one file of the page.
 * @param {string} path below the page's address, without a leading slash
 * @param {Record<string, string>} [headers] those of every other file
 * @returns {Record<string, string>}
 */
export function headersOf(path, headers = pageHeaders()) {
  return path === "sandbox.html" && "Content-Security-Policy" in headers
    ? { ...headers, "Content-Security-Policy": sandboxPolicy }
    : headers;
}

/// <reference types="vitest/config" />
import { createHash } from "node:crypto";
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { defaultClientConditions, defineConfig, type Plugin } from "vite";
import { contentSecurityPolicy, headersOf, pageHeaders } from "./src/cli/headers.mjs";

/**
 * Three things are made here:
 *   vite build                          the page, dist/page: index.html, module workers, sw.js, public/
 *   vite build --ssr src/cli/main.ts    the command line, dist/cli/autodidact.js: one file, packages left outside
 *   vitest --project unit|layers|gpu|e2e
 */
export default defineConfig(({ isSsrBuild, command }) => {
  const project = JSON.parse(readFileSync(new URL("./package.json", import.meta.url), "utf8"));
  return {
    base: "./", // the page also works in a subfolder of a static host
    define: {
      __VERSION__: JSON.stringify(project.version),
      __ORT_VERSION__: JSON.stringify(project.dependencies["onnxruntime-web"]),
      __PAGE_HEADERS__: JSON.stringify(pageHeaders()),
      __SANDBOX_HEADERS__: JSON.stringify(headersOf("sandbox.html")),
    },
    resolve: isSsrBuild
      ? {}
      : // onnxruntime-web without its glue inside: glue and wasm are files of this build (import … from "…?url").
        { conditions: ["onnxruntime-web-use-extern-wasm", ...defaultClientConditions] },
    optimizeDeps: { exclude: ["onnxruntime-web"] },
    oxc: { jsx: { runtime: "automatic", importSource: "preact" } },
    worker: { format: "es" },
    build: isSsrBuild ? commandLine : page,
    server: { headers: pageHeaders({ dev: true }) },
    preview: { headers: pageHeaders() },
    plugins: command === "build" && !isSsrBuild ? [policyInPage(), precacheInServiceWorker()] : [],
    test: { projects: [layers, unit, gpu, e2e] },
  };
});

const page = {
  target: "es2022",
  outDir: "dist/page",
  emptyOutDir: true,
  sourcemap: true,
  assetsInlineLimit: 0, // a file of its own for everything: the policy forbids data: scripts, and hashes cache better
  modulePreload: { polyfill: false },
  chunkSizeWarningLimit: 600,
  rolldownOptions: {
    input: { index: "index.html", sw: "src/ui/sw.ts" },
    output: {
      // The service worker's address must not change, and it must stand at the top to see the whole page.
      entryFileNames: (chunk: { name: string }) => (chunk.name === "sw" ? "sw.js" : "assets/[name]-[hash].js"),
    },
  },
};

const commandLine = {
  target: "node20",
  outDir: "dist/cli",
  copyPublicDir: false,
  rolldownOptions: { output: { entryFileNames: "autodidact.js", codeSplitting: false } },
};

const unit = {
  extends: true as const,
  test: {
    name: "unit",
    include: ["tests/**/*.test.{ts,tsx}"],
    exclude: ["tests/{layers,gpu,ops,model,train,commands,faults,e2e}/**"],
    testTimeout: 60_000,
    maxWorkers: 2,
  },
};

const layers = { extends: true as const, test: { name: "layers", include: ["tests/layers/*.test.ts"] } };

/** On WebGPU through Dawn: one file after the other, each in a process of its own. */
const gpu = {
  extends: true as const,
  test: {
    name: "gpu",
    include: ["tests/{gpu,ops,model,train,commands,faults}/**/*.test.ts"],
    globalSetup: ["tests/run/gpu-setup.mjs"],
    pool: "forks" as const,
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
    sequence: { groupOrder: 1 },
  },
};

/** In a real Chromium, on the built page. */
const e2e = {
  extends: true as const,
  test: {
    name: "e2e",
    include: ["tests/e2e/*.test.ts"],
    globalSetup: ["tests/run/e2e-setup.mjs"],
    pool: "forks" as const,
    maxWorkers: 1,
    fileParallelism: false,
    testTimeout: 600_000,
    hookTimeout: 120_000,
    sequence: { groupOrder: 2 },
  },
};

/** The policy as a meta tag, for hosts that send no headers. */
function policyInPage(): Plugin {
  return {
    name: "autodidact:policy",
    transformIndexHtml: () => [
      {
        tag: "meta",
        attrs: { "http-equiv": "Content-Security-Policy", content: contentSecurityPolicy() },
        injectTo: "head-prepend",
      },
    ],
  };
}

/** Writes the list of all files of the built page with their SHA-256 into sw.js, in place of __PRECACHE__. */
function precacheInServiceWorker(): Plugin {
  return {
    name: "autodidact:precache",
    enforce: "post",
    writeBundle({ dir }) {
      if (dir === undefined || !existsSync(join(dir, "sw.js"))) return;
      const files = filesBelow(dir)
        .map((path) => relative(dir, path).split(sep).join("/"))
        .filter((path) => path !== "sw.js" && !path.endsWith(".map"))
        .sort()
        .map((path) => ({
          path,
          sha256: createHash("sha256")
            .update(readFileSync(join(dir, path)))
            .digest("hex"),
        }));
      const worker = readFileSync(join(dir, "sw.js"), "utf8");
      if (!worker.includes("__PRECACHE__")) this.error("sw.js has no place for the list of files (__PRECACHE__)");
      if (/^\s*(import|export)\b/m.test(worker)) this.error("sw.js must stand alone: it imports or exports something");
      writeFileSync(join(dir, "sw.js"), worker.replace("__PRECACHE__", JSON.stringify(files)));
    },
  };
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder).flatMap((name) => {
    const path = join(folder, name);
    return statSync(path).isDirectory() ? filesBelow(path) : [path];
  });
}

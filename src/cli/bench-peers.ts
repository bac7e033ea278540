/**
 * `bench --peers`: this engine against other libraries of the browser, in one Chromium. Every contestant has a page of
 * its own (src/bench/peers); they open the same work and run it in turns, round by round.
 */
import { existsSync, readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import type { BrowserContext, Page } from "playwright-core";
import type { Run } from "../bench/peers/page.ts";
import { expectedProduct, type Size, WORKS, type Work } from "../bench/peers/workloads.ts";
import type { Calls } from "../gpu/counts.ts";
import { chromiumFlags, findChromium } from "./chromium.mjs";
import { agreeing, type Outcome, OWN, type WorkResult } from "./peer-report.ts";
import { serve } from "./serve.mjs";

const FOLDER = "src/bench/peers";
export const CONTESTANTS = [OWN, "@jax-js/jax", "@tensorflow/tfjs-core", "onnxruntime-web"] as const;
export type ContestantName = (typeof CONTESTANTS)[number];

/** Losses of the same step differ by rounding only; AdamW's first steps divide tiny gradients by themselves. */
const LOSS_TOLERANCE = 2e-3;
/** f32 sums of up to 1,024 products against float64, relative to the typical size of an element. */
const PRODUCT_TOLERANCE = 1e-5;

export interface PeersOptions {
  readonly size: Size;
  /** Runs after the first one. */
  readonly rounds: number;
  readonly contestants?: readonly ContestantName[];
  /** Only works whose name contains this. */
  readonly only?: string;
  /** After this much time on one work a contestant with two timed runs gets no more. */
  readonly patienceSeconds: number;
  /** SwiftShader even where there is a GPU. */
  readonly software: boolean;
  readonly note: (line: string) => void;
}

export interface PeersReport {
  readonly browser: string;
  readonly adapter: string;
  readonly software: boolean;
  readonly versions: Readonly<Record<string, string>>;
  readonly names: readonly string[];
  readonly results: readonly WorkResult[];
}

/** Throws in plain words if a tool or package is missing. */
export async function benchPeers(options: PeersOptions): Promise<PeersReport> {
  const { note, size } = options;
  const names = options.contestants ?? CONTESTANTS;
  const built = await mkdtemp(join(tmpdir(), "autodidact-peers-"));
  const closing: (() => Promise<unknown>)[] = [() => rm(built, { recursive: true, force: true })];
  try {
    note("building the contestants' page");
    await buildPage(built);
    const isolated = {
      "Cross-Origin-Opener-Policy": "same-origin",
      "Cross-Origin-Embedder-Policy": "require-corp",
      "Cross-Origin-Resource-Policy": "same-origin",
    };
    const server = await serve({ root: built, headers: isolated });
    closing.push(() => server.close());
    const { context, software } = await startBrowser(server.url, options.software, closing);
    const pages = new Map<string, Page>();
    const failures = new Map<string, string>();
    const adapters = new Map<string, string>();
    for (const name of names) {
      const page = await context.newPage();
      await page.goto(`${server.url}?name=${encodeURIComponent(name)}`);
      const adapter = await ask<string>(page, "c.adapter");
      if (adapter.ok) adapters.set(name, adapter.value);
      else failures.set(name, adapter.reason);
      pages.set(name, page);
    }
    const results: WorkResult[] = [];
    for (const [index, work] of WORKS[size].entries()) {
      if (options.only !== undefined && !work.name.includes(options.only)) continue;
      note(work.name);
      results.push({ work, outcomes: await oneWork(work, index, pages, failures, options) });
    }
    return {
      browser: `Chromium ${context.browser()?.version() ?? ""}`.trim(),
      adapter: adapters.get(OWN) ?? "unknown",
      software,
      versions: versionsOf(names),
      names,
      results,
    };
  } finally {
    for (const close of closing.reverse()) await close();
  }
}

/** Bundles src/bench/peers with everything that the contestants import. */
async function buildPage(outDir: string): Promise<void> {
  if (!existsSync(join(FOLDER, "index.html")))
    throw new Error(`there is no ${FOLDER} here: run bench --peers in the project's folder`);
  const { build } = await import("vite");
  await build({
    configFile: false,
    root: resolve(FOLDER),
    base: "./",
    logLevel: "error",
    build: { outDir, emptyOutDir: true, target: "es2022", assetsInlineLimit: 0, chunkSizeWarningLimit: 10_000 },
  });
}

/** A browser on the machine's GPU if it has one, else on SwiftShader. */
async function startBrowser(
  url: string,
  forced: boolean,
  closing: (() => Promise<unknown>)[],
): Promise<{ context: BrowserContext; software: boolean }> {
  const { chromium } = await import("playwright-core").catch(() => {
    throw new Error("bench --peers drives a browser with playwright-core, which is not installed: run npm ci first");
  });
  const found = findChromium(chromium.executablePath());
  if (!found) throw new Error("bench --peers found no Chromium: install one, or set CHROMIUM_PATH to its executable");
  const hardware = chromiumFlags.filter((flag) => !flag.startsWith("--use-webgpu-adapter"));
  for (const flags of forced ? [chromiumFlags] : [hardware, chromiumFlags]) {
    const profile = await mkdtemp(join(tmpdir(), "autodidact-peers-profile-"));
    const context = await chromium.launchPersistentContext(profile, {
      executablePath: found.path,
      headless: true,
      args: [...flags],
    });
    const close = async () => {
      await context.close();
      await rm(profile, { recursive: true, force: true, maxRetries: 5 });
    };
    const software = flags === chromiumFlags;
    if (software || (await hasGpu(context, url))) {
      closing.push(close);
      return { context, software };
    }
    await close();
  }
  throw new Error("bench --peers found no WebGPU adapter in Chromium");
}

async function hasGpu(context: BrowserContext, url: string): Promise<boolean> {
  const page = await context.newPage();
  await page.goto(`${url}index.html?name=none`);
  const answer = await page.evaluate(
    `navigator.gpu?.requestAdapter().then((a) => a !== null && !a.info.isFallbackAdapter && !/swiftshader|llvmpipe/i.test(a.info.architecture + a.info.description)) ?? false`,
  );
  await page.close();
  return answer === true;
}

type Asked<T> = { readonly ok: true; readonly value: T } | { readonly ok: false; readonly reason: string };

/** Evaluates `expression` of the contestant `c` in its page. */
async function ask<T>(page: Page, expression: string): Promise<Asked<T>> {
  try {
    return { ok: true, value: (await page.evaluate(`contestant.then((c) => ${expression})`)) as T };
  } catch (error) {
    const text = error instanceof Error ? error.message : String(error);
    return { ok: false, reason: (text.replace(/^page\.evaluate: /, "").split("\n")[0] as string).slice(0, 200) };
  }
}

/** All contestants on one work: opened, run once, compared, then run in turns. */
async function oneWork(
  work: Work,
  index: number,
  pages: ReadonlyMap<string, Page>,
  failures: ReadonlyMap<string, string>,
  { size, rounds, patienceSeconds, note }: PeersOptions,
): Promise<Record<string, Outcome>> {
  const outcomes: Record<string, Outcome> = {};
  const values: Record<string, number[]> = {};
  const times: Record<string, number[]> = {};
  const calls: Record<string, Calls> = {};
  const run = async (name: string, page: Page): Promise<void> => {
    const result = await ask<Run>(page, "c.run()");
    if (!result.ok) {
      outcomes[name] = { kind: "failed", reason: result.reason };
      return;
    }
    values[name] = [...(values[name] ?? []), ...result.value.values];
    times[name] = [...(times[name] ?? []), result.value.milliseconds];
    calls[name] = result.value.calls;
    note(`  ${name}: ${result.value.milliseconds.toFixed(0)} ms`);
  };
  for (const [name, page] of pages) {
    const opened = await ask<boolean>(page, `c.open(${JSON.stringify(size)}, ${index})`);
    const failure = failures.get(name) ?? (opened.ok ? null : opened.reason);
    if (failure !== null) outcomes[name] = { kind: "failed", reason: failure };
    else if (opened.ok && !opened.value) outcomes[name] = { kind: "absent" };
    else await run(name, page);
  }
  for (let round = 0; round < rounds; round++) {
    // Another one begins each round, so that nobody always follows the same neighbour.
    const order = [...pages].map((_, i) => [...pages][(i + round) % pages.size] as [string, Page]);
    for (const [name, page] of order) {
      const spent = (times[name] ?? []).reduce((a, b) => a + b, 0) / 1000;
      const tired = spent > patienceSeconds && (times[name]?.length ?? 0) > 2;
      if (outcomes[name] === undefined && !tired) await run(name, page);
    }
  }
  const products: Record<string, number[]> = {};
  for (const [name, page] of pages) {
    if (outcomes[name] === undefined && work.kind === "matmul") {
      const checked = await ask<number[]>(page, "c.check()");
      if (checked.ok) products[name] = checked.value;
      else outcomes[name] = { kind: "failed", reason: checked.reason };
    }
    await ask(page, "c.close()");
  }
  const right = work.kind === "matmul" ? correctProducts(work, products) : compared(work, values, rounds);
  for (const [name, all] of Object.entries(times)) {
    if (outcomes[name] !== undefined) continue;
    const [first, ...runs] = all as [number, ...number[]];
    const shown = right.shown[name] ?? "";
    outcomes[name] = right.names.has(name)
      ? { kind: "timed", first, runs, calls: calls[name] as Calls, shown }
      : { kind: "wrong", reason: `${shown}, which is not what ${right.against} found` };
  }
  return outcomes;
}

interface Verdict {
  readonly names: ReadonlySet<string>;
  readonly shown: Readonly<Record<string, string>>;
  /** Whose values are believed, for the report of one that deviates. */
  readonly against: string;
}

/** Products against float64: the error of an element relative to √n, the size of one. */
function correctProducts(work: Work & { kind: "matmul" }, products: Readonly<Record<string, number[]>>): Verdict {
  const expected = expectedProduct(work);
  const errors = Object.entries(products).map(([name, product]): [string, number] => {
    const worst = expected.map((value, i) => Math.abs(value - (product[i] ?? Number.NaN)) / Math.sqrt(work.n));
    return [name, worst.some(Number.isNaN) ? Number.POSITIVE_INFINITY : Math.max(...worst)];
  });
  return {
    names: new Set(errors.filter(([, error]) => error <= PRODUCT_TOLERANCE).map(([name]) => name)),
    shown: Object.fromEntries(errors.map(([name, error]) => [name, `error ${error.toExponential(1)}`])),
    against: "float64",
  };
}

/** Losses of the steps that all made, or all tokens, against each other. */
function compared(work: Work, values: Readonly<Record<string, number[]>>, rounds: number): Verdict {
  const perRun = work.kind === "decode" ? work.batch * work.newTokens : 1;
  const common = Math.min((rounds + 1) * perRun, ...Object.values(values).map((list) => list.length));
  const cut = Object.fromEntries(Object.entries(values).map(([name, list]) => [name, list.slice(0, common)]));
  const names = agreeing(cut, work.kind === "train" ? LOSS_TOLERANCE : 0);
  const show = (list: readonly number[]) =>
    work.kind === "train"
      ? `loss ${list[0]?.toFixed(4)} → ${list.at(-1)?.toFixed(4)}`
      : `tokens ${list.slice(0, 4).join(" ")} … ${list[perRun - 1]}`;
  return {
    names,
    shown: Object.fromEntries(Object.entries(cut).map(([name, list]) => [name, show(list)])),
    against: names.size > 0 ? [...names].join(" and ") : "any other",
  };
}

/** Of the installed packages; this project's own stands for the engine. */
function versionsOf(names: readonly string[]): Record<string, string> {
  const read = (path: string) => (JSON.parse(readFileSync(path, "utf8")) as { version: string }).version;
  return Object.fromEntries(
    names.map((name) => [name, read(name === OWN ? "package.json" : join("node_modules", name, "package.json"))]),
  );
}

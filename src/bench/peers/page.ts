/** One contestant in one page: `?name=` says which; `bench --peers` drives it through `globalThis.contestant`. */
import { type Calls, countCalls } from "../../gpu/counts.ts";
import type { Contestant, Session } from "./contestant.ts";
import { type Size, WORKS } from "./workloads.ts";

/** A new contestant is a file beside this one and a line here. */
const contestants: Readonly<Record<string, () => Promise<{ open(): Promise<Contestant> }>>> = {
  autodidact: () => import("./autodidact.ts"),
  "@jax-js/jax": () => import("./jax.ts"),
  "@tensorflow/tfjs-core": () => import("./tensorflow.ts"),
  "onnxruntime-web": () => import("./onnx.ts"),
};

export interface Run {
  readonly milliseconds: number;
  /** What it asked of WebGPU. */
  readonly calls: Calls;
  readonly values: readonly number[];
}

/** What the page offers to the driver. Values only: they cross from the browser to Node. */
export interface ContestantPage {
  readonly adapter: string;
  /** Opens workload number `index`; false if the contestant cannot do such work. */
  open(size: Size, index: number): Promise<boolean>;
  run(): Promise<Run>;
  check(): Promise<readonly number[] | null>;
  close(): Promise<void>;
}

async function start(name: string): Promise<ContestantPage> {
  const load = contestants[name];
  if (!load) throw new Error(`there is no contestant ${name}; there are ${Object.keys(contestants).join(", ")}`);
  const calls = countCalls();
  const contestant = await (await load()).open();
  let session: Session | null = null;
  const opened = (): Session => {
    if (!session) throw new Error("no workload is open");
    return session;
  };
  return {
    adapter: contestant.adapter,
    async open(size, index) {
      const work = WORKS[size][index];
      if (!work) throw new Error(`there is no workload ${index} of size ${size}`);
      if (work.kind === "matmul") session = await contestant.matmul(work);
      else if (work.kind === "train") session = (await contestant.train?.(work)) ?? null;
      else session = (await contestant.decode?.(work)) ?? null;
      return session !== null;
    },
    async run() {
      calls.take();
      const began = performance.now();
      const values = await opened().run();
      return { milliseconds: performance.now() - began, calls: calls.take(), values };
    },
    check: async () => (await opened().check?.()) ?? null,
    async close() {
      await session?.close();
      session = null;
    },
  };
}

declare global {
  var contestant: Promise<ContestantPage>;
}

globalThis.contestant = start(new URL(location.href).searchParams.get("name") ?? "");

/** What an adapter can do at most: the measure for "share of the peak" in profiles and benchmarks. */
import { f32, Graph, read, write } from "../gpu/graph.ts";
import type { Pipelines } from "../gpu/pipelines.ts";
import { compile, type Plan } from "../gpu/plan.ts";

export interface Peak {
  /** f32 multiply-adds in independent unrolled chains, 10⁹ floating-point operations a second. */
  readonly gflops: number;
  /** A vec4 copy of 16 MiB, bytes read and bytes written, 10⁹ a second. */
  readonly copyGBs: number;
}

const THREADS = 64 * 256;
const TURNS = 64;
const COPY = 1 << 20; // vec4

/**
 * Measures both in about half a second on a slow adapter: best of `repeat` submits of at least 15 ms each. Call it while
 * nothing else runs on the adapter.
 */
export async function measurePeak(
  { device, pipelines }: { readonly device: GPUDevice; readonly pipelines: Pipelines },
  repeat = 5,
): Promise<Peak> {
  const fma = await Promise.all(
    [2, 8].map((chains) => compile(`peak fma ${chains}`, chain(chains), device, pipelines)),
  );
  const copy = await compile("peak copy", copying(), device, pipelines);
  const done = () => pipelines.patience.around(() => device.queue.onSubmittedWorkDone());
  try {
    const rates: number[] = [];
    for (const plan of fma) rates.push(plan.flops / (await fastest(done, plan, repeat)) / 1e6);
    return { gflops: Math.max(...rates), copyGBs: (2 * 16 * COPY) / (await fastest(done, copy, repeat)) / 1e6 };
  } finally {
    for (const plan of [...fma, copy]) plan.destroy();
  }
}

function chain(CHAINS: number): Graph {
  const g = new Graph();
  g.dispatch({
    shader: `peak_fma?CHAINS=${CHAINS}`,
    constants: {},
    uniforms: [f32(0.999), f32(0.001), TURNS],
    bindings: [write(g.output("y", [THREADS, 4]))],
    workgroups: [THREADS / 64, 1, 1],
    flops: 128 * CHAINS * TURNS * THREADS,
  });
  return g;
}

function copying(): Graph {
  const g = new Graph();
  g.dispatch({
    shader: "peak_copy",
    constants: {},
    uniforms: [COPY],
    bindings: [read(g.input("x", [COPY, 4])), write(g.output("y", [COPY, 4]))],
    workgroups: [COPY / 64, 1, 1],
    flops: 0,
  });
  return g;
}

/** Milliseconds of one run of `plan`, the fastest of `repeat`; several runs in a submit if one is too short to time. */
async function fastest(done: () => Promise<unknown>, plan: Plan, repeat: number): Promise<number> {
  const time = async (times: number) => {
    await done();
    const began = performance.now();
    await plan.run(undefined, times);
    await done();
    return performance.now() - began;
  };
  await time(1); // compiles
  let times = 1;
  while (times < 4096 && (await time(times)) < 15) times *= 2;
  let best = Number.POSITIVE_INFINITY;
  for (let i = 0; i < repeat; i++) best = Math.min(best, await time(times));
  return best / times;
}

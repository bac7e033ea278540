/** What `bench --profile` prints of one run of a workload: where its time goes, kernel by kernel, and what surrounds them. */
import { type Calls, countCalls } from "../gpu/counts.ts";
import type { Plan } from "../gpu/plan.ts";
import type { KernelTime, Profile } from "../gpu/profile.ts";
import type { Peak } from "../ops/peak.ts";
import { columns } from "./args.ts";
import type { NodeRuntime } from "./runtime.ts";

interface PlanProfile {
  readonly label: string;
  readonly dispatches: number;
  /** Runs of this plan in one run of the workload. */
  readonly runs: number;
  readonly profile: Profile;
}

export interface RunProfile {
  /** One run of the workload, from start to result. */
  readonly wallMs: number;
  /** Of that, what the GPU worked on it, by timestamps around its passes; null where it has none. */
  readonly busyMs: number | null;
  readonly calls: Calls;
  readonly plans: readonly PlanProfile[];
}

/** Runs that are watched: the one with the median share of work on the GPU is told of. */
const RUNS = 5;

let counter: ReturnType<typeof countCalls> | null = null;

/** Watches a workload that runs by itself: `mark` after each run, `profile` tells of the last ones. */
export function watchRuns({ runtime }: NodeRuntime): { mark(): void; profile(): Promise<RunProfile> } {
  counter ??= countCalls();
  const counts = counter;
  const { plans, trace } = runtime.pipelines;
  trace.passes = true;
  trace.on = true;
  const clock = () => performance.timeOrigin + performance.now();
  const runsOf = () => new Map([...plans].map((plan) => [plan, plan.runs]));
  let before = runsOf();
  let began = clock();
  const watched: { from: number; to: number; calls: Calls; runs: (readonly [Plan, number])[] }[] = [];
  const mark = (): void => {
    const runs = [...plans].map((plan) => [plan, plan.runs - (before.get(plan) ?? 0)] as const);
    watched.push({ from: began, to: clock(), calls: counts.take(), runs: runs.filter(([, times]) => times > 0) });
    before = runsOf();
    began = clock();
  };
  counts.take();
  return {
    mark,
    async profile() {
      const last = watched.slice(-RUNS);
      while (trace.pending > 0) await new Promise((resolve) => setTimeout(resolve, 5));
      const shares = last.map((run) => {
        const spans = trace.spans.filter(({ start }) => start >= run.from && start < run.to);
        const kernels = spans.flatMap((span) => span.kernels);
        const busyMs = kernels.length === 0 ? null : kernels.reduce((sum, { ms }) => sum + ms, 0);
        return { run, wallMs: run.to - run.from, busyMs };
      });
      trace.on = false;
      trace.passes = false;
      const share = ({ busyMs, wallMs }: { busyMs: number | null; wallMs: number }) => (busyMs ?? 0) / wallMs;
      const middle = shares.sort((a, b) => share(a) - share(b))[shares.length >> 1];
      if (!middle) throw new Error("nothing has run");
      const profiles: PlanProfile[] = [];
      for (const [plan, times] of middle.run.runs.filter(([plan]) => plans.has(plan)))
        profiles.push({ label: plan.label, dispatches: plan.dispatches, runs: times, profile: await plan.profile(1) });
      return { wallMs: middle.wallMs, busyMs: middle.busyMs, calls: middle.run.calls, plans: profiles };
    },
  };
}

/** Runs `work` a few times and then times the kernels of the plans that it ran. */
export async function profileRun(node: NodeRuntime, work: () => Promise<unknown>): Promise<RunProfile> {
  const watch = watchRuns(node);
  for (let run = 0; run < RUNS; run++) {
    await work();
    watch.mark();
  }
  return watch.profile();
}

/** Kernels of all plans together, times of one run of the workload; longest first. */
export function kernelsOf({ plans }: RunProfile): readonly KernelTime[] {
  const rows = new Map<string, KernelTime>();
  for (const { profile, runs } of plans)
    for (const { shader, count, ms, flops, bytes } of profile.kernels) {
      const row = rows.get(shader) ?? { shader, count: 0, ms: 0, flops: 0, bytes: 0 };
      rows.set(shader, {
        shader,
        count: row.count + runs * count,
        ms: row.ms + runs * ms,
        flops: row.flops + runs * flops,
        bytes: row.bytes + runs * bytes,
      });
    }
  return [...rows.values()].sort((a, b) => b.ms - a.ms);
}

/** Share of the wall time in which the GPU had nothing to do: encoding, submits, waiting, JavaScript. At least 0. */
export function outsideKernels(run: RunProfile): number {
  const inside = run.busyMs ?? kernelsOf(run).reduce((sum, { ms }) => sum + ms, 0);
  return Math.max(0, 1 - inside / run.wallMs);
}

const percent = (share: number): string => `${(100 * share).toFixed(share < 0.1 ? 1 : 0)}%`;

/** The table of one run; shares of the peak by multiply-adds and by bytes, whichever bounds a kernel is the larger one. */
export function profileText(run: RunProfile, peak: Peak): string {
  const kernels = kernelsOf(run);
  const inside = kernels.reduce((sum, { ms }) => sum + ms, 0);
  const { dispatches, submits, bindGroups, buffers } = run.calls;
  const busy = run.busyMs === null ? "" : `, the GPU worked ${run.busyMs.toFixed(1)} of them`;
  const timer = run.plans.some(({ profile }) => profile.timer === "submits") ? "one submit a kernel" : "timestamps";
  const head = [
    `one run: ${run.wallMs.toFixed(1)} ms${busy}, ${percent(outsideKernels(run))} of the wall time outside kernels`,
    `each kernel alone (${timer}): ${inside.toFixed(1)} ms together`,
    `asked of WebGPU: ${dispatches} dispatches, ${submits} submits, ${bindGroups} new bind groups, ${buffers} new buffers`,
    `peak of this adapter: ${peak.gflops.toFixed(1)} GFLOP/s multiply-adds, ${peak.copyGBs.toFixed(1)} GB/s copy`,
    ...run.plans.map(({ label, dispatches: count, runs }) => `plan ${label}: ${count} dispatches, run ${runs} ×`),
  ];
  const rows = kernels.map(({ shader, count, ms, flops, bytes }): [string, string] => {
    const gflops = flops / ms / 1e6;
    const gigabytes = bytes / ms / 1e6;
    const cells = [
      `${count} ×`.padStart(7),
      `${ms.toFixed(2)} ms`.padStart(11),
      percent(ms / inside).padStart(6),
      `${gflops.toFixed(1)} GFLOP/s (${percent(gflops / peak.gflops)})`.padStart(21),
      `${gigabytes.toFixed(2)} GB/s (${percent(gigabytes / peak.copyGBs)})`.padStart(19),
    ];
    return [shader, cells.join("  ")];
  });
  return `${head.join("\n")}\n${columns(rows)}\n`;
}

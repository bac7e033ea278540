/** The tables of docs/BENCHMARKS.md: what `bench --write` puts into its blocks. */
import type { PeersReport } from "./bench-peers.ts";
import { type Comparison, type Curve, comparisonRows, curveRows } from "./bench-scaling.ts";
import { callRows, checkRows, firstRunRows, markdownTable, speedRows } from "./peer-report.ts";

export interface Circumstances {
  /** Load average before the benchmark. */
  readonly load: number;
  /** Milliseconds since the epoch. */
  readonly at: number;
}

const dayOf = (at: number): string => new Date(at).toISOString().slice(0, 10);

const loadText = ({ load }: Circumstances): string =>
  load < 0.5
    ? "an idle machine"
    : `a machine with a load average of ${load.toFixed(1)} before it: times are too long by an unknown factor, ratios are of runs in turns`;

const realGpu = (software: boolean): string =>
  software ? "This is a software adapter: none of it was measured on a real GPU." : "Measured on a real GPU.";

/** The tables of --peers. */
export function peersText(report: PeersReport, circumstances: Circumstances): string {
  const { names, results, versions } = report;
  const contestants = names.map((name) => `${name} ${versions[name]}`).join(", ");
  return `${dayOf(circumstances.at)}, ${report.browser}, adapter ${report.adapter}, on ${loadText(circumstances)}. ${realGpu(report.software)}
Contestants: ${contestants}.

Median speed; in brackets the peer's time over this engine's, median and range over the rounds:

${markdownTable(speedRows(results, names))}

First run, compilation in it:

${markdownTable(firstRunRows(results, names))}

Calls of WebGPU in a later run:

${markdownTable(callRows(results, names))}

What was compared (losses and tokens with each other, products with float64), and how many timed runs:

${markdownTable(checkRows(results, names))}`;
}

/** The tables of --scaling. */
export function scalingText(
  curves: readonly Curve[],
  comparisons: readonly Comparison[],
  adapter: { readonly description: string; readonly fallback: boolean },
  circumstances: Circumstances,
): string {
  return `${dayOf(circumstances.at)}, Node, adapter ${adapter.description}, on ${loadText(circumstances)}. ${realGpu(adapter.fallback)}

Time of a training step (d 64, 2 layers; all weights and 16 × 32 tokens but for what grows and the last row), growth of time and of operations:

${markdownTable(curveRows(curves))}

The same work in two ways, in turns:

${markdownTable(comparisonRows(comparisons))}`;
}

/** English: the developer panel of the settings. Part of the catalogue in en.ts. */

import type { Block } from "../charts/flame.ts";

const time = (ms: number): string =>
  ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms >= 10 ? 0 : 1)} ms`;

export const profiler = {
  title: "For developers: where the time goes",
  about:
    "Records when the plans of a live run are on the GPU and how long each kernel takes, by the GPU's own clock where the browser has it. A run is slower while it is recorded; its results are the same.",
  record: "Record",
  stop: "Stop recording",
  noRun: "Start or resume a live run first.",
  empty: "Nothing is recorded yet: the next plan of the run will be.",
  noKernels: "This browser gives no timestamps of the GPU: plans are shown without their kernels.",
  chart: "Round, phases, plans and kernels over time",
  keys: "Arrow keys move, Enter zooms in, Escape zooms out.",
  whole: "Show everything",
  kernels: "Kernels by time",
  kernel: "Kernel",
  dispatches: "Dispatches",
  time: "Time",
  share: "Share",
  ms: time,
  percent: (share: number): string => `${(100 * share).toFixed(1)}%`,
  kinds: { round: "Rounds", phase: "Phases", plan: "Plans", kernel: "Kernels" },
  block: ({ kind, name, ms, count }: Block): string => {
    if (kind === "round") return `Round ${name}: ${time(ms)}`;
    if (kind === "phase") return `Phase until “${name}”: ${time(ms)}`;
    if (kind === "plan") return `Plan ${name}, ${count} ×: ${time(ms)}`;
    return `Kernel ${name}, ${count} ×: ${time(ms)}`;
  },
};

/** A thread that ends the process when one mutation hangs or fills the memory: nothing inside it could. */
import { Worker } from "node:worker_threads";

/** Longest that one mutation may take on a busy machine, milliseconds; an idle one takes under a tenth of a second. */
const LIMIT_MS = 30_000;
/** Most that the process may grow, bytes. */
const LIMIT_BYTES = 2 ** 31;

/** The thread's program; its workerData: beats, label, limitMs, limitBytes. */
export const watchdogThread = `
const { workerData: { beats, label, limitMs, limitBytes } } = require("node:worker_threads");
const { writeSync } = require("node:fs");
const before = process.memoryUsage().rss;
let seen = -1;
let since = Date.now();
setInterval(() => {
  const run = Atomics.load(beats, 0);
  if (run !== seen) { seen = run; since = Date.now(); }
  const grown = process.memoryUsage().rss - before;
  const why = Date.now() - since > limitMs ? "hangs" : grown > limitBytes ? "takes " + Math.round(grown / 2 ** 20) + " MiB" : null;
  if (why === null) return;
  writeSync(2, "fuzz: run " + run + " of " + label + " " + why + ": the process is ended\\n");
  process.kill(process.pid, "SIGKILL");
}, 100);
`;

export interface Watchdog {
  /** Says that this run has begun. */
  beat(run: number): void;
  stop(): Promise<void>;
}

/** `label` names what is watched in its last words. */
export function startWatchdog(label: string): Watchdog {
  const beats = new Int32Array(new SharedArrayBuffer(4));
  const workerData = { beats, label, limitMs: LIMIT_MS, limitBytes: LIMIT_BYTES };
  const thread = new Worker(watchdogThread, { eval: true, workerData });
  return {
    beat: (run) => void Atomics.store(beats, 0, run),
    stop: async () => void (await thread.terminate()),
  };
}

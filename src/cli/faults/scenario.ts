/** Which fault strikes where: drawn by a seed from what an undisturbed run of the same kind went through. */
import { rngFor } from "../../base/rng.ts";
import type { MemoryKind } from "./memory.ts";
import { type Preset, presets } from "./preset.ts";

export const FAULTS = [
  "exception",
  "abort",
  "full",
  "device lost",
  "device destroyed",
  "worker killed",
  "process killed",
  "asleep",
] as const;
export type Fault = (typeof FAULTS)[number];

export interface Scenario {
  readonly seed: number;
  readonly preset: Preset;
  readonly memory: MemoryKind;
  readonly fault: Fault;
  readonly point: string;
  /** The fault strikes when the point comes round for this time, from 0. */
  readonly index: number;
  /** A write is half done when it fails or its process dies. */
  readonly partly: boolean;
  /** Attempts to open a device again that fail. */
  readonly refusals: number;
  /** Hours by which the clock jumps. */
  readonly hours: number;
}

/** Calls and writes of an undisturbed run, by point. */
export type Counts = ReadonlyMap<string, number>;

/** How often each fault is drawn, out of the sum. A destroyed device is dear: another one is opened and its kernels compiled. */
const WEIGHTS: Readonly<Record<Fault, number>> = {
  exception: 5,
  abort: 4,
  full: 4,
  "device lost": 8,
  "device destroyed": 1,
  "worker killed": 4,
  "process killed": 6,
  asleep: 1,
};

const isWrite = (point: string): boolean => point.startsWith("write in ");
const isGpu = (point: string): boolean => point.startsWith("GPU in ");

/** Where a fault can strike. */
export function fits(fault: Fault, point: string, memory: MemoryKind): boolean {
  if (fault === "exception") return !isWrite(point) && !isGpu(point);
  if (fault === "abort" || fault === "full") return isWrite(point);
  // A headless run is one process: there is no worker that dies alone.
  if (fault === "worker killed") return memory === "indexeddb";
  if (fault === "device lost" || fault === "device destroyed") return point !== "store.state";
  return true;
}

/** Which kind of run a seed disturbs. */
export function kindOf(seed: number): { readonly preset: Preset; readonly memory: MemoryKind } {
  const rng = rngFor(seed, "fault kind");
  return {
    preset: presets[rng.int(presets.length)] as Preset,
    memory: rng.int(2) === 0 ? "indexeddb" : "folder",
  };
}

/** The scenario of a seed. Each point of a fault is as likely as any other, however often it comes round. */
export function scenarioOf(seed: number, counts: Counts): Scenario {
  const { preset, memory } = kindOf(seed);
  const rng = rngFor(seed, "fault scenario");
  const pick = <T>(list: readonly T[]): T => list[rng.int(list.length)] as T;
  const lots = FAULTS.flatMap((fault) =>
    fault === "worker killed" && memory === "folder" ? [] : Array.from({ length: WEIGHTS[fault] }, () => fault),
  );
  const fault = pick(lots);
  const point = pick([...counts.keys()].filter((one) => fits(fault, one, memory)).sort());
  return {
    seed,
    preset,
    memory,
    fault,
    point,
    index: rng.int(counts.get(point) ?? 1),
    partly: rng.next() < 0.5,
    refusals: rng.next() < 0.1 ? 1 + rng.int(2) : 0,
    hours: rng.int(48) - 24,
  };
}

/** In one line: what a failing seed is told with. */
export function described({ seed, preset, memory, fault, point, index }: Scenario): string {
  return `seed ${seed}: ${fault} at "${point}" number ${index} (run "${preset.name}", ${memory})`;
}

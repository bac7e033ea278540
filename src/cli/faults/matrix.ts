/** Many seeds on one rig. */
import { openJudge } from "../judge.ts";
import { readInputs } from "../model.ts";
import { openNodeRuntime } from "../runtime.ts";
import type { MemoryKind } from "./memory.ts";
import { type Played, play, type Rig, undisturbed } from "./play.ts";
import type { Preset } from "./preset.ts";
import type { Machine } from "./process.ts";
import { kindOf, type Scenario, scenarioOf } from "./scenario.ts";

export interface Result {
  readonly scenario: Scenario;
  readonly played: Played;
  readonly ms: number;
}

export interface Matrix {
  /** The undisturbed run of a kind, played once. */
  plain(preset: Preset, memory: MemoryKind): Promise<Played>;
  run(seed: number): Promise<Result>;
  close(): void;
}

/** A device and the bundled models; undisturbed runs are played when they are first needed. Throws if one of them fails. */
export async function openMatrix(): Promise<Matrix> {
  const { model } = await readInputs({ model: "public/models/policy", adapter: null });
  const judge = await openJudge("public/models/judge");
  const opened: { destroy(): void }[] = [];
  const fresh = async (): Promise<Machine> => {
    const { gpu, runtime } = await openNodeRuntime();
    opened.push(gpu);
    return { runtime, gpu, model, judge };
  };
  const rig: Rig = { shared: await fresh(), fresh };
  const probes = new Map<string, Played>();
  const key = (preset: Preset, memory: MemoryKind): string => `${preset.name} in ${memory}`;
  const plain = async (preset: Preset, memory: MemoryKind): Promise<Played> => {
    const known = probes.get(key(preset, memory));
    if (known) return known;
    const played = await undisturbed(rig, preset, memory);
    if (played.problems.length > 0)
      throw new Error(`the undisturbed run "${key(preset, memory)}" has problems: ${played.problems.join("; ")}`);
    probes.set(key(preset, memory), played);
    return played;
  };
  return {
    plain,
    async run(seed) {
      const { preset, memory } = kindOf(seed);
      const undisturbed = await plain(preset, memory);
      const scenario = scenarioOf(seed, undisturbed.counts);
      const began = performance.now();
      const played = await play(rig, scenario, undisturbed);
      return { scenario, played, ms: performance.now() - began };
    },
    close() {
      for (const gpu of opened) gpu.destroy();
    },
  };
}

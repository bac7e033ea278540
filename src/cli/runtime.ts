/** The engine's runtime in Node: Dawn through npm `webgpu`. */
import { create, globals } from "webgpu";
import type { DeviceSummary } from "../base/events.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import { runtimeOn } from "../model/runtime.ts";
import type { Runtime } from "../model/weights.ts";
import { abilitiesOf, loadTuned, tuningKey } from "../ops/tune.ts";
import { tunedChoices } from "../train/pinned.ts";
import { fileTuningStore } from "./tuning-file.ts";

Object.assign(globalThis, globals);
// Once, at module scope: Dawn's instance must outlive every device.
const instance = create([]);

export interface NodeRuntime {
  readonly gpu: Gpu;
  readonly runtime: Runtime;
}

/**
 * Opens the adapter that src/cli/adapter.mjs chose (its environment is set before this module loads), with the kernels
 * that `bench --tune` found for it, if it ever ran. `pinned`: the device that a stored run was computed on, whose kernels
 * count instead if it is this one.
 */
export async function openNodeRuntime(pinned?: DeviceSummary): Promise<NodeRuntime> {
  const gpu = await openGpu(instance);
  const can = abilitiesOf(gpu.device, gpu.subgroupMinSize);
  const tuned =
    tunedChoices(pinned, gpu.summary, can) ?? (await loadTuned(fileTuningStore(), tuningKey(gpu.summary), can));
  return { gpu, runtime: runtimeOn(gpu, { nextTurn: setImmediate, tuned }) };
}

import type { Gpu } from "../gpu/device.ts";
import { Pipelines } from "../gpu/pipelines.ts";
import { shaderSource } from "../ops/shaders.ts";
import { chooseVariants } from "../ops/variants.ts";
import type { Runtime } from "./weights.ts";

/**
 * Pipelines and kernel variants for a device. `patient`: see src/gpu/patience.ts. `tuned`: the adapter's table
 * (`loadTuned`), which holds from here on: plans of this runtime never change their kernels.
 */
export function runtimeOn(
  gpu: Gpu,
  { tuned = {}, ...options }: { patient?: boolean; tuned?: Readonly<Record<string, string>> } = {},
): Runtime {
  const variants = chooseVariants({ features: gpu.summary.features, subgroupMinSize: gpu.subgroupMinSize });
  const pipelines = new Pipelines(gpu.device, shaderSource, options);
  return { device: gpu.device, pipelines, variants: { ...variants, tuned } };
}

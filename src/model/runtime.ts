import type { Gpu } from "../gpu/device.ts";
import { Pipelines } from "../gpu/pipelines.ts";
import { shaderSource } from "../ops/shaders.ts";
import { chooseVariants } from "../ops/variants.ts";
import type { Runtime } from "./weights.ts";

/** Pipelines and kernel variants for a device. `patient`: see src/gpu/patience.ts. */
export function runtimeOn(gpu: Gpu, options: { patient?: boolean } = {}): Runtime {
  const variants = chooseVariants({ features: gpu.summary.features, subgroupMinSize: gpu.subgroupMinSize });
  return { device: gpu.device, pipelines: new Pipelines(gpu.device, shaderSource, options), variants };
}

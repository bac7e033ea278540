import type { Gpu } from "../gpu/device.ts";
import type { NextTurn } from "../gpu/patience.ts";
import { Pipelines } from "../gpu/pipelines.ts";
import type { Variants } from "../ops/context.ts";
import { shaderSource } from "../ops/shaders.ts";
import { chooseVariants } from "../ops/variants.ts";
import type { Runtime } from "./weights.ts";

/**
 * Pipelines and kernel variants for a device. `nextTurn`, in Node: see src/gpu/patience.ts. `tuned`: the adapter's table
 * (`loadTuned`), which holds from here on: plans of this runtime never change their kernels. `asked`: see Variants.
 */
export function runtimeOn(
  gpu: Gpu,
  { tuned = {}, asked, ...options }: { nextTurn?: NextTurn } & Pick<Variants, "tuned" | "asked"> = {},
): Runtime {
  const { features, fallback } = gpu.summary;
  const variants = chooseVariants({ features, fallback, subgroupMinSize: gpu.subgroupMinSize });
  const pipelines = new Pipelines(gpu.device, shaderSource, options);
  return { device: gpu.device, pipelines, variants: { ...variants, tuned, ...(asked ? { asked } : {}) } };
}

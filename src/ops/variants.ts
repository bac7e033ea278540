import type { Variants } from "./context.ts";

/**
 * Kernel variants for an adapter. The broadcast kernels read lanes 0…3 or 0…7, so every subgroup must have that many:
 * `subgroupMinSize` says so. Their result does not depend on the subgroup size, but differs in rounding from "plain".
 */
export function chooseVariants(adapter: {
  readonly features: readonly string[];
  readonly subgroupMinSize: number;
}): Variants {
  if (!adapter.features.includes("subgroups")) return { matmul: "plain" };
  if (adapter.subgroupMinSize >= 8) return { matmul: "sg8" };
  return { matmul: adapter.subgroupMinSize >= 4 ? "sg4" : "plain" };
}

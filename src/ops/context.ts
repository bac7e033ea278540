import type { Graph } from "../gpu/graph.ts";

/** What an op needs to append itself: the graph and the kernel variants this device (and this run) is pinned to. */
export interface OpContext {
  readonly g: Graph;
  readonly variants: Variants;
}

/** Kernel families; "plain" runs everywhere, the others need subgroups of at least 4 or 8 lanes. */
export type MatmulVariant = "plain" | "sg4" | "sg8";
export interface Variants {
  /** The family of the shapes that are not tuned. */
  readonly matmul: MatmulVariant;
  /** Least lanes of a subgroup, where it is known; changes no result. */
  readonly subgroup?: number;
  /** Tuned choices by shape: see `shapeKey` and `parseChoice` (variants.ts). */
  readonly tuned?: Readonly<Record<string, string>>;
}

import type { Graph } from "../gpu/graph.ts";

/** What an op needs to append itself: the graph and the kernel variants this device (and this run) is pinned to. */
export interface OpContext {
  readonly g: Graph;
  readonly variants: Variants;
}

/** a b, a bᵀ and aᵀ b. */
export type Product = "nn" | "nt" | "tn";

/** Operands as in matmulNN, matmulNT and matmulTN: a is (R,K), the result has N columns. */
export interface ProductShape {
  readonly product: Product;
  readonly R: number;
  readonly K: number;
  readonly N: number;
}

/**
 * Kernel families: "sg4" and "sg8" need subgroups of at least 4 or 8 lanes, "tile" shared memory that costs little, and
 * "tile-sg8" both.
 */
export const FAMILIES = ["plain", "sg4", "sg8", "tile", "tile-sg8"] as const;
export type MatmulVariant = (typeof FAMILIES)[number];

export interface Variants {
  /** The family of the shapes that are not tuned. */
  readonly matmul: MatmulVariant;
  /** Least lanes of a subgroup, where it is known. */
  readonly subgroup?: number;
  /** Tuned choices by shape: see `shapeKey` and `parseChoice` (variants.ts). */
  readonly tuned?: Readonly<Record<string, string>>;
  /** Is told of every product that a plan is made of, so that what is needed can be tuned later; changes no result. */
  readonly asked?: (shape: ProductShape) => void;
}

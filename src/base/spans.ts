/** When plans ran and how long their kernels took: what the engine records for the page's developer panel. */
export interface PlanSpan {
  readonly label: string;
  /** Milliseconds since the epoch: given to the GPU, and done. */
  readonly start: number;
  readonly end: number;
  /** By shader, in order of the first dispatch. Empty where the GPU has no timestamps. */
  readonly kernels: readonly { readonly shader: string; readonly count: number; readonly ms: number }[];
}

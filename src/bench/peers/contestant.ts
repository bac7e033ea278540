/** What a contestant of `bench --peers` implements: one file a contestant, nothing else knows its library. */
import type { DecodeWork, MatmulWork, TrainWork } from "./workloads.ts";

/** One workload, opened: weights and data are on the GPU. */
export interface Session {
  /**
   * Computes once and waits for the GPU. The first call also compiles.
   *   matmul  nothing is returned: `check` reads the product
   *   train   one AdamW step; the loss before its update, mean over the predicted tokens, in nats
   *   decode  prompt and greedy tokens; all new tokens, sequence by sequence
   */
  run(): Promise<readonly number[]>;
  /** matmul: the product at the sampled places. */
  check?(): Promise<readonly number[]>;
  close(): Promise<void>;
}

/** Null: the library cannot do this kind of work. */
export interface Contestant {
  readonly adapter: string;
  matmul(work: MatmulWork): Promise<Session>;
  readonly train: ((work: TrainWork) => Promise<Session>) | null;
  readonly decode: ((work: DecodeWork) => Promise<Session>) | null;
}

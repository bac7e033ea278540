import { sha256Hex } from "../base/hash.ts";
import type { Candidate, Task, WorldName } from "../base/records.ts";
import { rngFor } from "../base/rng.ts";
import { isCorrect, type TruthItem, truthItem } from "./truth.ts";

/** The loop's SealedPort, in this layer's words: the gate's only way to the truth. */
export interface Sealed {
  /** Items `from` … `from + count − 1` of the stream that `key` opens. Throws if the key is malformed. */
  items(options: { key: string; world: WorldName; from: number; count: number }): Promise<readonly Task[]>;
  /** Was the answer to item `index` right? */
  grade(options: { key: string; world: WorldName; index: number; answer: Candidate }): boolean;
  /** A new key of 32 bytes as hex. */
  newKey(options: { seed: number; gate: number }): string;
}

/** A key of 32 bytes that follows from the run's seed: the same run can be made again. */
export function seededKey({ seed, gate }: { seed: number; gate: number }): string {
  return sha256Hex(JSON.stringify(["gate key", seed, gate]));
}

/**
 * The gate's sealed generator. Item i of a key is a describe task whose number of objects is drawn uniformly from the
 * world's range, so items are independent and alike, as the gate's test supposes, and their mean is the mean over sizes.
 * `newKey` may be replaced by one that draws from the system's entropy.
 */
export function createSealed(options: { newKey?: Sealed["newKey"] } = {}): Sealed {
  return {
    async items({ key, world, from, count }) {
      return Array.from({ length: count }, (_, i) => item(key, world, from + i).task);
    },
    grade({ key, world, index, answer }) {
      const { task, truth } = item(key, world, index);
      return isCorrect(task.kind, truth, answer.tokens);
    },
    newKey: options.newKey ?? seededKey,
  };
}

function item(key: string, world: WorldName, index: number): TruthItem {
  if (!/^[0-9a-f]{64}$/.test(key)) throw new Error("[sealed] a gate's key is 64 hex digits; make one with newKey");
  return truthItem({ kind: "describe", world, source: `sealed:${world}` }, rngFor(key, "sealed", world, index));
}

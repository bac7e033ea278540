/** Names and seeds that follow from content: the same round gives the same ones after a crash. */
import { sha256Hex } from "../base/hash.ts";
import type { Candidate, Task } from "../base/records.ts";
import { rngFor } from "../base/rng.ts";

/** A whole number below 2³¹ that belongs to (seed, labels): the seed that a stage hands to a port. */
export function seedFor(seed: number, ...labels: readonly (number | string)[]): number {
  return rngFor(seed, ...labels).int(2 ** 31);
}

/** Two answers are the same when their tokens are. */
export function answerKey(candidate: Candidate): string {
  return candidate.tokens.join(",");
}

/** SHA-256 of the task's id (picture and prompt) and the chosen answer's tokens. */
export function pairId(task: Task, chosen: Candidate): string {
  return sha256Hex(`${task.id}\n${answerKey(chosen)}`);
}

import { sha256Hex } from "../base/hash.ts";
import type { Picture, Task, TaskKind } from "../base/records.ts";

/** First 16 hex digits of SHA-256 of the picture's bytes and the prompt: what is seen and asked, and nothing else. */
export function taskId(picture: Picture | null, prompt: readonly number[]): string {
  return sha256Hex(JSON.stringify(prompt), picture?.rgb ?? new Uint8Array()).slice(0, 16);
}

/** A task without its answer: whatever else the argument holds is left behind. */
export function toTask(
  asked: { readonly kind: TaskKind; readonly picture: Picture | null; readonly prompt: readonly number[] },
  source: string,
  round: number,
): Task {
  const { kind, picture, prompt } = asked;
  return { id: taskId(picture, prompt), kind, prompt, picture, source, round };
}

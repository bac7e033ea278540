import type { JudgedCandidate, Pair, Picture, Task } from "../base/records.ts";
import { ShapeError } from "./shape.ts";
import { pairShape } from "./shapes.ts";

/**
 * A preference pair as a line of replay.jsonl: TRL's prompt, chosen and rejected, as texts and as ids, and the rest of
 * the pair beside them, so that the row gives back the pair unchanged. Pictures are raw RGB, base64.
 */
export interface ReplayRow extends Omit<Pair, "task" | "chosen" | "rejected"> {
  readonly prompt: string;
  readonly chosen: string;
  readonly rejected: string;
  readonly prompt_ids: readonly number[];
  readonly chosen_ids: readonly number[];
  readonly rejected_ids: readonly number[];
  readonly image: Picture | null;
  readonly source: string;
  readonly task: Omit<Task, "prompt" | "picture" | "source">;
  /** Every judge's score, log-probability, the answer redrawn. */
  readonly chosen_details: Omit<JudgedCandidate, "tokens" | "text">;
  readonly rejected_details: Omit<JudgedCandidate, "tokens" | "text">;
}

/** The row of a pair; `prompt` is the text of its prompt ids. */
export function rowOfPair(pair: Pair, prompt: string): ReplayRow {
  const { task: wholeTask, chosen: wholeChosen, rejected: wholeRejected, ...rest } = pair;
  const { prompt: prompt_ids, picture: image, source, ...task } = wholeTask;
  const { tokens: chosen_ids, text: chosen, ...chosen_details } = wholeChosen;
  const { tokens: rejected_ids, text: rejected, ...rejected_details } = wholeRejected;
  return {
    ...rest,
    prompt,
    chosen,
    rejected,
    prompt_ids,
    chosen_ids,
    rejected_ids,
    image,
    source,
    task,
    chosen_details,
    rejected_details,
  };
}

/** The pair of a row: pairOfRow(rowOfPair(pair, …)) equals pair. Throws a ShapeError that names what is wrong. */
export function pairOfRow(value: unknown): Pair {
  if (typeof value !== "object" || value === null) throw new ShapeError("row", "an object", value);
  const {
    prompt,
    chosen,
    rejected,
    prompt_ids,
    chosen_ids,
    rejected_ids,
    image,
    source,
    task,
    chosen_details,
    rejected_details,
    ...rest
  } = value as Record<string, unknown>;
  if (typeof prompt !== "string") throw new ShapeError("row.prompt", "a text", prompt);
  const pair = {
    ...rest,
    task: { ...(task as object), prompt: prompt_ids, picture: image, source },
    chosen: { ...(chosen_details as object), tokens: chosen_ids, text: chosen },
    rejected: { ...(rejected_details as object), tokens: rejected_ids, text: rejected },
  };
  return pairShape(pair, "row");
}

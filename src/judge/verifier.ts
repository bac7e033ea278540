/**
 * A verifier is a visitor's own judge: the body of a JavaScript function (task, answer) → score in [0, 1]. It is code
 * that nobody has read, so it runs in a place without network and with a time limit: in the page inside a sandboxed
 * frame (src/worker/sandbox.ts), in Node in a thread (src/cli/verifier.ts). Here is what both share: the program that
 * calls it there, and the check of what comes back.
 */
import { InputError } from "../base/input.ts";

/** What the verifier gets: the question, the picture as rows of red, green and blue from 0 to 255, and the answer's text. */
export interface VerifierItem {
  readonly task: {
    readonly kind: string;
    readonly question: string;
    readonly picture: { readonly size: number; readonly rgb: readonly number[] } | null;
  };
  readonly answer: string;
}

export type VerifierResult =
  | { readonly kind: "scored"; readonly scores: readonly number[] }
  | {
      readonly kind: "failed";
      readonly reason: "syntax" | "threw" | "time-limit" | "bad-score" | "crashed" | "unavailable";
      /** Which item it was at, null if none. */
      readonly item: number | null;
      /** Plain words: what happened and what to do. */
      readonly message: string;
    };

/** Runs a verifier on items, each batch in a fresh sandbox that is gone afterwards. Never throws for what the code does. */
export type RunVerifier = (
  code: string,
  items: readonly VerifierItem[],
  options?: { readonly limitMs?: number },
) => Promise<VerifierResult>;

/** Time for all items of a batch, milliseconds. */
export const defaultLimitMs = 5000;
const MAX_CODE = 100_000;

/** Code that is refused before it runs: too long. Throws an InputError. */
export function checkCode(code: string): void {
  if (code.trim() === "") throw new InputError("the verifier is empty: write the body of a function (task, answer)");
  if (code.length > MAX_CODE)
    throw new InputError(`the verifier has ${code.length} characters, at most ${MAX_CODE} are accepted`);
}

/**
 * Text of a program that defines `runVerifier(code, itemsJson)` and nothing else. It returns a JSON text: {"scores"} or
 * {"failed","item","message"}. Only texts go in and come out, so that no object of one side is reachable from the other.
 */
export const verifierProgram = `
const runVerifier = ((Function, JSON, String, Number) => {
  const { parse, stringify } = JSON;
  const shorten = (error) => {
    try { return String(error && error.message || error).slice(0, 300); } catch { return "no message"; }
  };
  return (code, itemsJson) => {
    let verify;
    try { verify = new Function("task", "answer", '"use strict";\\n' + code); }
    catch (error) { return stringify({ failed: "syntax", item: null, message: shorten(error) }); }
    const scores = [];
    const items = parse(itemsJson);
    for (let item = 0; item < items.length; item++) {
      let score;
      try { score = verify(items[item].task, items[item].answer); }
      catch (error) { return stringify({ failed: "threw", item, message: shorten(error) }); }
      if (typeof score !== "number" || !(score >= 0 && score <= 1))
        return stringify({ failed: "bad-score", item, message: typeof score === "number" ? String(score) : "a value of type " + typeof score });
      scores[item] = score;
    }
    return stringify({ scores });
  };
})(Function, JSON, String, Number);
`;

/** A verifier may say anything through the sandbox's channel: only a well-formed reply for these items is believed. */
export function readReply(reply: unknown, count: number): VerifierResult {
  const bad = failure("bad-score", null, "what came back is no list of scores");
  if (typeof reply !== "string" || reply.length > 1000 + 40 * count) return bad;
  let value: { scores?: unknown; failed?: unknown; item?: unknown; message?: unknown } | null;
  try {
    value = JSON.parse(reply) as typeof value;
  } catch {
    return bad;
  }
  if (typeof value !== "object" || value === null) return bad;
  const { scores, failed, item, message } = value;
  if (failed === "syntax" || failed === "threw" || failed === "bad-score") {
    const at = Number.isInteger(item) && (item as number) >= 0 && (item as number) < count ? (item as number) : null;
    return failure(failed, at, typeof message === "string" ? message.slice(0, 300) : "no message");
  }
  if (!Array.isArray(scores) || scores.length !== count || !scores.every(isScore)) return bad;
  return { kind: "scored", scores };
}

const isScore = (score: unknown): boolean => typeof score === "number" && score >= 0 && score <= 1;

type Failed = Extract<VerifierResult, { kind: "failed" }>;

const SENTENCES: Readonly<Record<Failed["reason"], (detail: string) => string>> = {
  syntax: (detail) => `The verifier is not the body of a JavaScript function: ${detail}`,
  threw: (detail) => `The verifier threw an error: ${detail}`,
  "time-limit": (detail) =>
    `The verifier took more than ${detail} and was ended. Make it faster, or give it fewer answers.`,
  "bad-score": (detail) => `The verifier must return a number from 0 to 1, found ${detail}.`,
  crashed: (detail) => `The verifier's sandbox broke down (${detail}): it may have taken too much memory.`,
  unavailable: (detail) => `Verifiers cannot run here: ${detail}`,
};

/** A failed result in plain words. */
export function failure(reason: Failed["reason"], item: number | null, detail: string): Failed {
  return { kind: "failed", reason, item, message: SENTENCES[reason](detail) };
}

/** Failures cross workers as values (comlink keeps only a message of an error), bugs as well, under the code "internal". */
import { InputError } from "../base/input.ts";
import { StoreError } from "../store/errors.ts";
import type { Failure, FailureCode, Result } from "./api.ts";

/** A failure with a code, on this side of a worker. */
export class WorkerError extends Error {
  readonly code: FailureCode;

  constructor(code: FailureCode, message: string) {
    super(message);
    this.name = "WorkerError";
    this.code = code;
  }
}

export function toFailure(error: unknown): Failure {
  if (error instanceof WorkerError) return { ok: false, code: error.code, message: error.message };
  if (error instanceof InputError) return { ok: false, code: "bad-input", message: error.message };
  if (error instanceof StoreError) return { ok: false, code: storeCodes[error.code], message: error.message };
  const message = error instanceof Error ? error.message : String(error);
  return {
    ok: false,
    code: "internal",
    message,
    ...(error instanceof Error && error.stack ? { detail: error.stack } : {}),
  };
}

const storeCodes: Readonly<Record<StoreError["code"], FailureCode>> = {
  quota: "quota",
  stale: "locked",
  damaged: "bad-input",
  refused: "bad-input",
  version: "locked",
  closed: "locked",
};

/** Runs `work` and returns its result or failure as a value. */
export async function attempt<T>(work: () => Promise<T> | T): Promise<Result<T>> {
  try {
    return { ok: true, value: await work() };
  } catch (error) {
    return toFailure(error);
  }
}

/** The value of a result, or its failure thrown again on this side. */
export async function unwrap<T>(result: Result<T> | Promise<Result<T>>): Promise<T> {
  const settled = await result;
  if (settled.ok) return settled.value;
  throw new WorkerError(settled.code, settled.message);
}

/**
 * What can go wrong with a store through no bug of ours:
 * quota: no space left · stale: another writer was first · damaged: bytes on disk are not what was committed ·
 * refused: the change or file is not acceptable as it is · version: made by a newer program · closed: the store is closed.
 */
export type StoreErrorCode = "quota" | "stale" | "damaged" | "refused" | "version" | "closed";

/** A store's failure as a plain value, as it crosses a worker. */
export interface StoreFailure {
  readonly ok: false;
  readonly code: StoreErrorCode;
  readonly message: string;
}

/** Thrown by every store; `code` says what to do about it. The last commit is whole whenever one is thrown. */
export class StoreError extends Error {
  readonly code: StoreErrorCode;

  constructor(code: StoreErrorCode, message: string) {
    super(message);
    this.name = "StoreError";
    this.code = code;
  }
}

/** The failure as a value, or null if `error` is a bug and should be thrown on. */
export function storeFailure(error: unknown): StoreFailure | null {
  return error instanceof StoreError ? { ok: false, code: error.code, message: error.message } : null;
}

/** The error of a full disk or a spent quota, the same words for every store. */
export function quotaError(): StoreError {
  return new StoreError(
    "quota",
    "There is no storage space left, so the last step was not saved; everything before it is safe. Delete old runs or free some disk space, then go on.",
  );
}

/** The error of a writer whose picture of the run is out of date. */
export function staleError(run: string, stored: number, offered: number): StoreError {
  return new StoreError(
    "stale",
    `The run ${run} stands at event ${stored}, but this writer wanted to add event ${offered}: another tab or process has gone on with it. Reload to continue from the stored state.`,
  );
}

import type { Contour } from "../base/contour.ts";
import type { DeviceSummary, EventType, LoopEvent } from "../base/events.ts";
import type { HeldOut, WorldName } from "../base/records.ts";
import type { ImportOptions, Result, TabRole } from "../worker/api.ts";
import type { runVerifierInPage } from "../worker/sandbox.ts";
import type { App } from "./app.ts";
import { type ExportedFile, failure, type SessionStatus } from "./session.ts";
import { contourOf, startOptions, validRounds, validSeed } from "./settings.ts";
import { t } from "./strings/index.ts";

export interface AutodidactState {
  readonly mode: "recording" | "live";
  readonly status: SessionStatus;
  readonly run: string | null;
  readonly round: number;
  readonly rounds: number;
  /** SHA-256 of the incumbent adapter, "base" for none. */
  readonly incumbent: string;
  /** Newest held-out result of each world. */
  readonly heldOut: Readonly<Partial<Record<WorldName, HeldOut>>>;
  readonly accepted: number;
  readonly rejected: number;
  readonly deferred: number;
  /** Bytes used on this machine, null until they are known. */
  readonly storage: number | null;
  readonly device: DeviceSummary | null;
  /** Events known so far. */
  readonly events: number;
  /** "writer": this tab may train and change what is stored. "reader": another tab does, this one looks on. */
  readonly role: TabRole;
  /** Workers of this tab that are alive. */
  readonly workers: number;
}

export interface StartRequest {
  /** The whole document, parts of it, or the name of the default ("describe-redraw-compare"). */
  readonly contour?: string | Partial<Contour>;
  readonly rounds?: number;
  readonly seed?: number;
}

/** `window.autodidact`: drives the page as its buttons do; tests, notebooks and lecture notes use it. */
export interface AutodidactApi {
  /** Resolves when the page knows its GPU, has shown its recording or gone on with a run. */
  readonly ready: Promise<void>;
  /** Starts a live run; without a request it goes on with a paused one, or starts one with the page's settings. */
  start(request?: StartRequest): Promise<Result<null>>;
  pause(): Promise<Result<null>>;
  step(): Promise<Result<null>>;
  stop(): Promise<Result<null>>;
  state(): AutodidactState;
  /** Events with `seq` ≥ since (all without it). */
  events(query?: { readonly since?: number }): readonly LoopEvent[];
  /** Calls back on every new event of that type ("*" for all); returns the function that ends it. */
  on(type: EventType | "*", callback: (event: LoopEvent) => void): () => void;
  /** The run archive (zip) of a live run, the JSONL of a recording. */
  exportRun(): Promise<Result<Uint8Array>>;
  /** The incumbent's PEFT adapter as a zip. */
  exportAdapter(): Promise<Result<Uint8Array>>;
  /**
   * Checks and stores a run archive; the value is the run's id. Its pairs are marked as imported and train here only with
   * `include`; see docs/SECURITY.md.
   */
  importRun(file: Blob | Uint8Array, options?: ImportOptions): Promise<Result<string>>;
  /** Makes this tab the one that trains and writes; the other one lets go of its run at its last commit. */
  takeOver(): Promise<void>;
  /**
   * Runs a verifier, the body of a function (task, answer) → score from 0 to 1, on items in a sandbox without network and
   * with a time limit. A verifier that fails gives a result that says why.
   */
  verify: typeof runVerifierInPage;
  /** Leaves the run (it stays stored) and shows the recording from its start. */
  reset(): Promise<Result<null>>;
}

declare global {
  interface Window {
    autodidact: AutodidactApi;
  }
}

/** The API over an app that boots with `ready`. */
export function createApi(app: App, ready: Promise<void>, effect: (run: () => void) => () => void): AutodidactApi {
  const session = () => app.session.value;
  const noRun = () => failure("no-run", "Nothing is on show yet; wait for autodidact.ready.");
  return {
    ready,
    async start(request) {
      const live = app.live.value;
      if (!request && live?.run.value && session() === live && live.status.value === "paused")
        return app.report(live.start());
      const options = optionsOf(app, request ?? {});
      return options.ok ? app.goLive(options.value) : options;
    },
    pause: async () => app.report(session()?.pause() ?? Promise.resolve(noRun())),
    step: async () => app.report(session()?.step() ?? Promise.resolve(noRun())),
    stop: async () => app.report(session()?.stop() ?? Promise.resolve(noRun())),
    state: () => stateOf(app),
    events: ({ since = 0 } = {}) => (session()?.events.value ?? []).slice(Math.max(0, since)),
    on(type, callback) {
      let told = session()?.events.value.length ?? 0;
      let watched = session();
      return effect(() => {
        const now = app.session.value;
        const events = now?.events.value ?? [];
        if (now !== watched || events.length < told) {
          watched = now;
          told = 0;
        }
        const fresh = events.slice(told);
        told = events.length;
        for (const event of fresh) if (type === "*" || event.type === type) callback(event);
      });
    },
    async exportRun() {
      return bytesOf(await (session()?.exportRun() ?? noRun()));
    },
    async exportAdapter() {
      return bytesOf(await (session()?.exportAdapter() ?? noRun()));
    },
    async importRun(file, options) {
      const result = await app.report((await app.connect()).importRun(file, options));
      await app.refreshStorage();
      return result.ok ? { ok: true, value: result.value.run } : result;
    },
    takeOver: () => app.takeOver(),
    verify: async (...words) => (await import("../worker/sandbox.ts")).runVerifierInPage(...words),
    reset: () => app.backToRecording(),
  };
}

async function bytesOf(file: Result<ExportedFile>): Promise<Result<Uint8Array>> {
  if (!file.ok) return file;
  const { bytes } = file.value;
  return { ok: true, value: bytes instanceof Blob ? new Uint8Array(await bytes.arrayBuffer()) : bytes };
}

function optionsOf(app: App, request: StartRequest): Result<ReturnType<typeof startOptions>> {
  const settings = app.settings.value;
  const own = contourOf(settings);
  if (typeof request.contour === "string" && request.contour !== own.name) {
    return failure(
      "bad-input",
      `There is no contour named "${request.contour}" here; the bundled one is "${own.name}".`,
    );
  }
  const contour: Contour = { ...own, ...(typeof request.contour === "object" ? request.contour : {}) };
  const rounds = request.rounds ?? contour.rounds;
  const seed = request.seed ?? settings.seed;
  if (!validRounds(rounds) || !validSeed(seed)) return failure("bad-input", t().settings.invalid);
  return { ok: true, value: { ...startOptions(settings), contour: { ...contour, rounds }, rounds, seed } };
}

function stateOf(app: App): AutodidactState {
  const session = app.session.value;
  const newest = session
    ? session.timeline.at(session.mode === "live" ? session.events.value.length : session.position.value)
    : app.model.value;
  const heldOut: Partial<Record<WorldName, HeldOut>> = {};
  for (const point of newest.heldOut) heldOut[point.world] = point.heldOut;
  return {
    mode: session?.mode ?? "recording",
    status: session?.status.value ?? "loading",
    run: newest.run?.run ?? app.live.value?.run.value?.run ?? null,
    round: newest.round,
    rounds: newest.rounds,
    incumbent: newest.incumbent,
    heldOut,
    ...newest.counts,
    storage: app.storage.value?.usage ?? null,
    device: newest.run?.device ?? null,
    events: session?.events.value.length ?? 0,
    role: app.role.value,
    workers: app.client.value?.workers() ?? 0,
  };
}

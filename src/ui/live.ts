import { computed, signal } from "@preact/signals";
import type { LoopEvent, Progress } from "../base/events.ts";
import type { Failure, Result, RunArchive, RunState, StartOptions, WorkerClient } from "../worker/api.ts";
import { done, type ExportedFile, failure, type Session, type SessionStatus } from "./session.ts";
import { t } from "./strings/index.ts";
import { Timeline } from "./timeline.ts";

const statusOf: Readonly<Record<RunState["status"], SessionStatus>> = {
  loading: "loading",
  running: "playing",
  paused: "paused",
  stopped: "stopped",
  finished: "finished",
  failed: "failed",
};

/** A run archive as a file to save. */
export function archiveFile(run: string, result: Result<RunArchive>): Result<ExportedFile> {
  if (!result.ok) return result;
  const { zip, contains } = result.value;
  return {
    ok: true,
    value: { name: `autodidact-${run}.zip`, type: zip.type, bytes: zip, contains: t().runs.contains(contains) },
  };
}

/** A run that trains in this tab's workers, a stored run that is looked at, or one that another tab trains. */
export class LiveSession implements Session {
  readonly mode = "live";
  timeline = new Timeline();
  readonly events = signal<readonly LoopEvent[]>([]);
  readonly status = signal<SessionStatus>("ready");
  readonly progress = signal<Progress | null>(null);
  readonly failure = signal<Failure | null>(null);
  readonly run = signal<RunState | null>(null);
  /** Position of a look back in time; null follows the newest event. */
  readonly #pinned = signal<number | null>(null);
  readonly position = computed(() => this.#pinned.value ?? this.events.value.length);
  readonly model = computed(() => {
    void this.events.value;
    return this.timeline.at(this.position.value);
  });
  readonly following = computed(() => this.#pinned.value === null);
  #gpu: Pick<StartOptions, "powerPreference" | "gentle"> = { powerPreference: "high-performance", gentle: false };
  readonly #client: WorkerClient;
  readonly #unsubscribe: readonly (() => void)[];
  /** Events of a run that arrive while its stored beginning is still being read. */
  #early: LoopEvent[] | null = null;
  /** Newest word of the tab that trains, while what it committed is still being read. */
  #ahead: RunState | null = null;
  #reading = false;

  constructor(client: WorkerClient) {
    this.#client = client;
    this.#unsubscribe = [
      client.on("event", (event) => this.#take([event])),
      client.on("progress", (progress) => {
        this.progress.value = progress;
      }),
      client.on("state", (state) => this.#show(state)),
      client.on("failure", (value) => {
        this.failure.value = value;
      }),
    ];
  }

  async start(options?: StartOptions): Promise<Result<null>> {
    const run = this.run.value;
    if (run && !options) {
      return this.#call(this.#client.resume({ run: run.run, ...this.#gpu }));
    }
    if (!options) return this.#fail(failure("no-run", "Nothing to go on with. Start a run first."));
    if (this.status.value === "playing" || this.status.value === "loading") {
      return this.#fail(failure("busy", "A run is in progress. Pause or stop it before you start another."));
    }
    this.#gpu = { powerPreference: options.powerPreference, gentle: options.gentle };
    this.#clear();
    this.status.value = "loading";
    return this.#call(this.#client.start(options));
  }

  /** Shows a stored run from its first event; with `resume` the run also goes on. */
  async open(
    run: RunState,
    options: { readonly resume: Pick<StartOptions, "powerPreference" | "gentle"> | null },
  ): Promise<Result<null>> {
    this.#clear();
    this.#early = [];
    this.#show(run);
    const stored = await this.#client.events({ run: run.run, since: 0 });
    if (!stored.ok) {
      this.#early = null;
      return this.#fail(stored);
    }
    const early = this.#early;
    this.#early = null;
    this.#take(stored.value);
    this.#take(early);
    if (!options.resume) return done;
    this.#gpu = options.resume;
    return this.#call(this.#client.resume({ run: run.run, ...options.resume }));
  }

  /** Shows a run of another tab as far as it is committed: reads what is new each time that the tab reports. */
  async lookOn(state: RunState): Promise<void> {
    this.#ahead = state;
    if (this.#reading) return;
    this.#reading = true;
    for (let next: RunState | null = state; next !== null; next = this.#ahead) {
      this.#ahead = null;
      const { run } = next;
      if (this.run.value?.run !== run) this.#clear();
      const since = this.events.value.length;
      const fresh = next.seq > since ? await this.#client.events({ run, since }) : { ok: true as const, value: [] };
      if (!fresh.ok) {
        this.#fail(fresh);
        break;
      }
      this.#show(next);
      this.#take(fresh.value);
    }
    this.#reading = false;
  }

  /** Reads what was committed to the run on show by something else than its loop, such as pairs that were deleted. */
  async catchUp(run: string): Promise<void> {
    const now = this.run.value;
    if (now?.run !== run) return;
    const fresh = await this.#client.events({ run, since: this.events.value.length });
    if (!fresh.ok) {
      this.#fail(fresh);
      return;
    }
    this.#take(fresh.value);
    this.#show({ ...now, seq: this.events.value.length });
  }

  /** This tab's workers are gone: what was under way here is not any more. */
  lost(): void {
    const run = this.run.value;
    if (run && (run.status === "running" || run.status === "loading")) this.#show({ ...run, status: "paused" });
    else if (this.status.value === "loading") this.status.value = "failed";
  }

  pause(): Promise<Result<null>> {
    return this.#call(this.#client.pause());
  }

  step(): Promise<Result<null>> {
    this.#pinned.value = null;
    return this.#call(this.#client.step());
  }

  stop(): Promise<Result<null>> {
    return this.#call(this.#client.stop());
  }

  async reset(): Promise<Result<null>> {
    if (this.status.value === "playing" || this.status.value === "loading") {
      const paused = await this.#call(this.#client.pause());
      if (!paused.ok) return paused;
    }
    this.#clear();
    this.status.value = "ready";
    return done;
  }

  seek(count: number): void {
    const target = Math.max(0, Math.min(Math.round(count), this.events.value.length));
    this.#pinned.value = target === this.events.value.length ? null : target;
  }

  follow(): void {
    this.#pinned.value = null;
  }

  async exportRun(): Promise<Result<ExportedFile>> {
    const run = this.run.value;
    if (!run) return failure("no-run", "There is no run to export yet.");
    return archiveFile(run.run, await this.#client.exportRun(run.run));
  }

  async exportAdapter(): Promise<Result<ExportedFile>> {
    const run = this.run.value;
    const adapter = this.model.value.incumbent;
    if (!run) return failure("no-run", "There is no run yet, so there is no adapter.");
    if (adapter === "base") {
      return failure(
        "no-run",
        "No update has been accepted up to here, so the base model stands and there is no adapter to export.",
      );
    }
    const result = await this.#client.exportAdapter({ run: run.run, adapter });
    const name = `autodidact-adapter-${adapter.slice(0, 8)}.zip`;
    return result.ok ? { ok: true, value: { name, type: "application/zip", bytes: result.value } } : result;
  }

  forgetFailure(): void {
    this.failure.value = null;
  }

  dispose(): void {
    for (const end of this.#unsubscribe) end();
  }

  #clear(): void {
    this.timeline = new Timeline();
    this.#pinned.value = null;
    this.events.value = [];
    this.progress.value = null;
    this.failure.value = null;
    this.run.value = null;
  }

  #take(events: readonly LoopEvent[]): void {
    if (this.#early) {
      this.#early.push(...events);
      return;
    }
    this.timeline.append(events);
    this.events.value = this.timeline.events.slice();
    if (this.progress.value && events.length > 0) this.progress.value = null;
  }

  #show(state: RunState): void {
    this.run.value = state;
    this.status.value = statusOf[state.status];
    if (state.status !== "running" && state.status !== "loading") this.progress.value = null;
  }

  #fail(value: Failure): Failure {
    this.failure.value = value;
    return value;
  }

  async #call(call: Promise<Result<RunState>>): Promise<Result<null>> {
    const result = await call;
    if (!result.ok) {
      if (this.status.value === "loading")
        this.status.value = this.run.value ? statusOf[this.run.value.status] : "failed";
      return this.#fail(result);
    }
    this.failure.value = null;
    this.#show(result.value);
    return done;
  }
}

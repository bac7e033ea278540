import { computed, signal } from "@preact/signals";
import type { LoopEvent, Progress } from "../base/events.ts";
import { readRecording } from "../base/recording.ts";
import type { Failure, Result } from "../worker/api.ts";
import { introLength, schedule } from "./pacing.ts";
import { done, failure, type Session, type SessionStatus } from "./session.ts";
import { Timeline } from "./timeline.ts";

/** The recorded real run that ships with the page: an events.jsonl, gzipped or plain. */
export const recordingUrl = "recordings/default.jsonl.gz";

/** A recording moves at most ten times a second; events in between are shown together. */
const redrawMs = 100;

/** Fetches and reads the recording at `url`. */
export async function fetchRecording(url: string): Promise<Result<readonly LoopEvent[]>> {
  try {
    const response = await fetch(url);
    if (!response.ok)
      return failure("network", `The recorded run could not be fetched (HTTP ${response.status}). Reload the page.`);
    return {
      ok: true,
      value: await readRecording(new Uint8Array(await response.arrayBuffer()), () => performance.now()),
    };
  } catch (error) {
    return failure(
      "network",
      "The recorded run could not be read. Reload the page.",
      error instanceof Error ? error.message : String(error),
    );
  }
}

export interface RecordingOptions {
  readonly events: readonly LoopEvent[];
  /** Milliseconds, monotonic. */
  readonly now: () => number;
  /** Calls back once after about `ms`; returns the function that cancels. */
  readonly later: (callback: () => void, ms: number) => () => void;
}

/** Plays recorded events as if they happened now; `speed` scales the schedule of pacing.ts. */
export class RecordingSession implements Session {
  readonly mode = "recording";
  readonly timeline = new Timeline();
  readonly events = signal<readonly LoopEvent[]>([]);
  readonly position = signal(0);
  readonly status = signal<SessionStatus>("ready");
  readonly progress = signal<Progress | null>(null);
  readonly failure = signal<Failure | null>(null);
  readonly speed = signal(1);
  readonly model = computed(() => {
    void this.events.value;
    return this.timeline.at(this.position.value);
  });
  readonly following = computed(() => this.status.value === "playing");
  readonly #options: RecordingOptions;
  readonly #times: readonly number[];
  #cancel: (() => void) | null = null;
  /** Schedule time at `#since` on the clock. */
  #offset = 0;
  #since = 0;

  constructor(options: RecordingOptions) {
    this.#options = options;
    this.timeline.append(options.events);
    this.events.value = this.timeline.events;
    this.#times = schedule(options.events);
  }

  /** Goes to where a gain and a rejection have been seen, without playing: for visitors who want less motion. */
  skipIntro(): void {
    this.seek(introLength(this.events.value) ?? this.events.value.length);
  }

  setSpeed(speed: number): void {
    this.#offset = this.#clock();
    this.#since = this.#options.now();
    this.speed.value = speed;
    if (this.status.value === "playing") this.#tick();
  }

  async start(): Promise<Result<null>> {
    if (this.status.value === "playing") return done;
    if (this.position.value >= this.events.value.length) this.position.value = 0;
    this.#offset = this.#times[this.position.value] ?? 0;
    this.#since = this.#options.now();
    this.status.value = "playing";
    this.#tick();
    return done;
  }

  async pause(): Promise<Result<null>> {
    this.#halt("paused");
    return done;
  }

  async step(): Promise<Result<null>> {
    this.seek(this.position.value + 1);
    return done;
  }

  async stop(): Promise<Result<null>> {
    this.seek(0);
    this.status.value = "stopped";
    return done;
  }

  async reset(): Promise<Result<null>> {
    this.seek(0);
    this.status.value = "ready";
    return done;
  }

  seek(count: number): void {
    this.#halt("paused");
    this.position.value = Math.max(0, Math.min(Math.round(count), this.events.value.length));
    if (this.position.value === this.events.value.length) this.status.value = "finished";
  }

  /** Plays on; at the end, which is the newest event, it stays there. */
  follow(): void {
    if (this.position.value < this.events.value.length) void this.start();
  }

  async exportRun(): ReturnType<Session["exportRun"]> {
    const response = await fetchRecordingBytes();
    if (!response.ok) return response;
    return {
      ok: true,
      value: { name: "autodidact-recording.jsonl.gz", type: "application/gzip", bytes: response.value },
    };
  }

  async exportAdapter(): ReturnType<Session["exportAdapter"]> {
    return failure(
      "no-run",
      "A recording holds events, not weights. Train on this GPU, then export the adapter of your own run.",
    );
  }

  forgetFailure(): void {
    this.failure.value = null;
  }

  dispose(): void {
    this.#halt("paused");
  }

  #clock(): number {
    return this.status.value === "playing"
      ? this.#offset + (this.#options.now() - this.#since) * this.speed.value
      : this.#offset;
  }

  #halt(status: SessionStatus): void {
    this.#offset = this.#clock();
    this.#cancel?.();
    this.#cancel = null;
    this.status.value = status;
  }

  #tick(): void {
    this.#cancel?.();
    const clock = this.#clock();
    let position = this.position.value;
    while (position < this.#times.length && (this.#times[position] as number) <= clock) position += 1;
    this.position.value = position;
    const next = this.#times[position];
    if (next === undefined) {
      this.#cancel = null;
      this.status.value = "finished";
      return;
    }
    this.#cancel = this.#options.later(() => this.#tick(), Math.max(redrawMs, (next - clock) / this.speed.value));
  }
}

async function fetchRecordingBytes(): Promise<Result<Uint8Array>> {
  try {
    const response = await fetch(recordingUrl);
    if (!response.ok) return failure("network", `The recording could not be fetched (HTTP ${response.status}).`);
    return { ok: true, value: new Uint8Array(await response.arrayBuffer()) };
  } catch {
    return failure("network", "The recording could not be fetched. Check that the server runs.");
  }
}

/** A worker client without workers: it "trains" by handing out an invented log, one event a call of `tick`. */
import type { LoopEvent } from "../../src/base/events.ts";
import type { PlanSpan } from "../../src/base/spans.ts";
import type {
  Answer,
  ClientEvents,
  CurateAction,
  Failure,
  PairsOverview,
  PairsPage,
  Result,
  RunArchive,
  RunState,
  RunSummary,
  StartOptions,
  StorageReport,
  TabRole,
  WorkerClient,
} from "../../src/worker/api.ts";
import type { Capabilities } from "../../src/worker/capabilities.ts";
import { parseAnswer } from "../../src/world/questions.ts";
import { render } from "../../src/world/render.ts";
import { encode } from "../../src/world/vocabulary.ts";
import { syntheticEvents } from "./synthetic.ts";

export const readyCapabilities: Capabilities = {
  kind: "ready",
  adapters: [
    {
      powerPreference: "high-performance",
      vendor: "intel",
      architecture: "gen-12lp",
      description: "Intel Iris Xe",
      fallback: false,
    },
  ],
};

const ok = <T>(value: T): Result<T> => ({ ok: true, value });

export class FakeClient implements WorkerClient {
  readonly calls: string[] = [];
  readonly log: readonly LoopEvent[] = syntheticEvents({ rounds: 8, seed: 11, preview: 2 });
  given: Capabilities = readyCapabilities;
  current: RunState | null = null;
  stored: RunSummary[] = [];
  refusal: Failure | null = null;
  tab: TabRole = "writer";
  recorded: readonly PlanSpan[] = [];
  report: StorageReport = { usage: 84_300_000, quota: 12_000_000_000, persisted: false };
  corrections: { chosen: string; rejected: string }[] = [];
  readonly #listeners = new Map<keyof ClientEvents, Set<(payload: never) => void>>();

  async capabilities(): Promise<Capabilities> {
    return this.given;
  }

  async footprint(): Promise<{ bytes: number; cached: number }> {
    return { bytes: 14_200_000, cached: 0 };
  }

  workers(): number {
    return 0;
  }

  async role(): Promise<TabRole> {
    return this.tab;
  }

  async takeOver(): Promise<void> {
    this.calls.push("take over");
    this.become("writer");
  }

  async letGo(): Promise<void> {
    this.calls.push("let go");
  }

  /** What the browser says when another tab is closed, or wants to write. */
  become(role: TabRole): void {
    this.tab = role;
    this.send("role", role);
  }

  async trace(on: boolean): Promise<Result<null>> {
    this.calls.push(on ? "trace" : "trace off");
    return ok(null);
  }

  async spans(): Promise<readonly PlanSpan[]> {
    return this.recorded;
  }

  async warm({ powerPreference }: Parameters<WorkerClient["warm"]>[0]): Promise<void> {
    this.calls.push(`warm ${powerPreference}`);
  }

  async start(options: StartOptions): Promise<Result<RunState>> {
    this.calls.push(`start ${options.rounds} ${options.seed} ${options.contour.judge.rule}`);
    if (this.refusal) return this.refusal;
    return this.#set({
      run: "run-0001",
      status: "running",
      round: 0,
      rounds: options.rounds,
      seed: options.seed,
      seq: 0,
      incumbent: "base",
      device: null,
      secondsPerRound: null,
    });
  }

  async resume({ run }: { run: string }): Promise<Result<RunState>> {
    this.calls.push(`resume ${run}`);
    if (this.refusal) return this.refusal;
    const summary = this.stored.find((one) => one.run === run);
    const base: RunState = this.current ?? {
      run,
      status: "paused",
      round: summary?.round ?? 0,
      rounds: 8,
      seed: 0,
      seq: summary?.events ?? 0,
      incumbent: "base",
      device: null,
      secondsPerRound: 3,
    };
    return this.#set({ ...base, status: "running" });
  }

  async pause(): Promise<Result<RunState>> {
    this.calls.push("pause");
    return this.#change("paused");
  }

  async step(): Promise<Result<RunState>> {
    this.calls.push("step");
    this.tick();
    return this.#change("paused");
  }

  async stop(): Promise<Result<RunState>> {
    this.calls.push("stop");
    return this.#change("stopped");
  }

  async state(): Promise<RunState | null> {
    return this.current;
  }

  async setGentle(): Promise<Result<null>> {
    return ok(null);
  }

  async events({ since }: { run: string; since: number }): Promise<Result<readonly LoopEvent[]>> {
    if (this.refusal) return this.refusal;
    const seq = this.current?.seq ?? this.stored[0]?.events ?? 0;
    return ok(this.log.slice(since, seq));
  }

  async pairs(): Promise<Result<readonly never[]>> {
    return ok([]);
  }

  async listPairs(): Promise<Result<PairsPage>> {
    return ok({ pairs: [], next: null });
  }

  async overviewPairs(): Promise<Result<PairsOverview>> {
    return ok({ sources: [], count: 0 });
  }

  async choosePairs(): Promise<Result<readonly never[]>> {
    return ok([]);
  }

  async curatePairs({ action, pairs }: { action: CurateAction; pairs: readonly string[] }): Promise<Result<null>> {
    this.calls.push(`${action} ${pairs.join()}`);
    return this.refusal ?? ok(null);
  }

  async storage(): Promise<StorageReport> {
    return this.report;
  }

  async persist(): Promise<StorageReport> {
    return { ...(await this.storage()), persisted: true };
  }

  async runs(): Promise<Result<readonly RunSummary[]>> {
    return ok(this.stored);
  }

  async deleteRun(run: string): Promise<Result<null>> {
    this.stored = this.stored.filter((one) => one.run !== run);
    return ok(null);
  }

  async renameRun({ run, name }: { run: string; name: string }): Promise<Result<null>> {
    if (this.refusal) return this.refusal;
    this.stored = this.stored.map((one) => (one.run === run ? { ...one, name } : one));
    return ok(null);
  }

  async exportRun(): Promise<Result<RunArchive>> {
    const zip = new Blob([new Uint8Array([0x50, 0x4b])], { type: "application/zip" });
    return this.refusal ?? ok({ zip, contains: { events: 40, pairs: 12, visitorPairs: 2, adapters: 3 } });
  }

  async exportAdapter({ adapter }: { run: string; adapter: string }): Promise<Result<Uint8Array>> {
    this.calls.push(`adapter ${adapter.slice(0, 4)}`);
    return ok(new Uint8Array([0x50, 0x4b]));
  }

  async importRun(archive: Blob | Uint8Array): Promise<Result<RunSummary>> {
    const [first] = archive instanceof Blob ? new Uint8Array(await archive.arrayBuffer()) : archive;
    if (first !== 0x50) return { ok: false, code: "bad-input", message: "This is not a run archive (zip)." };
    const summary = summaryOf("run-0009");
    this.stored.push(summary);
    return ok(summary);
  }

  async ask(): Promise<Result<{ base: Answer; improved: Answer }>> {
    return (
      this.refusal ??
      ok({
        base: answerOf("red circle a 1", "base"),
        improved: answerOf("red circle a 1 blue square c 3", "f".repeat(64)),
      })
    );
  }

  async correct({ chosen, rejected }: { chosen: string; rejected: string }): Promise<Result<{ pair: string }>> {
    this.corrections.push({ chosen, rejected });
    return ok({ pair: "c".repeat(64) });
  }

  on<K extends keyof ClientEvents>(type: K, callback: (payload: ClientEvents[K]) => void): () => void {
    const set = this.#listeners.get(type) ?? new Set();
    this.#listeners.set(type, set);
    set.add(callback);
    return () => set.delete(callback);
  }

  async dispose(): Promise<void> {
    this.#listeners.clear();
  }

  /** Commits the next event, as the loop would. */
  tick(): boolean {
    const { current } = this;
    const event = current && this.log[current.seq];
    if (!current || !event) return false;
    this.#set({ ...current, seq: current.seq + 1, round: event.round, secondsPerRound: 3.4 });
    this.send("event", event);
    return true;
  }

  send<K extends keyof ClientEvents>(type: K, payload: ClientEvents[K]): void {
    for (const callback of this.#listeners.get(type) ?? []) (callback as (payload: ClientEvents[K]) => void)(payload);
  }

  #set(state: RunState): Result<RunState> {
    this.current = state;
    this.send("state", state);
    return ok(state);
  }

  #change(status: RunState["status"]): Result<RunState> {
    if (!this.current) return { ok: false, code: "no-run", message: "There is no run." };
    return this.#set({ ...this.current, status });
  }
}

export function summaryOf(run: string, status: RunSummary["status"] = "finished", events = 0): RunSummary {
  return {
    run,
    name: run,
    startedAt: Date.UTC(2026, 10, 20, 9, 30),
    status,
    round: 8,
    rounds: 40,
    seed: 11,
    accepted: 2,
    rejected: 1,
    heldOut: 0.47,
    bytes: 6_100_000,
    events,
    base: "b".repeat(64),
    incumbent: "f".repeat(64),
    imported: false,
  };
}

function answerOf(text: string, adapter: string): Answer {
  const tokens = [...encode(text), 2];
  const parsed = parseAnswer("describe", tokens);
  return { text, tokens, logprob: -1.2, redrawn: parsed?.kind === "scene" ? render(parsed.scene) : null, adapter };
}

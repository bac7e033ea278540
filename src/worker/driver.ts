/** Drives one run: start, pause, step, stop, resume, a visitor's questions, and the way back after a lost device. */
import { type DeviceSummary, deviceOf, type LoopEvent, type Progress } from "../base/events.ts";
import type { JudgedCandidate, Picture, Task } from "../base/records.ts";
import type { OnnxScorer } from "../judge/jury.ts";
import { redraw } from "../judge/pixels.ts";
import { createLoop, type Loop } from "../loop/cycle.ts";
import type { EnginePort, LoopState, Ports, StorePort } from "../loop/ports.ts";
import { parseAnswer, parsePrompt } from "../world/questions.ts";
import { taskId } from "../world/task.ts";
import { decode, EOS, encode } from "../world/vocabulary.ts";
import type { Answer, AskOptions, CorrectOptions, Failure, RunState, RunStatus, StartOptions } from "./api.ts";
import { portsOf } from "./compose.ts";
import { ControlledEngine, Interrupted } from "./controlled-engine.ts";
import { toFailure, WorkerError } from "./rpc.ts";

/** A device with the model on it. `lost` resolves when the device is gone without our doing. */
export interface OpenEngine {
  readonly engine: EnginePort;
  readonly lost: Promise<string>;
  setGentle(gentle: boolean): void;
  /** Forgets every adapter but these; the store has them all. */
  keep(adapters: ReadonlySet<string>): void;
  close(): Promise<void>;
}

export interface DriverParts {
  /**
   * `pinned`: the device that the run's newest events were computed on, whose kernels it goes on with. `contour`: of a
   * run that is about to begin; what its first answers need may be built beside the rest.
   */
  open(
    options: Pick<StartOptions, "powerPreference" | "gentle"> &
      Partial<Pick<StartOptions, "contour">> & { readonly pinned?: DeviceSummary | undefined },
  ): Promise<OpenEngine>;
  store(run: string): StorePort;
  judge(): Promise<OnnxScorer>;
  /** Takes the lock that makes every other tab read-only; null if another tab has it. */
  lock(): Promise<(() => void) | null>;
  newKey?(): string;
  now(): number;
  emit(event: LoopEvent): void;
  progress(progress: Progress): void;
  state(state: RunState): void;
  failure(failure: Failure): void;
  /** Wraps the loop's ports: fault tests put faults there. */
  ports?(ports: Ports): Ports;
}

/** Attempts in a row to go on from the last commit by itself, before the run pauses and says why. */
const RECOVERIES = 3;
/** Rest before each further attempt, in ms: a driver that restarts offers no adapter for a moment. */
const REST_MS = 500;
/** A lost device is announced shortly after the call that it broke, in ms. */
const LOSS_NOTICE_MS = 200;
const MAX_ANSWER = 30;

interface Active {
  readonly run: string;
  powerPreference: StartOptions["powerPreference"];
  opened: OpenEngine;
  readonly engine: ControlledEngine;
  loop: Loop;
  unlock: () => void;
  status: RunStatus;
  stepping: boolean;
  /** After a failure: what the loop believes must be read from the store again before the next phase. */
  broken: boolean;
  recoveries: number;
  /** Events with a lower `seq` have been emitted. */
  emitted: number;
  lostMessage: string | null;
  driving: Promise<void> | null;
  readonly times: { began: number; rounds: number };
}

interface Spare {
  readonly powerPreference: StartOptions["powerPreference"];
  readonly opening: Promise<OpenEngine>;
}

export class Driver {
  private readonly parts: DriverParts;
  private active: Active | null = null;
  /** As asked for last: devices are opened and replaced while it changes. */
  private gentle = false;
  /** An engine for questions while no run is open; the next run takes it. */
  private spare: Spare | null = null;

  constructor(parts: DriverParts) {
    this.parts = parts;
  }

  async start(options: StartOptions): Promise<RunState> {
    const run = `${options.contour.name}-${options.seed}-${Math.round(this.parts.now()).toString(36)}`;
    const contour = { ...options.contour, rounds: options.rounds };
    const active = await this.open(run, options, contour, options.seed);
    const state = await this.guarded(() =>
      active.loop.start({ run, contour, seed: options.seed, versions: { autodidact: __VERSION__ } }),
    );
    return this.go(active, state);
  }

  /** `since`: events with a lower `seq` are known to whoever asks; the others are emitted again (by default none). */
  async resume(options: {
    run: string;
    powerPreference: StartOptions["powerPreference"];
    gentle: boolean;
    since?: number;
  }): Promise<RunState> {
    const { active } = this;
    if (active?.run === options.run && (active.status === "paused" || active.status === "failed")) {
      active.powerPreference = options.powerPreference;
      this.setGentle(options.gentle);
      active.recoveries = 0;
      active.engine.release();
      return this.go(active, this.loopState(active));
    }
    const stored = await this.parts.store(options.run).state();
    if (!stored) throw new WorkerError("no-run", "There is no such run in this browser any more. Start a new one.");
    const pinned = deviceOf(await this.parts.store(options.run).events({ since: 0 }));
    const opened = await this.open(options.run, { ...options, pinned }, stored.contour, stored.seed);
    opened.emitted = options.since ?? stored.seq;
    await this.guarded(() => this.catchUp(opened));
    return this.go(opened, this.loopState(opened));
  }

  async pause(): Promise<RunState> {
    const active = this.running();
    active.engine.hold();
    return this.show(active, "paused");
  }

  /** One phase, up to its commit. */
  async step(): Promise<RunState> {
    const active = this.running();
    if (active.status === "paused") {
      active.stepping = true;
      active.engine.release();
      this.show(active, "running");
      active.driving ??= this.drive(active);
    } else active.stepping = true;
    await active.driving;
    return this.runState(active);
  }

  async stop(): Promise<RunState> {
    const active = this.running();
    active.engine.interrupt();
    await active.driving;
    try {
      if (active.broken) await this.catchUp(active);
      await active.loop.stop("stopped by the visitor");
    } catch (error) {
      active.broken = true;
      active.engine.hold();
      this.show(active, "paused");
      throw error;
    }
    const state = this.show(active, "stopped");
    await this.close();
    return state;
  }

  /** A visitor is about to start a run: opens an engine for it, if none is open. What fails here is tried again then. */
  async warm(options: Pick<StartOptions, "contour" | "powerPreference">): Promise<void> {
    if (!this.active && !this.spare) await this.spareEngine({ ...options, gentle: false });
  }

  /** No run is going on or held: nobody waits for the GPU. */
  idle(): boolean {
    const status = this.active?.status ?? "stopped";
    return status === "finished" || status === "stopped";
  }

  state(): RunState | null {
    return this.active ? this.runState(this.active) : null;
  }

  setGentle(gentle: boolean): void {
    this.gentle = gentle;
    this.active?.opened.setGentle(gentle);
  }

  /** Base and incumbent answer the same question; during a run between two of its engine calls. */
  async ask({ picture, question }: AskOptions): Promise<{ base: Answer; improved: Answer }> {
    const task = visitorTask(picture, question, this.active?.loop.state()?.round ?? 0);
    const { active } = this;
    const incumbent = active?.loop.state()?.incumbent ?? "base";
    const answer = async (engine: EnginePort, adapter: string): Promise<Answer> => {
      if (adapter !== "base" && active) {
        const snapshot = await this.parts.store(active.run).adapter(adapter);
        if (snapshot) await engine.load(snapshot);
      }
      const [candidate] = await engine.greedy([task], { adapter, maxNewTokens: MAX_ANSWER });
      if (!candidate) throw new WorkerError("internal", "The model gave no answer.");
      const { text, tokens, logprob } = candidate;
      return { text: text.trim(), tokens, logprob, redrawn: task.kind === "describe" ? redraw(tokens) : null, adapter };
    };
    const both = async (engine: EnginePort) => {
      const base = await answer(engine, "base");
      return { base, improved: incumbent === "base" ? base : await answer(engine, incumbent) };
    };
    if (active) return active.engine.aside(both);
    const opened = await this.spareEngine({ powerPreference: "high-performance", gentle: false });
    return both(opened.engine);
  }

  /** A correction becomes a fresh preference pair of the run. */
  async correct({ picture, question, chosen, rejected }: CorrectOptions): Promise<{ pair: string }> {
    const active = this.running();
    const task = visitorTask(picture, question, this.loopState(active).round);
    const candidate = (text: string, score: number): JudgedCandidate => {
      const tokens = [...encode(text), EOS];
      return {
        tokens,
        text,
        logprob: 0,
        finished: true,
        scores: { visitor: score },
        redrawn: task.kind === "describe" ? redraw(tokens) : null,
      };
    };
    const right = candidate(chosen, 1);
    if (parseAnswer(task.kind, right.tokens) === null)
      throw new WorkerError(
        "bad-input",
        `"${chosen}" is not an answer to this question. Say it in the words of the world, for example "red circle b 3".`,
      );
    if (chosen.trim() === rejected.trim())
      throw new WorkerError("bad-input", "The correction says what the model said already.");
    const state = await active.loop.correct({
      task,
      chosen: right,
      rejected: candidate(rejected, -1),
      detail: `${decode(task.prompt)}: "${chosen}" instead of "${rejected}"`,
    });
    const events = await this.parts.store(active.run).events({ since: state.seq - 1 });
    const event = events.findLast((one) => one.type === "corrected");
    if (event?.type !== "corrected") throw new WorkerError("internal", "The correction was stored without an event.");
    return { pair: event.pair };
  }

  /** Lets go of `run` at its last commit if it is open and does not train, so that what is stored can be changed. */
  async release(run: string): Promise<void> {
    const { active } = this;
    if (active?.run !== run) return;
    if (active.status === "running" || active.status === "loading")
      throw new WorkerError("busy", "The run is training. Pause it first, then change its pairs.");
    active.engine.interrupt();
    await active.driving;
    await this.close();
  }

  async dispose(): Promise<void> {
    this.active?.engine.interrupt();
    await this.active?.driving;
    await this.close();
    await (await this.takeSpare())?.close();
  }

  private async spareEngine(options: Parameters<DriverParts["open"]>[0]): Promise<OpenEngine> {
    if (this.spare) return this.spare.opening;
    const { powerPreference } = options;
    const spare: Spare = { powerPreference, opening: this.parts.open(options) };
    this.spare = spare;
    const forget = (): boolean => {
      if (this.spare !== spare) return false;
      this.spare = null;
      return true;
    };
    spare.opening.catch(forget);
    const opened = await spare.opening;
    void opened.lost.then(() => (forget() ? opened.close() : undefined));
    return opened;
  }

  /** The spare engine for whoever asks, and for nobody else from now on; null if there is none or it could not be opened. */
  private async takeSpare(): Promise<OpenEngine | null> {
    const { spare } = this;
    this.spare = null;
    return (await spare?.opening.catch(() => null)) ?? null;
  }

  private running(): Active {
    if (!this.active) throw new WorkerError("no-run", "No run is open. Start one first.");
    return this.active;
  }

  private loopState(active: Active): LoopState {
    const state = active.loop.state();
    if (!state) throw new WorkerError("no-run", "The run has not begun.");
    return state;
  }

  /** Lock, device, model, judge and loop of a run; an open run of this tab is closed first, it stays stored. */
  private async open(
    run: string,
    options: Parameters<DriverParts["open"]>[0],
    contour: LoopState["contour"],
    seed: number,
  ): Promise<Active> {
    if (this.active?.status === "running" || this.active?.status === "loading")
      throw new WorkerError("busy", "A run is in progress. Pause or stop it first.");
    this.gentle = options.gentle;
    await this.close();
    const unlock = await this.parts.lock();
    if (!unlock)
      throw new WorkerError(
        "locked",
        "Another tab is training. This one can look on; close the other tab to train here.",
      );
    let opened: OpenEngine | null = null;
    try {
      opened = await this.openFor(options);
      const active: Active = {
        run,
        powerPreference: options.powerPreference,
        opened,
        engine: new ControlledEngine(opened.engine),
        loop: null as unknown as Loop,
        unlock,
        status: "loading",
        stepping: false,
        broken: false,
        recoveries: 0,
        emitted: 0,
        lostMessage: null,
        driving: null,
        times: { began: 0, rounds: 0 },
      };
      active.loop = await this.compose(active, contour, seed);
      opened.setGentle(this.gentle);
      this.active = active;
      this.watch(active);
      return active;
    } catch (error) {
      await opened?.close();
      unlock();
      throw error;
    }
  }

  /** The spare engine serves a new run on the same GPU; a stored one wants the kernels that it began with. */
  private async openFor(options: Parameters<DriverParts["open"]>[0]): Promise<OpenEngine> {
    const fits = !options.pinned && this.spare?.powerPreference === options.powerPreference;
    const spare = await this.takeSpare();
    if (spare && fits) return spare;
    await spare?.close();
    return this.parts.open(options);
  }

  private async compose(active: Active, contour: LoopState["contour"], seed: number): Promise<Loop> {
    const { parts } = this;
    const ports = portsOf(
      {
        engine: active.engine,
        store: parts.store(active.run),
        onnx: await parts.judge(),
        ...(parts.newKey ? { newKey: () => (parts.newKey as () => string)() } : {}),
        now: () => parts.now(),
        emit: (event) => this.emit(active, event),
        progress: (progress) => parts.progress(progress),
      },
      { contour, seed },
    );
    return createLoop(parts.ports?.(ports) ?? ports);
  }

  private emit(active: Active, event: LoopEvent): void {
    this.parts.emit(event);
    active.emitted = event.seq + 1;
    active.times.rounds = event.round;
    this.parts.state(this.runState(active));
  }

  private watch(active: Active): void {
    const { opened } = active;
    void opened.lost.then((message) => {
      if (active.opened === opened) active.lostMessage = message;
    });
  }

  private async guarded<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await work();
    } catch (error) {
      await this.close();
      throw error;
    }
  }

  private go(active: Active, state: LoopState): RunState {
    if (state.finished !== null) {
      const shown = this.show(active, "finished");
      void this.close();
      return shown;
    }
    active.stepping = false;
    active.times.began ||= this.parts.now();
    active.driving ??= this.drive(active);
    return this.show(active, "running");
  }

  /** Phase after phase until the run is finished, paused after a step, stopped or failed. */
  private async drive(active: Active): Promise<void> {
    try {
      for (;;) {
        const state = await this.phase(active);
        if (state === null) return;
        if (state.finished !== null) {
          this.show(active, "finished");
          active.unlock();
          return;
        }
        if (active.stepping) {
          active.stepping = false;
          active.engine.hold();
          this.show(active, "paused");
          return;
        }
      }
    } finally {
      active.driving = null;
    }
  }

  /**
   * One phase; null when the run was stopped, or paused with its failure shown. After a lost device, or a commit whose
   * answer was lost, it goes on by itself from what is committed.
   */
  private async phase(active: Active): Promise<LoopState | null> {
    for (;;) {
      try {
        if (active.lostMessage !== null) await this.reopen(active);
        if (active.broken) await this.catchUp(active);
        const state = await active.loop.advance();
        active.recoveries = 0;
        active.opened.keep(new Set([state.incumbent, state.best, state.candidate?.adapter ?? "base"]));
        return state;
      } catch (error) {
        if (error instanceof Interrupted) return null;
        active.broken = true;
        await Promise.race([active.opened.lost, rest(LOSS_NOTICE_MS)]);
        if (await this.mayTryAgain(active, error)) continue;
        const lost = active.lostMessage !== null;
        this.parts.failure(
          lost ? deviceLost(active.lostMessage, "Resume the run to try once more.") : toFailure(error),
        );
        active.engine.hold();
        this.show(active, lost ? "failed" : "paused");
        return null;
      }
    }
  }

  /** Does trying again by itself make sense? The device was lost, or the store is further on than the loop believes. */
  private async mayTryAgain(active: Active, error: unknown): Promise<boolean> {
    const lost = active.lostMessage !== null;
    const behind = toFailure(error).code === "locked";
    if ((!lost && !behind) || active.recoveries >= RECOVERIES) return false;
    if (active.recoveries > 0) await rest(REST_MS);
    active.recoveries++;
    if (lost) this.parts.failure(deviceLost(active.lostMessage, "Going on from the last saved step."));
    return true;
  }

  /** A device in place of the lost one, with everything on it anew. The brake keeps its position. */
  private async reopen(active: Active): Promise<void> {
    await active.opened.close().catch(() => undefined);
    const { powerPreference, engine } = active;
    active.opened = await this.parts.open({ powerPreference, gentle: this.gentle, pinned: engine.device });
    active.opened.setGentle(this.gentle);
    active.lostMessage = null;
    engine.replace(active.opened.engine);
    this.watch(active);
    const { contour, seed } = this.loopState(active);
    active.loop = await this.compose(active, contour, seed);
    active.broken = true;
  }

  /** Emits what was committed without an answer, and sets the loop to the last commit. */
  private async catchUp(active: Active): Promise<void> {
    for (const event of await this.parts.store(active.run).events({ since: active.emitted })) this.emit(active, event);
    await active.loop.resume();
    active.broken = false;
  }

  private async close(): Promise<void> {
    const { active } = this;
    this.active = null;
    if (!active) return;
    active.unlock();
    await active.opened.close();
  }

  private runState(active: Active): RunState {
    const state = active.loop.state();
    const { began, rounds } = active.times;
    return {
      run: active.run,
      status: active.status,
      round: state?.round ?? 0,
      rounds: state?.contour.rounds ?? 0,
      seed: state?.seed ?? 0,
      seq: state?.seq ?? 0,
      incumbent: state?.incumbent ?? "base",
      device: active.engine.device,
      secondsPerRound: rounds > 1 && began > 0 ? (this.parts.now() - began) / 1000 / (rounds - 1) : null,
    };
  }

  private show(active: Active, status: RunStatus): RunState {
    active.status = status;
    const state = this.runState(active);
    this.parts.state(state);
    return state;
  }
}

const rest = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

const deviceLost = (reason: string | null, next: string): Failure => ({
  ok: false,
  code: "device-lost",
  message: `The GPU was lost (${reason}). ${next}`,
});

function visitorTask(picture: Picture, question: string, round: number): Task {
  const prompt = encode(question);
  const parsed = parsePrompt(prompt);
  if (!parsed)
    throw new WorkerError(
      "bad-input",
      `"${question}" is not a question this model knows. Ask "describe", for example.`,
    );
  return { id: taskId(picture, prompt), kind: parsed.kind, prompt, picture, source: "visitor", round };
}

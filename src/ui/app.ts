import { batch, computed, effect, type ReadonlySignal, type Signal, signal } from "@preact/signals";
import type { LoopEvent } from "../base/events.ts";
import type {
  Capabilities,
  CurateAction,
  Failure,
  Result,
  RunState,
  RunSummary,
  StorageReport,
  TabRole,
  WorkerClient,
} from "../worker/api.ts";
import { type Announcer, createAnnouncer } from "./announce.ts";
import { bytes, share } from "./format.ts";
import { LiveSession } from "./live.ts";
import { emptyModel, type LoopModel, lastDecision, type Stage } from "./model.ts";
import type { OfflineState } from "./pwa.ts";
import { fetchRecording, type RecordingOptions, RecordingSession, recordingUrl } from "./recording.ts";
import { expectedBytes, roomLeft } from "./room.ts";
import { done, type ExportedFile, failure, type Session } from "./session.ts";
import { readSettings, type Settings, startOptions } from "./settings.ts";
import { t } from "./strings/index.ts";

export type View = "watch" | "draw" | "runs" | "settings" | "explain";
export const views: readonly View[] = ["watch", "draw", "runs", "settings", "explain"];

/** What the page gets from its surroundings, so that tests can give something else. */
export interface Surroundings extends Omit<RecordingOptions, "events"> {
  readonly connect: () => Promise<WorkerClient>;
  readonly loadRecording?: () => Promise<Result<readonly LoopEvent[]>>;
  readonly storedSettings: string | null;
  readonly storeSettings: (text: string) => void;
  readonly reducedMotion: boolean;
  readonly save: (file: ExportedFile) => void;
}

const emptySessionModel: ReadonlySignal<LoopModel> = signal(emptyModel);

/** The page's state and what can be done with it. Components read the signals and call the methods. */
export class App {
  readonly session = signal<Session | null>(null);
  readonly recording = signal<RecordingSession | null>(null);
  readonly live = signal<LiveSession | null>(null);
  readonly model = computed(() => (this.session.value?.model ?? emptySessionModel).value);
  readonly capabilities = signal<Capabilities | null>(null);
  readonly footprint = signal<{ readonly bytes: number; readonly cached: number } | null>(null);
  readonly storage = signal<StorageReport | null>(null);
  readonly runs = signal<readonly RunSummary[] | null>(null);
  readonly offline = signal<OfflineState>({ kind: "preparing" });
  readonly failure = signal<Failure | null>(null);
  readonly notice = signal("");
  readonly view = signal<View>("watch");
  readonly settings: Signal<Settings>;
  /** Which picture of the round is on show. */
  readonly taskIndex = signal(0);
  /** All answers to the picture, or a few. */
  readonly allAnswers = signal(false);
  /** Index of the update that WHY shows; null for the newest decision. */
  readonly updateIndex = signal<number | null>(null);
  readonly openStage = signal<Stage | null>(null);
  /** True for a while after the page was hidden during training: browsers slow hidden tabs down. */
  readonly wasHidden = signal(false);
  readonly client = signal<WorkerClient | null>(null);
  /** "reader": another tab of this page trains and writes, this one looks on. */
  readonly role = signal<TabRole>("writer");
  /** In a tab that looks on: the run of the tab that writes. */
  readonly elsewhere = signal<RunState | null>(null);
  /** Event at which this tab went on with another tab's run; null when that has been read. */
  readonly tookOverAt = signal<number | null>(null);
  /** True while another tab is asked to let go. */
  readonly takingOver = signal(false);
  /** The developer panel records the run's plans. */
  readonly tracing = signal(false);
  readonly announcer: Announcer;
  readonly canTrain = computed(() => this.capabilities.value?.kind === "ready" && this.role.value === "writer");
  /** A run of this tab, or the one it looks at in another, is under way. */
  readonly training = computed(() => {
    const live = this.live.value;
    return live !== null && (live.status.value === "playing" || live.status.value === "loading");
  });
  /** Unfinished runs that could not go on in the version that waits, since it has other base weights; asked before it lands. */
  readonly leftBehind = signal<readonly RunSummary[]>([]);
  /** Both set by the entry, which owns the service worker: reloads into a new version that waits, or says why not … */
  activateUpdate: () => Promise<Result<null>> = async () => done;
  /** … and the SHA-256 of that version's base weights, if it says. */
  waitingBase: () => Promise<string | null> = async () => null;
  readonly #given: Surroundings;
  #refreshing = false;
  #connecting: Promise<WorkerClient> | null = null;

  constructor(given: Surroundings) {
    this.#given = given;
    this.settings = signal(readSettings(given.storedSettings));
    this.announcer = createAnnouncer({ now: given.now, later: given.later });
    effect(() => given.storeSettings(JSON.stringify(this.settings.value)));
    effect(() => this.#announceModel());
  }

  /** Plays the recording, finds out what this machine can do, and goes on with a run that a reload cut short. */
  async boot(): Promise<void> {
    await Promise.all([this.showRecording(), this.#meetMachine()]);
  }

  /** The one connection to the workers; made on the first use. */
  connect(): Promise<WorkerClient> {
    this.#connecting ??= this.#given.connect().then((client) => {
      this.client.value = client;
      client.on("failure", (value) => {
        this.failure.value = value;
      });
      client.on("state", () => this.#refreshSoon());
      client.on("role", (role) => this.#roleChanged(role));
      client.on("elsewhere", (state) => this.#lookOn(state));
      return client;
    });
    return this.#connecting;
  }

  async showRecording(): Promise<void> {
    if (!this.recording.value) {
      const events = await (this.#given.loadRecording ?? (() => fetchRecording(recordingUrl)))();
      if (!events.ok) {
        if (!this.session.value) this.failure.value = events;
        return;
      }
      this.recording.value = new RecordingSession({
        events: events.value,
        now: this.#given.now,
        later: this.#given.later,
      });
    }
    const recording = this.recording.value;
    // A run that was found meanwhile has the stage.
    if (this.session.value?.mode === "live" && this.session.value.status.value !== "ready") return;
    this.#show(recording);
    if (this.#given.reducedMotion) recording.skipIntro();
    else await recording.start();
  }

  /** Leaves a live run that does not train and shows the recording. */
  async backToRecording(): Promise<Result<null>> {
    const live = this.live.value;
    if (live) {
      const result = await this.report(live.reset());
      if (!result.ok) return result;
    }
    this.session.value = null;
    await this.showRecording();
    return done;
  }

  /** Somebody points at the button that trains: what a run needs is got ready, so that the click finds it. */
  async warmUp(): Promise<void> {
    if (!this.canTrain.value || this.training.value) return;
    const { contour, powerPreference } = startOptions(this.settings.value);
    await (await this.connect()).warm({ contour, powerPreference });
  }

  /** Starts a new run with `settings` (or what they leave open, the page's own), if this tab may and there is room for it. */
  async goLive(options = startOptions(this.settings.value)): Promise<Result<null>> {
    if (this.role.value === "reader") return this.report(Promise.resolve(failure("locked", t().tabs.refused)));
    await this.refreshStorage();
    const need = expectedBytes(options.contour, options.rounds);
    const left = this.storage.value ? roomLeft(this.storage.value) : Number.POSITIVE_INFINITY;
    if (left < need)
      return this.report(Promise.resolve(failure("quota", t().space.noRoom(options.rounds, bytes(need), bytes(left)))));
    const capabilities = this.capabilities.value ?? (await (await this.connect()).capabilities());
    if (capabilities.kind === "unavailable") {
      return this.report(Promise.resolve(failure("no-webgpu", t().gpu.why[capabilities.reason], capabilities.detail)));
    }
    const live = await this.#liveSession();
    this.recording.value?.dispose();
    this.#show(live);
    this.view.value = "watch";
    const result = await this.report(live.start(options));
    if (!result.ok && live.events.value.length === 0) {
      this.session.value = null;
      await this.showRecording();
    }
    void this.refreshStorage();
    return result;
  }

  /** Shows a stored run; `resume` also trains on. */
  async openRun(run: RunState, resume: boolean): Promise<Result<null>> {
    const live = await this.#liveSession();
    this.recording.value?.dispose();
    this.#show(live);
    this.view.value = "watch";
    const { powerPreference, gentle } = this.settings.value;
    const result = await this.report(live.open(run, { resume: resume ? { powerPreference, gentle } : null }));
    if (result.ok && resume) this.announcer.say(t().announce.resumed(run.seq));
    return result;
  }

  /** Waits for a call; its failure is shown, an exception is turned into one. */
  async report<T>(call: Promise<Result<T>>): Promise<Result<T>> {
    let result: Result<T>;
    try {
      result = await call;
    } catch (error) {
      result = failure("internal", t().failure.unexpected, error instanceof Error ? error.message : String(error));
    }
    this.failure.value = result.ok ? null : result;
    return result;
  }

  /** Hands a file to the visitor; a failure is shown. */
  async save(call: Promise<Result<ExportedFile>>): Promise<Result<ExportedFile>> {
    const result = await this.report(call);
    if (result.ok) {
      const { name, contains } = result.value;
      this.#given.save(result.value);
      this.notice.value = [t().runs.exported(name), contains].filter(Boolean).join(" ");
    }
    return result;
  }

  /** Makes this tab the one that trains: the other lets go of its run, and this one goes on with it. */
  async takeOver(): Promise<void> {
    if (this.role.value === "writer" || this.takingOver.value) return;
    this.takingOver.value = true;
    await (await this.connect()).takeOver();
    this.takingOver.value = false;
  }

  /** Reloads into the version that waits. A run that is under way is never cut short; a paused one is let go before. */
  async applyUpdate({ anyway = false } = {}): Promise<void> {
    if (this.training.value) {
      this.failure.value = failure("busy", t().update.running);
      return;
    }
    this.leftBehind.value = anyway ? [] : await this.#runsOfAnotherBase(await this.waitingBase());
    if (this.leftBehind.value.length > 0) return;
    if (this.role.value === "writer") await this.client.value?.letGo();
    await this.report(this.activateUpdate());
  }

  /** Records when the run's plans are on the GPU, or stops. */
  async trace(on: boolean): Promise<Result<null>> {
    const result = await this.report((await this.connect()).trace(on));
    if (result.ok) this.tracing.value = on;
    return result;
  }

  /** Takes the failure off the page. */
  dismiss(): void {
    this.failure.value = null;
    this.session.value?.forgetFailure();
  }

  /** Removes a stored run for good. */
  async deleteRun(run: string): Promise<Result<null>> {
    const client = await this.connect();
    if (this.role.value === "writer" && this.live.value?.run.value?.run === run) await this.backToRecording();
    const result = await this.report(client.deleteRun(run));
    if (result.ok) this.notice.value = t().runs.deleted;
    await this.refreshStorage();
    return result;
  }

  /** Deletes pairs of a stored run for good, or lets imported ones train. */
  async curatePairs(run: string, pairs: readonly string[], action: CurateAction): Promise<Result<null>> {
    const result = await this.report((await this.connect()).curatePairs({ run, pairs, action }));
    if (result.ok) {
      await this.live.value?.catchUp(run);
      await this.refreshStorage();
    }
    return result;
  }

  async renameRun(run: string, name: string): Promise<Result<null>> {
    const result = await this.report((await this.connect()).renameRun({ run, name }));
    if (result.ok) this.notice.value = t().runs.renamed(name);
    await this.refreshStorage();
    return result;
  }

  /** What a live run would still fetch; it shrinks when the files of the page have been stored. */
  async refreshFootprint(): Promise<void> {
    this.footprint.value = (await this.client.value?.footprint()) ?? null;
  }

  async refreshStorage(): Promise<void> {
    const client = this.client.value;
    if (!client) return;
    const [storage, runs] = await Promise.all([client.storage(), client.runs()]);
    this.storage.value = storage;
    if (runs.ok) this.runs.value = runs.value;
  }

  change(settings: Partial<Settings>): void {
    this.settings.value = { ...this.settings.value, ...settings };
  }

  /** A place in time for all panels: ←/→ go to the decision before or after. */
  jump(direction: -1 | 1): void {
    const session = this.session.value;
    if (!session) return;
    const target = session.timeline.neighbour(session.position.value, direction);
    if (target !== null) session.seek(target);
    else if (direction === -1) session.seek(0);
    else session.follow();
  }

  async togglePlay(): Promise<void> {
    const session = this.session.value;
    if (!session) return;
    const going = session.status.value === "playing";
    await this.report(going ? session.pause() : session.start());
  }

  /** Told when the page is hidden or shown again. */
  visibilityChanged(hidden: boolean): void {
    const training = this.session.value?.mode === "live" && this.session.value.status.value === "playing";
    if (!training) return;
    this.wasHidden.value = true;
    if (!hidden)
      this.#given.later(() => {
        this.wasHidden.value = false;
      }, 10_000);
  }

  /** Storage and runs change with every commit; asking for them at most every three seconds is enough. */
  #refreshSoon(): void {
    if (this.#refreshing) return;
    this.#refreshing = true;
    this.#given.later(() => {
      this.#refreshing = false;
      void this.refreshStorage();
    }, 3000);
  }

  #show(session: Session): void {
    batch(() => {
      this.session.value = session;
      this.taskIndex.value = 0;
      this.updateIndex.value = null;
    });
  }

  async #liveSession(): Promise<LiveSession> {
    const client = await this.connect();
    this.live.value ??= new LiveSession(client);
    return this.live.value;
  }

  async #meetMachine(): Promise<void> {
    let client: WorkerClient;
    try {
      client = await this.connect();
      this.capabilities.value = await client.capabilities();
      await this.refreshFootprint();
      await this.refreshStorage();
    } catch (error) {
      this.failure.value = failure(
        "internal",
        t().failure.unexpected,
        error instanceof Error ? error.message : String(error),
      );
      return;
    }
    this.role.value = await client.role();
    if (this.role.value === "writer") await this.#goOn();
  }

  async #runsOfAnotherBase(base: string | null): Promise<readonly RunSummary[]> {
    if (base === null) return [];
    await this.refreshStorage();
    return (this.runs.value ?? []).filter(
      (run) => run.base !== base && (run.status === "paused" || run.status === "running"),
    );
  }

  /** Shows the run that was under way when its tab was closed, or the newest paused one; the former also trains on. */
  async #goOn(): Promise<void> {
    const runs = this.runs.value ?? [];
    const left = runs.find((run) => run.status === "running") ?? runs.find((run) => run.status === "paused");
    const state = runStateOf(left);
    if (state && this.canTrain.value) await this.openRun(state, state.status === "running");
  }

  #roleChanged(role: TabRole): void {
    const before = this.role.peek();
    this.role.value = role;
    this.elsewhere.value = null;
    if (this.failure.value?.code === "locked") this.dismiss();
    if (role === "reader") this.live.value?.lost();
    if (role === "writer" && before === "reader") void this.#takeUp();
  }

  /** The pen has come to this tab: another one was closed, has crashed, or was asked for it. */
  async #takeUp(): Promise<void> {
    const seen = this.live.value?.run.value;
    this.live.value?.lost();
    await this.refreshStorage();
    const running = this.runs.value?.find((run) => run.status === "running");
    if (running) {
      this.tookOverAt.value = running.events;
      await this.#goOn();
    } else if (seen) {
      const state = runStateOf(this.runs.value?.find((run) => run.run === seen.run));
      if (state) await this.openRun(state, false);
    }
  }

  /** The tab that trains has reported: its run is shown here while it goes on, or if it is on show already. */
  #lookOn(state: RunState | null): void {
    this.elsewhere.value = state;
    this.#refreshSoon();
    if (!state) return;
    const onShow = this.session.value?.mode === "live" && this.live.value?.run.value?.run === state.run;
    if (onShow || state.status === "running" || state.status === "loading") void this.#follow(state);
  }

  async #follow(state: RunState): Promise<void> {
    const live = await this.#liveSession();
    if (this.session.value !== live) {
      this.recording.value?.dispose();
      this.#show(live);
    }
    await live.lookOn(state);
  }

  #announceModel(): void {
    const model = this.model.value;
    const say = t().announce;
    const update = lastDecision(model);
    if (update && update.decidedAt === model.count) {
      const { outcome, index } = update;
      if (outcome.kind === "accepted") this.announcer.say(say.accepted(index), true);
      if (outcome.kind === "rejected")
        this.announcer.say(say.rejected(index, t().why.reason[outcome.reason] ?? outcome.detail), true);
      if (outcome.kind === "deferred") this.announcer.say(say.deferred(index), true);
      return;
    }
    const point = model.heldOut.at(-1);
    if (model.lastType === "evaluated" && point) {
      this.announcer.say(say.heldOut(t().held.world[point.world].name, share(point.heldOut.greedy.value)), true);
    } else if (model.lastType === "proposed") {
      this.announcer.say(say.round(model.round, t().loop.stage.propose));
    }
  }
}

/** A stored run as the state from which it can be opened. */
export function runStateOf(run: RunSummary | undefined): RunState | null {
  if (!run) return null;
  const { status, round, rounds, seed, incumbent } = run;
  return { run: run.run, status, round, rounds, seed, seq: run.events, incumbent, device: null, secondsPerRound: null };
}

/** The page's side of the workers: who may write, what the workers are asked, what they tell. The main thread only draws. */

import type { Remote } from "comlink";
import ortWasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import type { ClientEvents, Failure, Result, RunState, StartOptions, StorageReport, WorkerClient } from "./api.ts";
import { detectCapabilities } from "./capabilities.ts";
import type { EngineApi } from "./engine.worker.ts";
import type { StoreApi } from "./store.worker.ts";
import { Tabs } from "./tabs.ts";
import { Threads } from "./threads.ts";

type Callback<K extends keyof ClientEvents> = (payload: ClientEvents[K]) => void;

/** What a first live run fetches: paths below the page's own address. */
const ASSETS = [
  "models/policy/model.safetensors",
  "models/judge/config.json",
  "models/judge/image_encoder.onnx",
  "models/judge/text_encoder.onnx",
  ortWasm,
];

/** Which run was going on when its tab went away: the next tab that writes goes on with it, a paused one stays paused. */
const RUNNING = "autodidact.running";

function remember(state: RunState): void {
  if (state.status === "running") localStorage.setItem(RUNNING, state.run);
  else if (state.status !== "loading" && localStorage.getItem(RUNNING) === state.run) localStorage.removeItem(RUNNING);
}

/** Times that workers are started again by themselves without a commit in between. */
const DEATHS = 3;

/** The refusal of everything that writes in a tab that looks on. */
const lookingOn: Failure = {
  ok: false,
  code: "locked",
  message:
    "Another tab of this page trains and writes the memory, and only one may. Press “Continue here” to go on in this tab, or close the other one.",
};

/** The answer of a call whose worker was ended. */
const ended: Failure = {
  ok: false,
  code: "locked",
  message: "The run was let go at its last saved step before this was done. Go on with it, then try again.",
};

export function createClient(): WorkerClient {
  const listeners: { [K in keyof ClientEvents]: Set<Callback<K>> } = {
    event: new Set(),
    progress: new Set(),
    state: new Set(),
    failure: new Set(),
    role: new Set(),
    elsewhere: new Set(),
  };
  const tell = <K extends keyof ClientEvents>(type: K, payload: ClientEvents[K]): void => {
    for (const callback of listeners[type]) callback(payload);
  };
  const address = (path: string): string => new URL(path, document.baseURI).href;

  let shown: RunState | null = null;
  /** Events of the run with a lower `seq` are known to the page; null before its workers have said anything. */
  let told: number | null = null;
  const show = (state: RunState): void => {
    told ??= state.seq;
    shown = state;
    remember(state);
    tell("state", state);
    tabs.show(state);
  };

  /** Calls that wait for a worker; ending the workers answers them all. */
  const waiting = new Set<(failure: Failure) => void>();
  const answered = async <T>(work: () => Promise<Result<T>>): Promise<Result<T>> => {
    let give: (failure: Failure) => void = () => {};
    const early = new Promise<Failure>((resolve) => {
      give = resolve;
    });
    waiting.add(give);
    try {
      return await Promise.race([work(), early]);
    } finally {
      waiting.delete(give);
    }
  };
  const endCalls = (failure: Failure): void => {
    for (const give of waiting) give(failure);
  };

  /** Deaths of workers since the last commit: a worker that dies again and again is not started for ever. */
  let deaths = 0;
  /** How the run was begun, for workers that take the place of dead ones. */
  let gpu: Pick<StartOptions, "powerPreference" | "gentle"> = { powerPreference: "high-performance", gentle: false };
  const threads = new Threads({
    listeners: {
      event: (event) => {
        told = event.seq + 1;
        deaths = 0;
        tell("event", event);
      },
      progress: (progress) => {
        tell("progress", progress);
        tabs.showProgress(progress);
      },
      state: show,
      failure: (failure) => tell("failure", failure),
    },
    policy: address("models/policy/"),
    judge: address("models/judge/"),
    crashed(name, reason) {
      const message = (next: string) =>
        `The ${name} worker stopped (${reason}). Nothing that was saved is lost: ${next}`;
      const failure: Failure = {
        ok: false,
        code: "internal",
        message: message("press “Go on” to continue from there."),
      };
      endCalls(failure);
      const run = shown;
      if (run?.status === "running" && deaths++ < DEATHS) {
        tell("failure", { ...failure, message: message("the run goes on from there.") });
        void revive(run);
        return;
      }
      if (run && (run.status === "running" || run.status === "loading")) show({ ...run, status: "paused" });
      tell("failure", failure);
    },
  });

  /** New workers go on with the run at its last commit. */
  const revive = async (run: RunState): Promise<void> => {
    show({ ...run, status: "loading" });
    const result = await train((engine) => engine.resume({ run: run.run, ...gpu, since: told ?? 0 }));
    if (result.ok) return;
    show({ ...run, status: "paused" });
    tell("failure", result);
  };

  const letGo = async (): Promise<void> => {
    threads.end();
    shown = null;
    endCalls(ended);
  };

  const seen = (): void => {
    if (threads.hasEngine) void threads.engine().then((engine) => engine.hide(document.hidden));
  };
  document.addEventListener("visibilitychange", seen);

  const tabs = new Tabs({
    locks: navigator.locks,
    channel: new BroadcastChannel("autodidact"),
    letGo,
    onRole: (role) => tell("role", role),
    onElsewhere: (state) => tell("elsewhere", state),
    onProgress: (progress) => tell("progress", progress),
  });

  const read = <T>(work: (store: Remote<StoreApi>) => Promise<Result<T>>): Promise<Result<T>> =>
    answered(() => work(threads.store()));
  /** A change of the stored runs that does not belong to the run in progress. */
  const change = async <T>(work: (store: Remote<StoreApi>) => Promise<Result<T>>): Promise<Result<T>> => {
    if ((await tabs.settled()) === "reader") return lookingOn;
    const result = await read(work);
    tabs.show(shown);
    return result;
  };
  const train = async <T>(work: (engine: Remote<EngineApi>) => Promise<Result<T>>): Promise<Result<T>> => {
    if ((await tabs.settled()) === "reader") return lookingOn;
    return answered(async () => work(await threads.engine()));
  };

  const storage = async (): Promise<StorageReport> => {
    const { usage = 0, quota = 0 } = (await navigator.storage?.estimate?.()) ?? {};
    return { usage, quota, persisted: (await navigator.storage?.persisted?.()) ?? false };
  };

  return {
    capabilities: () => detectCapabilities({ gpu: navigator.gpu, secure: isSecureContext }),
    async footprint() {
      const sizes = await Promise.all(
        ASSETS.map(async (path) => {
          const cached = (await caches?.match(address(path), { ignoreSearch: true })) !== undefined;
          const response = await fetch(address(path), { method: "HEAD" }).catch(() => null);
          return { bytes: Number(response?.headers.get("content-length") ?? 0), cached };
        }),
      );
      const sum = (list: typeof sizes) => list.reduce((total, { bytes }) => total + bytes, 0);
      return { bytes: sum(sizes), cached: sum(sizes.filter(({ cached }) => cached)) };
    },
    workers: () => threads.count,

    role: () => tabs.settled(),
    takeOver: () => tabs.takeOver(),
    letGo,

    warm: async ({ contour, powerPreference }) => {
      await train((engine) => engine.warm({ contour, powerPreference }));
    },
    start: (options) => {
      gpu = { powerPreference: options.powerPreference, gentle: options.gentle };
      told = 0;
      return train((engine) => engine.start(options));
    },
    resume: (options) => {
      gpu = { powerPreference: options.powerPreference, gentle: options.gentle };
      told = null;
      return train((engine) => engine.resume(options));
    },
    pause: () => train((engine) => engine.pause()),
    step: () => train((engine) => engine.step()),
    stop: () => train((engine) => engine.stop()),
    state: async () => (threads.hasEngine ? (await threads.engine()).state() : null),
    setGentle: async (gentle) => {
      gpu = { ...gpu, gentle };
      if (threads.hasEngine) await (await threads.engine()).setGentle(gentle);
      return { ok: true, value: null };
    },

    events: ({ run, since }) => read((store) => store.events(run, { since })),
    pairs: ({ run, ids }) => read((store) => store.pairsById(run, ids)),
    listPairs: ({ run, filter, limit, after }) =>
      read((store) => store.listPairs(run, { ...filter, limit, after, newestFirst: true })),
    overviewPairs: ({ run, filter, atMost }) => read((store) => store.overviewPairs(run, filter, atMost)),
    choosePairs: ({ run, filter, limit }) =>
      read((store) => store.choosePairs(run, { ...filter, limit, newestFirst: true })),
    curatePairs: async ({ run, pairs, action }) => {
      if ((await tabs.settled()) === "reader") return lookingOn;
      const released = threads.hasEngine ? await train((engine) => engine.release(run)) : null;
      if (released && !released.ok) return released;
      const changed = await read((store) => store.curatePairs(run, pairs, action));
      if (!changed.ok) return changed;
      if (shown?.run === run) shown = { ...shown, seq: changed.value };
      tabs.show(shown);
      return { ok: true, value: null };
    },

    storage,
    persist: async () => {
      await navigator.storage?.persist?.();
      return storage();
    },
    runs: async () => {
      const result = await read((store) => store.runs());
      if (!result.ok) return result;
      const running = localStorage.getItem(RUNNING);
      return {
        ok: true,
        value: result.value.map((run) =>
          run.run === running && run.status === "paused" ? { ...run, status: "running" } : run,
        ),
      };
    },
    renameRun: ({ run, name }) => change((store) => store.renameRun(run, name)),
    deleteRun: (run) => change((store) => store.deleteRun(run)),
    exportRun: (run) => read((store) => store.exportRun(run)),
    exportAdapter: ({ run, adapter }) => read((store) => store.exportAdapter(run, adapter)),
    importRun: (archive, options) => change((store) => store.importRun(archive, options)),

    ask: (options) => train((engine) => engine.ask(options)),
    correct: (options) => train((engine) => engine.correct(options)),
    trace: (on) => train((engine) => engine.trace(on)),
    spans: async () => (threads.hasEngine ? (await threads.engine()).spans() : []),

    on: (type, callback) => {
      listeners[type].add(callback);
      return () => listeners[type].delete(callback);
    },
    async dispose() {
      document.removeEventListener("visibilitychange", seen);
      await letGo();
      tabs.close();
    },
  };
}

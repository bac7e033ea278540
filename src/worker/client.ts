/** The page's side of the workers. They start at the first call that needs them; the main thread only draws. */

import { proxy, type Remote, transfer, wrap } from "comlink";
import ortWasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import type { ClientEvents, Failure, Result, RunState, StorageReport, WorkerClient } from "./api.ts";
import { detectCapabilities } from "./capabilities.ts";
import type { EngineApi, Listeners } from "./engine.worker.ts";
import type { JudgeApi } from "./judge.worker.ts";
import type { StoreApi } from "./store.worker.ts";

type Callback<K extends keyof ClientEvents> = (payload: ClientEvents[K]) => void;

/** What a first live run fetches: paths below the page's own address. */
const ASSETS = [
  "models/policy/model.safetensors",
  "models/judge/config.json",
  "models/judge/image_encoder.onnx",
  "models/judge/text_encoder.onnx",
  ortWasm,
];

/** Which run was going on when the page went away: a reload goes on with it, a paused one stays paused. */
const RUNNING = "autodidact.running";

function remember(state: RunState): void {
  if (state.status === "running") localStorage.setItem(RUNNING, state.run);
  else if (state.status !== "loading" && localStorage.getItem(RUNNING) === state.run) localStorage.removeItem(RUNNING);
}

interface Workers {
  readonly threads: readonly Worker[];
  readonly engine: Remote<EngineApi>;
}

export function createClient(): WorkerClient {
  const listeners: { [K in keyof ClientEvents]: Set<Callback<K>> } = {
    event: new Set(),
    progress: new Set(),
    state: new Set(),
    failure: new Set(),
  };
  const tell = <K extends keyof ClientEvents>(type: K, payload: ClientEvents[K]): void => {
    for (const callback of listeners[type]) callback(payload);
  };
  const crashed = (name: string) => (event: ErrorEvent) => {
    const failure: Failure = {
      ok: false,
      code: "internal",
      message: `The ${name} stopped: ${event.message || "it could not be loaded"}. Reload the page; the run goes on from its last saved step.`,
    };
    tell("failure", failure);
  };
  const address = (path: string): string => new URL(path, document.baseURI).href;

  let storeWorker: { thread: Worker; remote: Remote<StoreApi> } | null = null;
  const store = (): Remote<StoreApi> => {
    if (!storeWorker) {
      const thread = new Worker(new URL("./store.worker.ts", import.meta.url), { type: "module", name: "store" });
      thread.addEventListener("error", crashed("store"));
      storeWorker = { thread, remote: wrap<StoreApi>(thread) };
    }
    return storeWorker.remote;
  };

  let workers: Promise<Workers> | null = null;
  const engine = async (): Promise<Remote<EngineApi>> => {
    workers ??= startWorkers();
    return (await workers).engine;
  };
  const startWorkers = async (): Promise<Workers> => {
    store();
    const storeThread = (storeWorker as NonNullable<typeof storeWorker>).thread;
    const judgeThread = new Worker(new URL("./judge.worker.ts", import.meta.url), { type: "module", name: "judge" });
    const engineThread = new Worker(new URL("./engine.worker.ts", import.meta.url), { type: "module", name: "engine" });
    judgeThread.addEventListener("error", crashed("judge"));
    engineThread.addEventListener("error", crashed("engine"));
    const toStore = new MessageChannel();
    const toJudge = new MessageChannel();
    storeThread.postMessage({ type: "connect", port: toStore.port1 }, [toStore.port1]);
    judgeThread.postMessage({ type: "connect", port: toJudge.port1 }, [toJudge.port1]);
    const judge = wrap<JudgeApi>(judgeThread);
    const remote = wrap<EngineApi>(engineThread);
    await judge.load({ models: address("models/judge/") });
    await connect(remote, { model: address("models/policy/"), store: toStore.port2, judge: toJudge.port2 });
    return { threads: [judgeThread, engineThread], engine: remote };
  };
  const connect = async (
    remote: Remote<EngineApi>,
    ports: { model: string; store: MessagePort; judge: MessagePort },
  ): Promise<void> => {
    await remote.listen(
      proxy({
        event: (event: ClientEvents["event"]) => tell("event", event),
        progress: (progress: ClientEvents["progress"]) => tell("progress", progress),
        state: (state: RunState) => {
          remember(state);
          tell("state", state);
        },
        failure: (failure: Failure) => tell("failure", failure),
      }) as unknown as Remote<Listeners>,
    );
    await remote.connect(transfer(ports, [ports.store, ports.judge]));
  };

  const call = async <T>(work: (remote: Remote<EngineApi>) => Promise<Result<T>>): Promise<Result<T>> =>
    work(await engine());

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

    start: (options) => call((remote) => remote.start(options)),
    resume: (options) => call((remote) => remote.resume(options)),
    pause: () => call((remote) => remote.pause()),
    step: () => call((remote) => remote.step()),
    stop: () => call((remote) => remote.stop()),
    state: async () => (workers ? (await engine()).state() : null),
    setGentle: async (gentle) => {
      if (workers) await (await engine()).setGentle(gentle);
      return { ok: true, value: null };
    },

    events: ({ run, since }) => store().events(run, { since }),
    pairs: ({ run, ids }) => store().pairsById(run, ids),

    storage,
    persist: async () => {
      await navigator.storage?.persist?.();
      return storage();
    },
    runs: async () => {
      const result = await store().runs();
      if (!result.ok) return result;
      const running = localStorage.getItem(RUNNING);
      return {
        ok: true,
        value: result.value.map((run) =>
          run.run === running && run.status === "paused" ? { ...run, status: "running" } : run,
        ),
      };
    },
    deleteRun: (run) => store().deleteRun(run),
    exportRun: (run) => store().exportRun(run),
    exportAdapter: ({ run, adapter }) => store().exportAdapter(run, adapter),
    importRun: (archive) => store().importRun(archive),

    ask: (options) => call((remote) => remote.ask(options)),
    correct: (options) => call((remote) => remote.correct(options)),

    on: (type, callback) => {
      listeners[type].add(callback);
      return () => listeners[type].delete(callback);
    },
    async dispose() {
      const started = workers;
      workers = null;
      if (started) {
        const { engine: remote, threads } = await started;
        await remote.dispose();
        for (const thread of threads) thread.terminate();
      }
      storeWorker?.thread.terminate();
      storeWorker = null;
    },
  };
}

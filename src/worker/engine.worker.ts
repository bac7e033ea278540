/** The engine's worker: the GPU, the model and the loop. It talks to the store's and the judge's workers by itself. */
import { expose, type Remote, wrap } from "comlink";
import type { LoopEvent, Progress } from "../base/events.ts";
import { openGpu } from "../gpu/device.ts";
import type { Pipelines } from "../gpu/pipelines.ts";
import { Pace } from "../gpu/plan.ts";
import type { OnnxScorer } from "../judge/jury.ts";
import { loadModel } from "../model/hf.ts";
import { runtimeOn } from "../model/runtime.ts";
import { Engine } from "../train/engine.ts";
import { decode } from "../world/vocabulary.ts";
import {
  type AskOptions,
  type CorrectOptions,
  type Failure,
  type RunState,
  runLock,
  type StartOptions,
} from "./api.ts";
import { Driver, type OpenEngine } from "./driver.ts";
import { urlFiles } from "./files.ts";
import type { JudgeApi } from "./judge.worker.ts";
import { live } from "./liveness.ts";
import { remoteStore } from "./remote-store.ts";
import { attempt, unwrap, WorkerError } from "./rpc.ts";
import type { StoreApi } from "./store.worker.ts";

export interface Listeners {
  event(event: LoopEvent): void;
  progress(progress: Progress): void;
  state(state: RunState): void;
  failure(failure: Failure): void;
}

/** A submit of at most this many milliseconds; in gentle mode shorter, with a rest after each. */
const PACE = { targetMs: 100, restMs: 0 };
const GENTLE = { targetMs: 25, restMs: 25 };

/** Progress reaches the page at most ten times a second. */
const PROGRESS_MS = 100;

let store: Remote<StoreApi> | null = null;
let judge: Remote<JudgeApi> | null = null;
let listeners: Remote<Listeners> | null = null;
let modelUrl = "";
let lastProgress = 0;
/** Asked for by the developer panel; kept over runs, whose devices come and go. */
let tracing = false;
let pipelines: Pipelines | null = null;

async function open({
  powerPreference,
  gentle,
}: Pick<StartOptions, "powerPreference" | "gentle">): Promise<OpenEngine> {
  const model = await loadModel(urlFiles(modelUrl)).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new WorkerError(
      "network",
      `The model could not be loaded (${reason}). Check the connection, reload the page and try again.`,
    );
  });
  const gpu = await openGpu(navigator.gpu, { powerPreference }).catch((error: unknown) => {
    throw new WorkerError("no-webgpu", error instanceof Error ? error.message : String(error));
  });
  const pace = new Pace();
  const setGentle = (on: boolean) => Object.assign(pace, on ? GENTLE : PACE);
  setGentle(gentle);
  const runtime = runtimeOn(gpu);
  pipelines = runtime.pipelines;
  pipelines.trace.on = tracing;
  const engine = await Engine.create({
    runtime,
    gpu,
    model,
    decode: (tokens) => decode(tokens),
    pace,
  });
  return {
    engine,
    lost: gpu.lost.then(({ expected, message }) => (expected ? new Promise<string>(() => {}) : message)),
    setGentle,
    keep: (adapters) => engine.keep(adapters),
    close: async () => {
      await engine.destroy();
      gpu.destroy();
    },
  };
}

/** An engine that is being ended in another tab gives the lock back within this time. */
const LOCK_MS = 5000;

/** Holds the Web Lock until the returned function is called; null if another engine keeps it. */
function lock(): Promise<(() => void) | null> {
  return new Promise((resolve) => {
    navigator.locks
      .request(
        runLock,
        { signal: AbortSignal.timeout(LOCK_MS) },
        () => new Promise<void>((release) => resolve(release)),
      )
      .catch(() => resolve(null));
  });
}

function remoteJudge(): OnnxScorer {
  const remote = judge;
  if (!remote) throw new WorkerError("internal", "The judge's worker is not connected.");
  return { score: (items) => unwrap(remote.score(items)) };
}

const driver = new Driver({
  open,
  store: (run) => {
    if (!store) throw new WorkerError("internal", "The store's worker is not connected.");
    return remoteStore(store, run);
  },
  judge: async () => {
    if (judge) await unwrap(judge.ready());
    return remoteJudge();
  },
  lock,
  newKey: () =>
    Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  now: () => performance.timeOrigin + performance.now(),
  emit: (event) => void listeners?.event(event),
  progress: (progress) => {
    const at = performance.now();
    if (!progress.preview && progress.done < progress.total && at - lastProgress < PROGRESS_MS) return;
    lastProgress = at;
    void listeners?.progress(progress);
  },
  state: (state) => void listeners?.state(state),
  failure: (failure) => void listeners?.failure(failure),
});

const api = {
  live,
  listen(page: Remote<Listeners>): void {
    listeners = page;
  },
  connect(options: { model: string; store: MessagePort; judge: MessagePort }): void {
    modelUrl = options.model;
    store = wrap<StoreApi>(options.store);
    judge = wrap<JudgeApi>(options.judge);
  },
  start: (options: StartOptions) => attempt(() => driver.start(options)),
  resume: (options: Parameters<Driver["resume"]>[0]) => attempt(() => driver.resume(options)),
  pause: () => attempt(() => driver.pause()),
  step: () => attempt(() => driver.step()),
  stop: () => attempt(() => driver.stop()),
  release: (run: string) =>
    attempt(async () => {
      await driver.release(run);
      return null;
    }),
  state: () => driver.state(),
  setGentle: (gentle: boolean) => driver.setGentle(gentle),
  ask: (options: AskOptions) => attempt(() => driver.ask(options)),
  correct: (options: CorrectOptions) => attempt(() => driver.correct(options)),
  trace: (on: boolean) =>
    attempt(() => {
      tracing = on;
      if (pipelines) pipelines.trace.on = on;
      return null;
    }),
  spans: () => pipelines?.trace.spans ?? [],
  dispose: () => driver.dispose(),
};

export type EngineApi = typeof api;
expose(api);

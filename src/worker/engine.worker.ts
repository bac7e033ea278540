/** The engine's worker: the GPU, the model and the loop. It talks to the store's and the judge's workers by itself. */
import { expose, type Remote, wrap } from "comlink";
import type { Contour } from "../base/contour.ts";
import type { LoopEvent, Progress } from "../base/events.ts";
import type { Task } from "../base/records.ts";
import { type Gpu, openGpu } from "../gpu/device.ts";
import type { Pipelines } from "../gpu/pipelines.ts";
import { Pace } from "../gpu/plan.ts";
import type { OnnxScorer } from "../judge/jury.ts";
import { chunkTasks } from "../loop/sample.ts";
import { type LoadedModel, loadModel } from "../model/hf.ts";
import { runtimeOn } from "../model/runtime.ts";
import { abilitiesOf, loadTuned, saveTuned, tune, tuningKey } from "../ops/tune.ts";
import { shapeKey } from "../ops/variants.ts";
import { openTuningStore } from "../store/tuning.ts";
import { Engine } from "../train/engine.ts";
import { tunedChoices } from "../train/pinned.ts";
import { createCamera } from "../world/camera.ts";
import { decode } from "../world/vocabulary.ts";
import {
  type AskOptions,
  type CorrectOptions,
  type Failure,
  type Result,
  type RunState,
  runLock,
  type StartOptions,
} from "./api.ts";
import { Driver, type DriverParts, type OpenEngine } from "./driver.ts";
import { urlFiles } from "./files.ts";
import type { JudgeApi } from "./judge.worker.ts";
import { live } from "./liveness.ts";
import { remoteStore } from "./remote-store.ts";
import { attempt, unwrap, WorkerError } from "./rpc.ts";
import type { StoreApi } from "./store.worker.ts";
import { Tuner, type TunerParts } from "./tuner.ts";

export interface Listeners {
  event(event: LoopEvent): void;
  progress(progress: Progress): void;
  state(state: RunState): void;
  failure(failure: Failure): void;
}

/** A submit near this many milliseconds; in gentle mode shorter, and followed by as much rest. */
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
const tables = openTuningStore();
/** The GPU that was opened last is the one that is tuned. */
let preferred: StartOptions["powerPreference"] = "high-performance";

async function open(options: Parameters<DriverParts["open"]>[0]): Promise<OpenEngine> {
  const { powerPreference } = options;
  preferred = powerPreference;
  const loading = loadPolicy();
  loading.catch(() => undefined); // awaited below, unless there is no GPU
  const gpu = await openGpu(navigator.gpu, { powerPreference }).catch((error: unknown) => {
    throw new WorkerError("no-webgpu", error instanceof Error ? error.message : String(error));
  });
  try {
    return await engineOn(gpu, await loading, options);
  } catch (error) {
    gpu.destroy();
    throw error;
  }
}

function loadPolicy(): Promise<LoadedModel> {
  const files = [
    "config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
    "generation_config.json",
  ];
  return loadModel(urlFiles(modelUrl, files)).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new WorkerError(
      "network",
      `The model could not be loaded (${reason}). Check the connection, reload the page and try again.`,
    );
  });
}

async function engineOn(
  gpu: Gpu,
  model: LoadedModel,
  { gentle, pinned, contour }: Parameters<DriverParts["open"]>[0],
): Promise<OpenEngine> {
  const pace = new Pace();
  const setGentle = (on: boolean) => Object.assign(pace, on ? GENTLE : PACE);
  setGentle(gentle);
  const can = abilitiesOf(gpu.device, gpu.subgroupMinSize);
  const tuned = tunedChoices(pinned, gpu.summary, can) ?? (await loadTuned(tables, tuningKey(gpu.summary), can));
  const runtime = runtimeOn(gpu, { tuned, asked: (shape) => tuner.asked(shape) });
  pipelines = runtime.pipelines;
  pipelines.trace.on = tracing;
  const engine = await Engine.create({
    runtime,
    gpu,
    model,
    decode: (tokens) => decode(tokens),
    pace,
    ...(contour ? { soon: { ...contour.sample, tasks: await firstTasks(contour) } } : {}),
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

/** Tasks like those that a run samples first. */
async function firstTasks({ world, propose }: Contour): Promise<readonly Task[]> {
  const [task] = await createCamera().propose({ world, round: 0, count: 1, seed: 0 });
  return task ? new Array<Task>(Math.min(propose.tasks, chunkTasks)).fill(task) : [];
}

/** Tunes on a device of its own, under the lock that a run of any tab holds. */
async function tuneShapes(...[shapes, another, goOn]: Parameters<TunerParts["tune"]>): Promise<void> {
  await navigator.locks.request(runLock, { ifAvailable: true }, async (free) => {
    if (!free) return;
    const gpu = await openGpu(navigator.gpu, { powerPreference: preferred });
    try {
      const can = abilitiesOf(gpu.device, gpu.subgroupMinSize);
      const key = tuningKey(gpu.summary);
      const known = await loadTuned(tables, key, can);
      const missing = shapes.filter(({ product, R, K, N }) => known[shapeKey(product, R, K, N)] === undefined);
      const target = { ...runtimeOn(gpu), subgroupMinSize: gpu.subgroupMinSize };
      for (const shape of missing) {
        if (!another()) return;
        const found = await tune(target, [shape], { now: () => 0, until: 1, rounds: 3, goOn });
        if (found.length === 0) return;
        gpu.check();
        await saveTuned(tables, key, can, found);
      }
    } finally {
      gpu.destroy();
    }
  });
}

const tuner = new Tuner({
  idle: () => driver.idle(),
  tune: tuneShapes,
  now: () => performance.now(),
  rest: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
});

/** Runs a call with the GPU to itself; when it is done, tuning may begin after a while. */
async function called<T>(work: () => Promise<T>): Promise<Result<T>> {
  await tuner.makeWay();
  try {
    return await attempt(work);
  } finally {
    tuner.wake();
  }
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
  judge: async () => remoteJudge(),
  lock,
  newKey: () =>
    Array.from(crypto.getRandomValues(new Uint8Array(32)), (byte) => byte.toString(16).padStart(2, "0")).join(""),
  now: () => performance.timeOrigin + performance.now(),
  emit: (event) => void listeners?.event(event),
  progress: (progress) => {
    if (progress.stage === "sample") void judge?.ready();
    const at = performance.now();
    if (!progress.preview && progress.done < progress.total && at - lastProgress < PROGRESS_MS) return;
    lastProgress = at;
    void listeners?.progress(progress);
  },
  state: (state) => {
    if (state.status === "finished" || state.status === "stopped") tuner.wake();
    void listeners?.state(state);
  },
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
  start: (options: StartOptions) => called(() => driver.start(options)),
  resume: (options: Parameters<Driver["resume"]>[0]) => called(() => driver.resume(options)),
  /** Without a word to the tuner: a pointer over a button begins nothing. */
  warm: (options: Parameters<Driver["warm"]>[0]) =>
    attempt(async () => {
      await driver.warm(options);
      return null;
    }),
  pause: () => called(() => driver.pause()),
  step: () => called(() => driver.step()),
  stop: () => called(() => driver.stop()),
  release: (run: string) =>
    attempt(async () => {
      await driver.release(run);
      return null;
    }),
  state: () => driver.state(),
  hide: (hidden: boolean) => tuner.hide(hidden),
  setGentle: (gentle: boolean) => driver.setGentle(gentle),
  ask: (options: AskOptions) => called(() => driver.ask(options)),
  correct: (options: CorrectOptions) => called(() => driver.correct(options)),
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

/** The judge's worker: the ONNX model on the CPU. It survives the loss of the trainer's device. */
import { expose } from "comlink";
import ortMjs from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import ortWasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import type { OnnxScorer } from "../judge/jury.ts";
import { type Judge, openJudge } from "../judge/model.ts";
import type { Result } from "./api.ts";
import { urlFiles } from "./files.ts";
import { live } from "./liveness.ts";
import { attempt, WorkerError } from "./rpc.ts";

type Items = Parameters<OnnxScorer["score"]>[0];
type Scored = Awaited<ReturnType<OnnxScorer["score"]>>;

let judge: Promise<Judge> | null = null;
let models = "";

async function open(): Promise<Judge> {
  const files = urlFiles(models);
  return openJudge((name) => files.read(name), {
    wasmPaths: { mjs: new URL(ortMjs, self.location.href).href, wasm: new URL(ortWasm, self.location.href).href },
    threads: self.crossOriginIsolated ? Math.min(2, navigator.hardwareConcurrency) : 1,
  }).catch((error: unknown) => {
    const reason = error instanceof Error ? error.message : String(error);
    throw new WorkerError(
      "network",
      `The judge could not be loaded (${reason}). Check the connection, reload the page and try again.`,
    );
  });
}

/** Loads the model once; after a failure the next call tries again. */
function loaded(): Promise<Judge> {
  judge ??= open();
  judge.catch(() => {
    judge = null;
  });
  return judge;
}

const api = {
  live,
  /** Where the models are; they are fetched at the first use. */
  load: (options: { models: string }): void => {
    models = options.models;
  },
  ready: (): Promise<Result<null>> =>
    attempt(async () => {
      await loaded();
      return null;
    }),
  score: (items: Items): Promise<Result<Scored>> => attempt(async () => (await loaded()).score(items)),
};

export type JudgeApi = typeof api;

expose(api);
self.addEventListener("message", ({ data }: MessageEvent) => {
  if (data?.type === "connect") expose(api, data.port as MessagePort);
});

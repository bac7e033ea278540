/** The judge's worker: the ONNX model on the CPU. It survives the loss of the trainer's device. */
import { expose } from "comlink";
import ortMjs from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import ortWasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import type { OnnxScorer } from "../judge/jury.ts";
import { createOnnxScorer, type OnnxJudge } from "../judge/onnx.ts";
import type { Result } from "./api.ts";
import { urlFiles } from "./files.ts";
import { attempt, WorkerError } from "./rpc.ts";

type Items = Parameters<OnnxScorer["score"]>[0];
type Scored = Awaited<ReturnType<OnnxScorer["score"]>>;

let judge: Promise<OnnxJudge> | null = null;
let models = "";

async function open(): Promise<OnnxJudge> {
  const files = urlFiles(models);
  const read = async (name: string): Promise<Uint8Array> => {
    const bytes = await files.read(name);
    if (!bytes) throw new WorkerError("network", `The judge's ${name} could not be fetched. Check the connection and try again.`);
    return bytes;
  };
  return createOnnxScorer({
    imageModel: await read("image_encoder.onnx"),
    textModel: await read("text_encoder.onnx"),
    wasmPaths: { mjs: new URL(ortMjs, self.location.href).href, wasm: new URL(ortWasm, self.location.href).href },
    threads: self.crossOriginIsolated ? Math.min(2, navigator.hardwareConcurrency) : 1,
  });
}

/** Loads the model once; after a failure the next call tries again. */
function loaded(): Promise<OnnxJudge> {
  judge ??= open();
  judge.catch(() => {
    judge = null;
  });
  return judge;
}

const api = {
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

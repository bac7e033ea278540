/**
 * onnxruntime-web with its WebGPU execution provider as a contestant: inputs, caches and chosen tokens stay on the GPU.
 * It does not train.
 */

import ortWasm from "onnxruntime-web/ort-wasm-simd-threaded.asyncify.wasm?url";
import * as ort from "onnxruntime-web/webgpu";
import type { Contestant, Session } from "./contestant.ts";
import { exportDecoder, exportMatmul } from "./onnx-decoder.ts";
import { type DecodeWork, factorsOf, type MatmulWork, promptsOf, sampledPlaces, weightsOf } from "./workloads.ts";

const options = {
  executionProviders: ["webgpu"],
  graphOptimizationLevel: "all",
  preferredOutputLocation: "gpu-buffer",
} as const;

/** A float32 tensor in a buffer of its own. */
function onGpu(device: GPUDevice, data: Float32Array<ArrayBuffer>, dims: readonly number[]) {
  const buffer = device.createBuffer({
    size: data.byteLength,
    usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
  });
  device.queue.writeBuffer(buffer, 0, data);
  return { buffer, tensor: ort.Tensor.fromGpuBuffer(buffer, { dataType: "float32", dims }) };
}

async function matmul(work: MatmulWork): Promise<Session> {
  const { n, times } = work;
  const session = await ort.InferenceSession.create(exportMatmul(n), options);
  const device = await ort.env.webgpu.device;
  const factors = factorsOf(work).map((data) => onGpu(device, data, [n, n]));
  const [a, b] = factors.map(({ tensor }) => tensor) as [ort.Tensor, ort.Tensor];
  const product = async () => (await session.run({ a, b })).y as ort.Tensor;
  return {
    async run() {
      for (let i = 0; i < times; i++) (await product()).dispose();
      await device.queue.onSubmittedWorkDone();
      return [];
    },
    async check() {
      const values = (await (await product()).getData(true)) as Float32Array;
      return sampledPlaces(work).map((place) => values[place] as number);
    },
    async close() {
      await session.release();
      for (const { buffer } of factors) buffer.destroy();
    },
  };
}

async function decode(work: DecodeWork): Promise<Session> {
  const { config, batch, prompt, newTokens } = work;
  const session = await ort.InferenceSession.create(exportDecoder(config, weightsOf(config)), options);
  const { num_hidden_layers: layers, num_key_value_heads: shared, head_dim: size } = config;
  const names = Array.from({ length: layers }, (_, layer) => [`key_${layer}`, `value_${layer}`]).flat();
  const prompts = BigInt64Array.from(promptsOf(work).flat().map(BigInt));

  /** One run of the graph, after which `done` tokens lie in the caches. */
  const forward = async (ids: ort.Tensor, past: ReadonlyMap<string, ort.Tensor>, done: number) => {
    const feeds: Record<string, ort.Tensor> = {
      input_ids: ids,
      seqlens: new ort.Tensor("int32", new Int32Array(batch).fill(done - 1), [batch]),
      total: new ort.Tensor("int32", Int32Array.of(done), [1]),
    };
    for (const name of names) feeds[`past_${name}`] = past.get(name) as ort.Tensor;
    const results = await session.run(feeds);
    for (const tensor of past.values()) tensor.dispose();
    return {
      next: results.next as ort.Tensor,
      caches: new Map(names.map((name) => [name, results[`present_${name}`] as ort.Tensor])),
    };
  };

  return {
    async run() {
      const empty = () => new ort.Tensor("float32", new Float32Array(0), [batch, shared, 0, size]);
      const ids = new ort.Tensor("int64", prompts, [batch, prompt]);
      let { next, caches } = await forward(ids, new Map(names.map((name) => [name, empty()])), prompt);
      const tokens = [next];
      for (let i = 1; i < newTokens; i++) {
        ({ next, caches } = await forward(next, caches, prompt + i));
        tokens.push(next);
      }
      for (const tensor of caches.values()) tensor.dispose();
      const columns: number[][] = [];
      for (const tensor of tokens) columns.push(Array.from((await tensor.getData(true)) as BigInt64Array, Number));
      return Array.from({ length: batch }, (_, row) => columns.map((column) => column[row] as number)).flat();
    },
    close: () => session.release(),
  };
}

export async function open(): Promise<Contestant> {
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = { wasm: new URL(ortWasm, location.href).href };
  ort.env.webgpu.powerPreference = "high-performance";
  // The device exists once there is a session.
  await (await ort.InferenceSession.create(exportMatmul(4), options)).release();
  const { description, architecture, vendor } = (await ort.env.webgpu.device).adapterInfo;
  return { adapter: description || `${vendor} ${architecture}`, matmul, train: null, decode };
}

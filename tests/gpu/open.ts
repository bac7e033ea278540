/** WebGPU in Node for the tests: Dawn on the adapter that tests/run/gpu-setup.mjs chose. */
import { create, globals } from "webgpu";
import { type Gpu, openGpu } from "../../src/gpu/device.ts";
import { Pipelines } from "../../src/gpu/pipelines.ts";
import type { Runtime } from "../../src/model/weights.ts";
import type { MatmulVariant } from "../../src/ops/context.ts";
import { shaderSource } from "../../src/ops/shaders.ts";

Object.assign(globalThis, globals);
const instance = create([]); // once, at module scope: Dawn's instance must outlive every device

export interface TestGpu extends Gpu {
  readonly pipelines: Pipelines;
  readonly runtime: (matmul: MatmulVariant) => Runtime;
  /** The kernel variants that this adapter runs. */
  readonly variants: readonly MatmulVariant[];
  /** Runs `work` and throws if WebGPU reported an error in it. */
  checked<T>(work: () => Promise<T>): Promise<T>;
}

export async function openTestGpu(): Promise<TestGpu> {
  const gpu = await openGpu(instance);
  const { device } = gpu;
  const pipelines = new Pipelines(device, shaderSource, { nextTurn: setImmediate });
  const lanes = device.features.has("subgroups") ? (device.adapterInfo.subgroupMinSize ?? 0) : 0;
  const variants: MatmulVariant[] = [
    "plain",
    ...(lanes >= 4 ? ["sg4" as const] : []),
    ...(lanes >= 8 ? ["sg8" as const] : []),
    lanes >= 8 ? "tile-sg8" : "tile",
  ];
  return {
    ...gpu,
    pipelines,
    variants,
    runtime: (matmul) => ({ device, pipelines, variants: { matmul } }),
    checked: async (work) => {
      device.pushErrorScope("validation");
      const result = await work().catch(async (error: unknown) => {
        await device.popErrorScope();
        throw error;
      });
      const error = await device.popErrorScope();
      if (error) throw new Error(error.message);
      return result;
    },
  };
}

/** Compute pipelines, compiled once per (shader, constants) and device. Errors name our file and line. */

import { type NextTurn, Patience } from "./patience.ts";
import type { Plan } from "./plan.ts";
import { Trace } from "./trace.ts";

export type ShaderSource = (name: string) => string;
export type Constants = Readonly<Record<string, number>>;

export class ShaderError extends Error {
  override name = "ShaderError";
}

export class Pipelines {
  /** Live plans of this device, for profiles and memory reports. */
  readonly plans = new Set<Plan>();
  private readonly modules = new Map<string, GPUShaderModule>();
  private readonly pipelines = new Map<string, Promise<GPUComputePipeline>>();
  private readonly device: GPUDevice;
  private readonly source: ShaderSource;

  /** Records runs of plans while it is on. */
  readonly trace = new Trace();

  /** How to wait for this device. */
  readonly patience: Patience;

  constructor(device: GPUDevice, source: ShaderSource, options: { nextTurn?: NextTurn } = {}) {
    this.patience = new Patience(options.nextTurn ?? null);
    this.device = device;
    this.source = source;
  }

  /** Number of pipelines compiled so far. */
  get size(): number {
    return this.pipelines.size;
  }

  get(shader: string, constants: Constants): Promise<GPUComputePipeline> {
    const key = `${shader}|${JSON.stringify(constants)}`;
    let pipeline = this.pipelines.get(key);
    if (!pipeline) {
      pipeline = this.compile(shader, constants, key);
      this.pipelines.set(key, pipeline);
    }
    return pipeline;
  }

  private async compile(shader: string, constants: Constants, key: string): Promise<GPUComputePipeline> {
    let module = this.modules.get(shader);
    if (!module) {
      module = this.device.createShaderModule({ label: `shaders/${shader}.wgsl`, code: this.source(shader) });
      this.modules.set(shader, module);
    }
    try {
      return await this.device.createComputePipelineAsync({
        label: key,
        layout: "auto",
        compute: { module, constants: { ...constants } },
      });
    } catch (cause) {
      const { messages } = await module.getCompilationInfo();
      const errors = messages
        .filter((m) => m.type === "error")
        .map((m) => `shaders/${shader}.wgsl:${m.lineNum}:${m.linePos} ${m.message}`);
      throw new ShaderError(
        errors.length > 0 ? errors.join("\n") : `shaders/${shader}.wgsl ${JSON.stringify(constants)}: ${String(cause)}`,
        { cause },
      );
    }
  }
}

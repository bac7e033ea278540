/** Counts what a program asks of WebGPU, whoever asks: this engine, another library, compiled code. */

export interface Calls {
  readonly dispatches: number;
  readonly submits: number;
  readonly bindGroups: number;
  readonly buffers: number;
}

interface Counter {
  /** Calls since the last look. */
  take(): Calls;
}

/** Wraps the methods of WebGPU's classes, once for the life of the page or process. */
export function countCalls(): Counter {
  let calls = { dispatches: 0, submits: 0, bindGroups: 0, buffers: 0 };
  const count = (owner: object, method: string, name: keyof Calls): void => {
    const original = Reflect.get(owner, method) as (...values: unknown[]) => unknown;
    Reflect.set(owner, method, function counted(this: unknown, ...values: unknown[]) {
      calls[name]++;
      return original.apply(this, values);
    });
  };
  count(GPUComputePassEncoder.prototype, "dispatchWorkgroups", "dispatches");
  count(GPUComputePassEncoder.prototype, "dispatchWorkgroupsIndirect", "dispatches");
  count(GPUQueue.prototype, "submit", "submits");
  count(GPUDevice.prototype, "createBindGroup", "bindGroups");
  count(GPUDevice.prototype, "createBuffer", "buffers");
  return {
    take() {
      const taken = calls;
      calls = { dispatches: 0, submits: 0, bindGroups: 0, buffers: 0 };
      return taken;
    },
  };
}

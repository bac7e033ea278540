/** A device that counts what is asked of it. */
export interface Counts {
  buffers: number;
  bytes: number;
  bindGroups: number;
  pipelines: number;
  submits: number;
}

/** The device itself behind a proxy; `counts` goes on with every call. */
export function counting(device: GPUDevice): { readonly device: GPUDevice; readonly counts: Counts } {
  const counts: Counts = { buffers: 0, bytes: 0, bindGroups: 0, pipelines: 0, submits: 0 };
  const bound = (target: object, key: string | symbol): unknown => {
    const value = Reflect.get(target, key, target) as unknown;
    return typeof value === "function" ? value.bind(target) : value;
  };
  const queue = new Proxy(device.queue, {
    get: (target, key) => {
      if (key === "submit") counts.submits++;
      return bound(target, key);
    },
  });
  const proxy = new Proxy(device, {
    get: (target, key) => {
      if (key === "queue") return queue;
      if (key === "createBuffer")
        return (descriptor: GPUBufferDescriptor) => {
          counts.buffers++;
          counts.bytes += descriptor.size;
          return target.createBuffer(descriptor);
        };
      if (key === "createBindGroup") counts.bindGroups++;
      if (key === "createComputePipelineAsync") counts.pipelines++;
      return bound(target, key);
    },
  });
  return { device: proxy, counts };
}

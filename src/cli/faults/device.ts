/**
 * A GPU device that can be lost at any of its calls, and that counts its buffers. It stands before a real one, which
 * other runs go on using: a lost device does nothing any more, and mapping a buffer of it fails.
 */
export interface FragileDevice {
  readonly device: GPUDevice;
  /** Resolves with a reason when the device is lost, this one or the real one beneath it. */
  readonly lost: Promise<string>;
  lose(reason: string): void;
  /** Buffers that were created and not destroyed. */
  readonly buffers: ReadonlySet<GPUBuffer>;
  /** Ends what a killed process has left on the real device. */
  release(): void;
  /** Stops listening to the real device, which outlives this one. */
  forget(): void;
}

/** `called` is told of every call that reaches the device's memory or queue, before it happens, and may throw. */
export function fragile(real: GPUDevice, called: () => void): FragileDevice {
  const buffers = new Set<GPUBuffer>();
  let gone = false;
  let announce: (reason: string) => void = () => undefined;
  const lost = new Promise<string>((resolve) => {
    announce = resolve;
  });
  const queue = overlay(real.queue, {
    submit: (commands: readonly GPUCommandBuffer[]) => {
      called();
      if (!gone) real.queue.submit(commands);
    },
    writeBuffer: (...args: Parameters<GPUQueue["writeBuffer"]>) => {
      called();
      if (!gone) real.queue.writeBuffer(...args);
    },
  });
  const device = overlay(real, {
    queue,
    createBuffer: (descriptor: GPUBufferDescriptor) => {
      called();
      const buffer = real.createBuffer(descriptor);
      buffers.add(buffer);
      const [destroy, mapAsync] = [buffer.destroy.bind(buffer), buffer.mapAsync.bind(buffer)];
      buffer.destroy = () => {
        buffers.delete(buffer);
        destroy();
      };
      buffer.mapAsync = async (...args) => {
        called();
        if (gone) throw new DOMException("the device is lost", "AbortError");
        await mapAsync(...args);
        if (gone) throw new DOMException("the device is lost", "AbortError");
      };
      return buffer;
    },
  });
  const beneath = (reason: string) => announce(reason);
  listenersOf(real).add(beneath);
  return {
    device,
    lost,
    buffers,
    lose(reason) {
      gone = true;
      announce(reason);
    },
    release() {
      gone = true;
      for (const buffer of buffers) buffer.destroy();
    },
    forget() {
      listenersOf(real).delete(beneath);
    },
  };
}

const listeners = new WeakMap<GPUDevice, Set<(reason: string) => void>>();

/**
 * Who wants to hear that a real device is lost, and can be forgotten again: what waits for `real.lost` itself stays in
 * memory, with all that it refers to, as long as the device that other runs use.
 */
function listenersOf(real: GPUDevice): Set<(reason: string) => void> {
  const known = listeners.get(real);
  if (known) return known;
  const made = new Set<(reason: string) => void>();
  listeners.set(real, made);
  void real.lost.then(({ message }) => {
    for (const listener of made) listener(message);
  });
  return made;
}

/** `target` with some members replaced; methods of the others are called on `target` itself. */
function overlay<T extends object>(target: T, members: Readonly<Record<string, unknown>>): T {
  return new Proxy(target, {
    get(_target, key) {
      if (typeof key === "string" && key in members) return members[key];
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === "function" ? value.bind(target) : value;
    },
  });
}

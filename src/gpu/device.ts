/**
 * One GPU device with what the engine needs of it: raised limits, optional features, a typed event when it is lost.
 * Works in a page, in a worker and in Node (Dawn): the caller passes its own `GPU`.
 */
import type { DeviceSummary } from "../base/events.ts";

export interface OpenOptions {
  readonly powerPreference?: GPUPowerPreference;
  /** Ask for the software adapter. */
  readonly fallback?: boolean;
}

export interface Gpu {
  readonly device: GPUDevice;
  readonly summary: Omit<DeviceSummary, "variants">;
  /** Least lanes of a subgroup, 0 if unknown. */
  readonly subgroupMinSize: number;
  /** Resolves when the device is lost; `expected` is true after `destroy()` of this object, not of the device by others. */
  readonly lost: Promise<{ readonly expected: boolean; readonly message: string }>;
  /** Throws if the device has reported an error since it was opened: results from then on cannot be trusted. */
  check(): void;
  destroy(): void;
}

const WANTED_LIMITS = [
  "maxBufferSize",
  "maxStorageBufferBindingSize",
  "maxStorageBuffersPerShaderStage",
  "maxComputeInvocationsPerWorkgroup",
  "maxComputeWorkgroupSizeX",
  "maxComputeWorkgroupStorageSize",
] as const;

const WANTED_FEATURES: readonly GPUFeatureName[] = ["shader-f16", "subgroups", "timestamp-query"];

/** Opens an adapter with its own maxima. Throws with a plain-words reason if there is none. */
export async function openGpu(gpu: GPU | undefined, options: OpenOptions = {}): Promise<Gpu> {
  if (!gpu)
    throw new Error(
      "This browser has no WebGPU. Chrome 113+, Edge 113+, Safari 26+ and Firefox 141+ have it, over HTTPS or localhost.",
    );
  const adapter = await gpu.requestAdapter({
    ...(options.powerPreference ? { powerPreference: options.powerPreference } : {}),
    ...(options.fallback ? { forceFallbackAdapter: true } : {}),
  });
  if (!adapter)
    throw new Error(
      "WebGPU is here, but it found no adapter. Turn on hardware acceleration in the browser's settings or update the graphics driver.",
    );
  const requiredLimits: Record<string, number> = {};
  for (const name of WANTED_LIMITS) requiredLimits[name] = adapter.limits[name] as number;
  const requiredFeatures = WANTED_FEATURES.filter((feature) => adapter.features.has(feature));
  const device = await adapter.requestDevice({ label: "autodidact", requiredLimits, requiredFeatures });
  const { vendor, architecture, description } = adapter.info;
  // Errors of validation and memory reach nobody by themselves: the work that caused them is silently not done.
  let failure: string | null = null;
  let ended = false;
  device.addEventListener("uncapturederror", (event) => {
    failure ??= event.error.message;
  });
  return {
    device,
    check: () => {
      if (failure !== null) throw new Error(`the GPU refused work: ${failure}`);
    },
    summary: {
      vendor,
      architecture,
      description: description || adapter.info.device || architecture || vendor,
      fallback: adapter.info.isFallbackAdapter ?? /swiftshader|llvmpipe/i.test(`${architecture} ${description}`),
      features: requiredFeatures,
    },
    subgroupMinSize: adapter.info.subgroupMinSize ?? 0,
    lost: device.lost.then((info) => ({ expected: ended, message: info.message })),
    destroy: () => {
      ended = true;
      device.destroy();
    },
  };
}

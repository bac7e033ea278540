/** Which GPU the page can train on, or why it cannot: asks for adapters, since `navigator.gpu` alone proves nothing. */

export type PowerPreference = "high-performance" | "low-power";

export type NoGpuReason =
  | "insecure-context" // plain HTTP on a LAN address: the API is hidden there
  | "no-api" // the browser has no WebGPU or it is switched off
  | "no-adapter" // the API is there, but no GPU (or driver) is offered
  | "refused"; // asking for an adapter failed

export interface GpuChoice {
  readonly powerPreference: PowerPreference;
  readonly vendor: string;
  readonly architecture: string;
  readonly description: string;
  /** Software rendering (SwiftShader, WARP, llvmpipe): right, but slow. */
  readonly fallback: boolean;
}

export type Capabilities =
  | { readonly kind: "ready"; readonly adapters: readonly GpuChoice[] }
  | { readonly kind: "unavailable"; readonly reason: NoGpuReason; readonly detail: string };

const softwareNames = /swiftshader|llvmpipe|lavapipe|software|warp|basic render/i;

/**
 * Asks for the fast and the frugal adapter and lists them once each, so that a machine with two GPUs offers both.
 * `environment` is `{ gpu: navigator.gpu, secure: isSecureContext }` in the page.
 */
export async function detectCapabilities(environment: {
  readonly gpu: GPU | undefined;
  readonly secure: boolean;
}): Promise<Capabilities> {
  const { gpu, secure } = environment;
  if (!secure) return { kind: "unavailable", reason: "insecure-context", detail: "" };
  if (!gpu) return { kind: "unavailable", reason: "no-api", detail: "" };
  const adapters: GpuChoice[] = [];
  let refusal = "";
  for (const powerPreference of ["high-performance", "low-power"] as const) {
    try {
      const adapter = await gpu.requestAdapter({ powerPreference });
      if (!adapter) continue;
      const choice = describe(adapter, powerPreference);
      if (!adapters.some((other) => sameGpu(other, choice))) adapters.push(choice);
    } catch (error) {
      refusal = error instanceof Error ? error.message : String(error);
    }
  }
  if (adapters.length > 0) return { kind: "ready", adapters };
  return { kind: "unavailable", reason: refusal ? "refused" : "no-adapter", detail: refusal };
}

function describe(adapter: GPUAdapter, powerPreference: PowerPreference): GpuChoice {
  const { vendor, architecture, description } = adapter.info;
  const flagged = (adapter.info as { isFallbackAdapter?: boolean }).isFallbackAdapter === true;
  const fallback = flagged || softwareNames.test(`${vendor} ${architecture} ${description}`);
  return { powerPreference, vendor, architecture, description, fallback };
}

function sameGpu(a: GpuChoice, b: GpuChoice): boolean {
  return a.vendor === b.vendor && a.architecture === b.architecture && a.description === b.description;
}

/**
 * Which Vulkan driver Dawn (the npm package `webgpu`) uses on Linux, by choice of the environment that its loader reads:
 * VK_ICD_FILENAMES if the user set it, else a real GPU, else Mesa's llvmpipe from version 24 on (f16, subgroups of 8),
 * else the SwiftShader that comes with Chromium (f32, subgroups of 4, about half as fast). macOS and Windows need no choice.
 */
import { execFileSync } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/**
 * @typedef {{ kind: "given" | "gpu" | "llvmpipe" | "swiftshader" | "none", env: Record<string, string>, detail: string }} Choice
 *   env: to be set before Dawn loads · detail: one line that says what was chosen and why
 * @typedef {{ description: string, vendor: string, fallback: boolean }} Found
 */

const oldestMesa = 24;
const self = fileURLToPath(import.meta.url);

/**
 * Finds the best driver; changes nothing. Set `env` before `webgpu` is imported (LD_LIBRARY_PATH: before the process starts).
 * @returns {Choice}
 */
export function chooseAdapter() {
  if (process.env.VK_ICD_FILENAMES) {
    return { kind: "given", env: {}, detail: `Vulkan driver: VK_ICD_FILENAMES is ${process.env.VK_ICD_FILENAMES}` };
  }
  if (process.platform !== "linux")
    return { kind: "gpu", env: {}, detail: `GPU: the system's own (${process.platform})` };
  if (hasGpuDevice()) {
    const found = probe({});
    if (found && !found.fallback) return { kind: "gpu", env: {}, detail: `GPU: ${found.description || found.vendor}` };
  }
  for (const file of llvmpipeDrivers()) {
    const env = { VK_ICD_FILENAMES: file };
    const found = probe(env);
    const mesa = Number(/Mesa (\d+)/.exec(found?.description ?? "")?.[1] ?? 0);
    if (mesa >= oldestMesa) return { kind: "llvmpipe", env, detail: `No GPU: software adapter ${found?.description}` };
  }
  for (const folder of chromiumFolders()) {
    const file = join(folder, "vk_swiftshader_icd.json");
    if (!existsSync(file)) continue;
    // Without libvulkan1 the loader that Chromium brings along does; the library path counts at a process's start only.
    for (const env of [{ VK_ICD_FILENAMES: file }, { VK_ICD_FILENAMES: file, LD_LIBRARY_PATH: folder }]) {
      const found = probe(env);
      const detail = `No GPU: software adapter ${found?.description} from ${folder}`;
      if (found) return { kind: "swiftshader", env, detail };
    }
  }
  return {
    kind: "none",
    env: {},
    detail:
      "No GPU and no software adapter: install a Vulkan driver (Debian 12: mesa-vulkan-drivers from bookworm-backports; " +
      "Debian 13, Ubuntu 24.04 and later: mesa-vulkan-drivers) or Chromium together with libvulkan1.",
  };
}

/** Device nodes of GPUs: DRM render nodes, NVIDIA's driver, WSL. */
function hasGpuDevice() {
  const render = existsSync("/dev/dri") && readdirSync("/dev/dri").some((name) => name.startsWith("renderD"));
  return render || existsSync("/dev/nvidiactl") || existsSync("/dev/dxg");
}

function llvmpipeDrivers() {
  return ["/usr/share/vulkan/icd.d", "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d"]
    .filter((folder) => existsSync(folder))
    .flatMap((folder) =>
      readdirSync(folder)
        .filter((name) => /^lvp_icd.*\.json$/.test(name))
        .map((name) => join(folder, name)),
    );
}

/** Folders where a Chromium or Chrome keeps its libraries. */
function chromiumFolders() {
  const caches = [process.env.PLAYWRIGHT_BROWSERS_PATH, join(homedir(), ".cache", "ms-playwright")];
  const cached = caches
    .filter((cache) => cache !== undefined && existsSync(cache))
    .flatMap((cache) =>
      readdirSync(String(cache))
        .filter((name) => name.startsWith("chromium"))
        .map((name) => join(String(cache), name)),
    )
    .flatMap((folder) => readdirSync(folder).map((name) => join(folder, name)));
  const given = process.env.CHROMIUM_PATH ? [dirname(process.env.CHROMIUM_PATH)] : [];
  return [...given, "/usr/lib/chromium", "/usr/lib/chromium-browser", "/opt/google/chrome", ...cached];
}

/**
 * Asks Dawn in a process of its own, since the Vulkan loader reads its environment only once.
 * @param {Record<string, string>} env
 * @returns {Found | null} null if there is no adapter
 */
function probe(env) {
  try {
    const printed = execFileSync(process.execPath, [self, "--probe"], {
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "ignore"],
      encoding: "utf8",
      timeout: 60_000,
    });
    return JSON.parse(printed.trim().split("\n").pop() ?? "null");
  } catch {
    return null;
  }
}

if (process.argv[1] === self && process.argv[2] === "--probe") {
  const { create } = await import("webgpu");
  const adapter = await create([]).requestAdapter({ powerPreference: "high-performance" });
  const info = adapter?.info;
  process.stdout.write(
    `${JSON.stringify(info ? { description: info.description, vendor: info.vendor, fallback: info.isFallbackAdapter } : null)}\n`,
    () => process.exit(0),
  );
}

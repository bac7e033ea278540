/**
 * `npm ci` refuses a package-lock.json that lacks optional packages of other platforms, and `npm install` leaves them out
 * when a registry mirror does not have them. `node tests/run/lockfile.mjs` puts them back (after each npm install).
 */
import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

/**
 * @typedef {{ version?: string, dev?: boolean, license?: string, engines?: object,
 *   optionalDependencies?: Record<string, string> }} Entry
 */

/**
 * @param {Record<string, Entry>} packages of a package-lock.json
 * @returns {{ path: string, entry: Entry & { optional: true, os?: string[], cpu?: string[], libc?: string[] } }[]}
 *   optional packages that are named in it and not there
 */
export function missingOptionals(packages) {
  return Object.entries(packages).flatMap(([owner, { dev, license, engines, optionalDependencies = {} }]) =>
    Object.entries(optionalDependencies)
      .filter(([name]) => !packages[`${owner}/node_modules/${name}`] && !packages[`node_modules/${name}`])
      .map(([name, version]) => ({
        path: `node_modules/${name}`,
        entry: {
          version,
          ...platformOf(name),
          ...(dev ? { dev } : {}),
          ...(license ? { license } : {}),
          /** @type {true} */ optional: true,
          ...(engines ? { engines } : {}),
        },
      })),
  );
}

/**
 * Operating system, processor and C library, as package names of native binaries carry them.
 * @param {string} name such as "@biomejs/cli-linux-x64-musl"
 */
export function platformOf(name) {
  const words = name.split(/[/-]/);
  const os = words.find((word) => ["android", "darwin", "freebsd", "linux", "openharmony", "win32"].includes(word));
  const cpu = words.find((word) => ["arm", "arm64", "ia32", "ppc64", "riscv64", "s390x", "x64"].includes(word));
  const libc = os !== "linux" ? undefined : words.some((word) => word.startsWith("musl")) ? "musl" : "glibc";
  return { ...(cpu ? { cpu: [cpu] } : {}), ...(libc ? { libc: [libc] } : {}), ...(os ? { os: [os] } : {}) };
}

export const lockfile = fileURLToPath(new URL("../../package-lock.json", import.meta.url));

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const lock = JSON.parse(readFileSync(lockfile, "utf8"));
  const missing = missingOptionals(lock.packages);
  for (const { path, entry } of missing) lock.packages[path] = entry;
  const [root, ...rest] = Object.entries(lock.packages);
  if (root) lock.packages = Object.fromEntries([root, ...rest.sort(([a], [b]) => a.localeCompare(b, "en"))]);
  writeFileSync(lockfile, `${JSON.stringify(lock, null, 2)}\n`);
  console.log(`${missing.length} optional packages added to package-lock.json`);
}

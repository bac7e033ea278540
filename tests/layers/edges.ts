/** The table of layers and a checker of imports against it. */

/**
 * What each folder of src may import: folders, or single files. Nothing else, type-only imports included.
 * ui → worker/client · worker, cli → loop, store, train, judge · train → model → ops → gpu → base.
 */
export const allowed: Readonly<Record<string, readonly string[]>> = {
  base: [],
  gpu: ["base"],
  ops: ["gpu", "base"],
  model: ["ops", "gpu", "base"],
  train: ["model", "ops", "gpu", "base"],
  world: ["base"],
  loop: ["base"],
  store: ["base", "loop/ports.ts"],
  judge: ["base", "world", "loop/ports.ts"],
  eval: ["base", "world", "loop/ports.ts"],
  worker: ["base", "gpu", "ops", "model", "train", "world", "loop", "store", "judge", "eval"],
  bench: ["base", "gpu", "ops", "model", "train", "judge/onnx-graph.ts"],
  cli: [
    "base",
    "gpu",
    "ops",
    "model",
    "train",
    "world",
    "loop",
    "store",
    "judge",
    "eval",
    "worker/compose.ts",
    "worker/driver.ts",
    "worker/api.ts",
    "worker/rpc.ts",
    "bench",
  ],
  ui: [
    "base",
    "worker/client",
    "worker/api.ts",
    "worker/capabilities.ts",
    "worker/sandbox.ts",
    "world/render.ts",
    "world/scene.ts",
    "world/questions.ts",
    "world/vocabulary.ts",
  ],
};

/** Files that only some may import, whatever the table says: the truth about a picture. */
export const reserved: Readonly<Record<string, readonly string[]>> = {
  "world/truth.ts": ["eval/", "world/sealed.ts"],
};

/** Only this folder reads the shaders. */
const shaderReader = "ops/";

export interface SourceFile {
  /** Path below src, with forward slashes: "loop/gate.ts". */
  readonly path: string;
  readonly text: string;
}

/** Specifiers of static and dynamic imports, re-exports, workers, globs and `new URL(…, import.meta.url)`. */
export function importsOf(text: string): string[] {
  const code = text.replace(/\/\*[\s\S]*?\*\//g, "").replace(/^\s*\/\/.*$/gm, "");
  const patterns = [
    /\b(?:import|export)\b[^;"'`()]*?\bfrom\s*["'`]([^"'`]+)["'`]/g,
    /\bimport\s*["'`]([^"'`]+)["'`]/g,
    /\bimport\s*\(\s*["'`]([^"'`]+)["'`]/g,
    /\bimport\.meta\.glob\s*(?:<[^(]*>)?\(\s*\[?\s*["'`]([^"'`]+)["'`]/g,
    /\bnew\s+URL\s*\(\s*["'`]([^"'`]+)["'`]\s*,\s*import\.meta\.url/g,
  ];
  return patterns.flatMap((pattern) => [...code.matchAll(pattern)].map((match) => match[1] ?? ""));
}

/** A relative specifier as a path from the project's root ("src/base/rng.ts", "shaders/*.wgsl"); null for a package. */
export function resolve(from: string, specifier: string): string | null {
  const bare = specifier.replace(/\?.*$/, "");
  if (bare.startsWith("/")) return bare.slice(1);
  if (!bare.startsWith(".")) return null;
  const parts = `src/${from}`.split("/").slice(0, -1);
  for (const part of bare.split("/")) {
    if (part === "..") parts.pop();
    else if (part !== ".") parts.push(part);
  }
  return parts.join("/");
}

/** One line for each import that the table forbids. */
export function violations(files: readonly SourceFile[]): string[] {
  return files.flatMap(({ path, text }) => {
    const folder = path.split("/")[0] ?? "";
    if (!path.includes("/")) return path.endsWith(".d.ts") ? [] : [`${path}: put it into a folder of src`];
    const rights = allowed[folder];
    if (rights === undefined) return [`${path}: folder ${folder} is not in the table of layers`];
    return importsOf(text).flatMap((specifier) => {
      const target = resolve(path, specifier);
      if (target === null) return [];
      if (target.startsWith("shaders/")) {
        return path.startsWith(shaderReader) ? [] : [`${path}: only src/${shaderReader} reads shaders (${specifier})`];
      }
      if (!target.startsWith("src/")) return [];
      const inner = target.slice("src/".length);
      const readers = reserved[inner];
      if (readers !== undefined && !readers.some((reader) => path.startsWith(reader))) {
        return [`${path}: imports ${inner}, which is reserved for ${readers.join(", ")}`];
      }
      const inside = inner === folder || inner.startsWith(`${folder}/`);
      const granted = rights.some(
        (right) => inner === right || inner.startsWith(`${right}/`) || inner === `${right}.ts`,
      );
      return inside || granted ? [] : [`${path}: ${folder} may not import ${inner}`];
    });
  });
}

/** Cycles among files, each as "a.ts → b.ts → a.ts", found depth first; type-only imports do not count. */
export function cycles(files: readonly SourceFile[]): string[] {
  const edges = new Map(
    files.map(({ path, text }) => {
      const values = text.replace(/\b(?:import|export)\s+type\b[^;]*?from\s*["'][^"']+["']/g, "");
      const targets = importsOf(values).flatMap((specifier) => resolve(path, specifier)?.replace(/^src\//, "") ?? []);
      return [path, targets] as const;
    }),
  );
  const found = new Set<string>();
  const done = new Set<string>();
  const visit = (path: string, trail: readonly string[]): void => {
    const at = trail.indexOf(path);
    if (at >= 0) found.add([...trail.slice(at), path].join(" → "));
    if (at >= 0 || done.has(path)) return;
    for (const next of edges.get(path) ?? []) visit(next, [...trail, path]);
    done.add(path);
  };
  for (const path of edges.keys()) visit(path, []);
  return [...found];
}

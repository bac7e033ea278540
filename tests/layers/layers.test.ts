import { readdirSync, readFileSync } from "node:fs";
import { join, relative, sep } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { allowed, cycles, importsOf, resolve, type SourceFile, violations } from "./edges.ts";

const root = fileURLToPath(new URL("../../src", import.meta.url));
const sources: SourceFile[] = readdirSync(root, { recursive: true, withFileTypes: true })
  .filter((entry) => entry.isFile() && /\.(ts|tsx|mjs)$/.test(entry.name))
  .map((entry) => join(entry.parentPath, entry.name))
  .map((file) => ({ path: relative(root, file).split(sep).join("/"), text: readFileSync(file, "utf8") }));

test("every import of src is in the table of layers", () => {
  expect(sources.length).toBeGreaterThan(0);
  expect(violations(sources)).toEqual([]);
});

test("no two files of src import each other, directly or in a circle", () => {
  expect(cycles(sources)).toEqual([]);
});

test("the table itself has no circle: a layer that may be imported may not import back", () => {
  for (const [layer, rights] of Object.entries(allowed)) {
    for (const right of rights) {
      const back = allowed[right.split("/")[0] ?? ""] ?? [];
      expect(back.map((name) => name.split("/")[0])).not.toContain(layer);
    }
  }
});

test.each([
  ["gpu/device.ts", 'import { step } from "../train/step.ts";', "gpu may not import train/step.ts"],
  ["loop/round.ts", 'import type { Scene } from "../world/scene.ts";', "loop may not import world/scene.ts"],
  ["world/render.ts", 'const m = await import("../loop/ports.ts");', "world may not import loop/ports.ts"],
  ["store/db.ts", 'export { run } from "../loop/run.ts";', "store may not import loop/run.ts"],
  ["ui/main.tsx", 'import "../worker/engine.ts";', "ui may not import worker/engine.ts"],
  ["ui/main.tsx", 'new Worker(new URL("../train/w.ts", import.meta.url));', "ui may not import train/w.ts"],
  ["judge/pixels.ts", 'import {\n  truthOf,\n} from "../world/truth.ts";', "reserved for eval/, world/sealed.ts"],
  ["train/step.ts", 'import code from "../../shaders/adamw.wgsl?raw";', "only src/ops/ reads shaders"],
  ["gpu/all.ts", 'import.meta.glob("../../shaders/*.wgsl", { query: "?raw" });', "only src/ops/ reads shaders"],
  ["stray.ts", "", "put it into a folder of src"],
  ["extra/file.ts", "", "folder extra is not in the table"],
])("a planted violation in %s is found: %s", (path, text, message) => {
  const found = violations([{ path, text }]);
  expect(found).toHaveLength(1);
  expect(found[0]).toContain(message);
});

test.each([
  ["worker/engine.ts", 'import { step } from "../train/step.ts";'],
  ["ui/main.tsx", 'import { connect } from "../worker/client.ts";\nimport { x } from "../worker/client/y.ts";'],
  ["eval/score.ts", 'import { truthOf } from "../world/truth.ts";'],
  ["world/sealed.ts", 'import { truthOf } from "./truth.ts";'],
  ["ops/all.ts", 'import.meta.glob("../../shaders/*.wgsl", { query: "?raw" });'],
  ["gpu/device.ts", '// import { step } from "../train/step.ts";\nimport { wrap } from "comlink";'],
])("an allowed import in %s is not reported", (path, text) => {
  expect(violations([{ path, text }])).toEqual([]);
});

test("a planted circle is found, and one of types alone is not", () => {
  const circle = (word: string) => [
    { path: "a/one.ts", text: `${word} { b } from "../b/two.ts";` },
    { path: "b/two.ts", text: `import { c } from "./three.ts";` },
    { path: "b/three.ts", text: `import { a } from "../a/one.ts";` },
  ];
  expect(cycles(circle("import"))).toEqual(["a/one.ts → b/two.ts → b/three.ts → a/one.ts"]);
  expect(cycles(circle("import type"))).toEqual([]);
});

test("specifiers are resolved from the importing file", () => {
  expect(importsOf('import a, { b } from "./x.ts"; export type { c } from "../y.ts";')).toEqual(["./x.ts", "../y.ts"]);
  expect(resolve("ui/panels/now.tsx", "../../base/rng.ts?worker")).toBe("src/base/rng.ts");
  expect(resolve("ui/main.tsx", "preact")).toBeNull();
});

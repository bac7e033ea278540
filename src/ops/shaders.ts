/**
 * The only reader of shaders/: the text of a kernel by name, with its compile-time constants set.
 *
 * WGSL has no includes and unrolls nothing, so a file may use two lines of its own; what they stand for ends up on the
 * line where they stand, so that line numbers of compile errors are those of the file:
 *
 *     #include matmul_output               shaders/include/matmul_output.wgsl
 *     #for i < ROWS: var c$i = vec4f();    the text once for i = 0 … ROWS − 1; or a block of lines up to #end
 */
const files = import.meta.glob<string>("../../shaders/*.wgsl", { query: "?raw", import: "default", eager: true });
const parts = import.meta.glob<string>("../../shaders/include/*.wgsl", {
  query: "?raw",
  import: "default",
  eager: true,
});

/**
 * Text of `name`, or of `name?ROWS=8&F16=1`: what an `override` cannot set (sizes of arrays, types, the number of
 * copies) is declared as `const ROWS: u32 = 4u;` in the file and replaced here; the element type of an elementwise kernel
 * likewise (`name?V=vec4f` and `alias V = f32;`). Throws for an unknown shader or constant.
 */
export function shaderSource(key: string): string {
  const [name, query] = key.split("?") as [string, string?];
  let code = files[`../../shaders/${name}.wgsl`];
  if (code === undefined) throw new Error(`there is no shader shaders/${name}.wgsl`);
  for (const [constant, value] of new URLSearchParams(query ?? "")) {
    const isType = constant === "V";
    const declaration = new RegExp(isType ? `alias ${constant} = \\w+;` : `const ${constant}: u32 = \\d+u;`);
    if (!declaration.test(code)) throw new Error(`shaders/${name}.wgsl has no constant ${constant}`);
    code = code.replace(declaration, isType ? `alias ${constant} = ${value};` : `const ${constant}: u32 = ${value}u;`);
  }
  return expand(code, name);
}

function expand(code: string, name: string): string {
  const lines = code.split("\n");
  const constants = new Map([...code.matchAll(/const (\w+): u32 = (\d+)u;/g)].map((m) => [m[1], Number(m[2])]));
  const out: string[] = [];
  const blocks: { variable: string; count: number; lines: string[] }[] = [];
  const emit = (text: string) => {
    const block = blocks.at(-1);
    if (block) block.lines.push(text.replace(/\/\/.*/, ""));
    else out.push(text);
  };
  const copies = (variable: string, count: number, body: string) =>
    Array.from({ length: count }, (_, i) => body.replaceAll(`$${variable}`, String(i))).join(" ");
  for (const [at, line] of lines.entries()) {
    const include = /^\s*#include (\w+)$/.exec(line);
    const loop = /^\s*#for ([a-z]) < (\w+):?(.*)$/.exec(line);
    if (include) emit(included(include[1] as string, name));
    else if (loop) {
      const [, variable, bound, body] = loop as unknown as [string, string, string, string];
      const count = constants.get(bound) ?? Number(bound);
      if (!Number.isInteger(count)) throw new Error(`shaders/${name}.wgsl:${at + 1} has no constant ${bound}`);
      if (body !== "") emit(copies(variable, count, body.replace(/\/\/.*/, "")));
      else blocks.push({ variable, count, lines: [] });
    } else if (/^\s*#end$/.test(line)) {
      const block = blocks.pop();
      if (!block) throw new Error(`shaders/${name}.wgsl:${at + 1} ends a #for that never began`);
      emit(copies(block.variable, block.count, block.lines.join(" ")));
      // The lines of the block, so that what follows keeps its number.
      if (blocks.length === 0) while (out.length < at + 1) out.push("");
    } else emit(line);
  }
  if (blocks.length > 0) throw new Error(`shaders/${name}.wgsl has a #for without #end`);
  return out.join("\n");
}

function included(part: string, name: string): string {
  const code = parts[`../../shaders/include/${part}.wgsl`];
  if (code === undefined)
    throw new Error(`shaders/${name}.wgsl includes shaders/include/${part}.wgsl, which is not there`);
  return code.replace(/\/\/.*/g, "").replaceAll("\n", " ");
}

/** Names of all kernels, for tests. */
export const shaderNames = Object.keys(files).map((path) => path.replace(/^.*\/(.*)\.wgsl$/, "$1"));

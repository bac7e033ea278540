/**
 * The only reader of shaders/: the text of a kernel by name, with its compile-time constants set.
 *
 * WGSL has no includes and unrolls nothing, so a file may use three lines of its own; what they stand for ends up on the
 * line where they stand, so that line numbers of compile errors are those of the file:
 *
 *     #include matmul_output               shaders/include/matmul_output.wgsl
 *     #for i < ROWS: var c$i = vec4f();    the text once for i = 0 … ROWS − 1
 *     #if EXCHANGE: enable subgroups;      the text if the constant is not 0; #if !EXCHANGE if it is
 *
 * #for and #if without a text after the colon take the lines up to #end.
 *
 * Kernels in which LANES neighbouring lanes share what they loaded write fromLane(x, 2u) for the x of one of them, c = 0 …
 * LANES − 1, and laneOf(2u) for whose it is. By the constant EXCHANGE that is
 *   0   x and 0u: there is but one lane
 *   1   lane c, by a broadcast
 *   2   lane (own xor c) of four, by a swap: each lane sees all lanes' once, in an order of its own. SwiftShader takes one
 *       instruction for a swapped number and about fifteen for a broadcast one.
 */
const files = import.meta.glob<string>("../../shaders/*.wgsl", { query: "?raw", import: "default", eager: true });
const parts = import.meta.glob<string>("../../shaders/include/*.wgsl", {
  query: "?raw",
  import: "default",
  eager: true,
});

type Constants = ReadonlyMap<string, number>;

/**
 * Text of `name`, or of `name?ROWS=8&NT=1`: what an `override` cannot set (sizes of arrays, types, the number of
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
  const constants = new Map(
    [...code.matchAll(/const (\w+): u32 = (\d+)u;/g)].map((m) => [m[1] as string, Number(m[2])]),
  );
  return exchanged(expand(code, name, constants), constants);
}

const SWAPS = ["", "quadSwapX", "quadSwapY", "quadSwapDiagonal"] as const;

function exchanged(code: string, constants: Constants): string {
  const exchange = constants.get("EXCHANGE") ?? 0;
  return code
    .replace(/fromLane\((\w+), ([\w *+]+)\)/g, (_, x: string, lane: string) => {
      if (exchange === 0) return x;
      return exchange === 1 ? `subgroupBroadcast(${x}, ${lane})` : `${SWAPS[laneNumber(lane, constants)]}(${x})`;
    })
    .replace(/laneOf\(([\w *+]+)\)/g, (_, lane: string) =>
      exchange === 2 ? `((lane % 4u) ^ ${laneNumber(lane, constants)}u)` : `(${lane})`,
    );
}

/** Of a lane's number: sums of products of literals and constants. */
const laneNumber = (text: string, constants: Constants): number =>
  text
    .split("+")
    .map((term) =>
      term
        .split("*")
        .map((factor) => constants.get(factor.trim()) ?? Number.parseInt(factor, 10))
        .reduce((a, b) => a * b, 1),
    )
    .reduce((a, b) => a + b, 0);

function expand(code: string, name: string, constants: Constants): string {
  const out: string[] = [];
  const blocks: { copies: (body: string) => string; lines: string[] }[] = [];
  const emit = (text: string) => (blocks.at(-1)?.lines ?? out).push(text);
  for (const [at, text] of code.split("\n").entries()) {
    const line = blocks.length > 0 ? uncommented(text) : text;
    const include = /^\s*#include (\w+)$/.exec(line)?.[1];
    const repeat = /^\s*#for ([a-z]) < (\w+)(?::(.*))?$/.exec(line);
    const choice = /^\s*#if (!?)(\w+)(?::(.*))?$/.exec(line);
    const word = repeat?.[2] ?? choice?.[2];
    const value = word === undefined ? 0 : (constants.get(word) ?? Number(word));
    if (!Number.isInteger(value)) throw new Error(`shaders/${name}.wgsl:${at + 1} has no constant ${word}`);
    if (include !== undefined) emit(oneLine(expand(partSource(include, name), `include/${include}`, constants)));
    else if (repeat || choice) {
      const copies = (body: string) => {
        if (choice) return (value !== 0) === (choice[1] === "") ? body : "";
        return Array.from({ length: value }, (_, i) => body.replaceAll(`$${repeat?.[1]}`, String(i))).join(" ");
      };
      const body = uncommented(repeat?.[3] ?? choice?.[3] ?? "");
      if (body.trim() !== "") emit(copies(body));
      else blocks.push({ copies, lines: [] });
    } else if (/^\s*#end$/.test(line)) {
      const block = blocks.pop();
      if (!block) throw new Error(`shaders/${name}.wgsl:${at + 1} has an #end of nothing`);
      emit(block.copies(block.lines.join(" ")));
      // As many lines as the block had, so that what follows keeps its number.
      if (blocks.length === 0) while (out.length < at + 1) out.push("");
    } else emit(line);
  }
  if (blocks.length > 0) throw new Error(`shaders/${name}.wgsl has a #for or #if without #end`);
  return out.join("\n");
}

/** The text of a part, which sees the constants of the file that includes it. */
function partSource(part: string, name: string): string {
  const code = parts[`../../shaders/include/${part}.wgsl`];
  if (code === undefined)
    throw new Error(`shaders/${name}.wgsl includes shaders/include/${part}.wgsl, which is not there`);
  return code;
}

const uncommented = (code: string) => code.replace(/\/\/.*/, "");
const oneLine = (code: string) => code.split("\n").map(uncommented).join(" ");

/** The files of all kernels and parts whose names match, as they are written: with every branch of #if. Sorted by path. */
export const shaderFiles = (names: RegExp): string[] =>
  Object.entries({ ...files, ...parts })
    .filter(([path]) => names.test(path.replace(/^.*\//, "")))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([, text]) => text);

/** Names of all kernels, for tests. */
export const shaderNames = Object.keys(files).map((path) => path.replace(/^.*\/(.*)\.wgsl$/, "$1"));

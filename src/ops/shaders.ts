/** The only reader of shaders/: the text of a kernel by name, with its compile-time constants set. */
const files = import.meta.glob<string>("../../shaders/*.wgsl", { query: "?raw", import: "default", eager: true });

/**
 * Text of `name`, or of `name?D4=8`: WGSL cannot size a function's array by an `override`, so such constants are
 * declared as `const D4: u32 = 4u;` in the file and replaced here. Throws for an unknown shader or constant.
 */
export function shaderSource(key: string): string {
  const [name, query] = key.split("?");
  let code = files[`../../shaders/${name}.wgsl`];
  if (code === undefined) throw new Error(`there is no shader shaders/${name}.wgsl`);
  for (const [constant, value] of new URLSearchParams(query ?? "")) {
    const declaration = new RegExp(`const ${constant}: u32 = \\d+u;`);
    if (!declaration.test(code)) throw new Error(`shaders/${name}.wgsl has no constant ${constant}`);
    code = code.replace(declaration, `const ${constant}: u32 = ${value}u;`);
  }
  return code;
}

/** Names of all kernels, for tests. */
export const shaderNames = Object.keys(files).map((path) => path.replace(/^.*\/(.*)\.wgsl$/, "$1"));

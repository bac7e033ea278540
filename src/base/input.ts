/** What comes from outside (files, archives, settings): the error of input that cannot be used, and bounded JSON. */

/** Input that cannot be used as it is. The message names the place, says what is wrong there and what is wanted. */
export class InputError extends Error {
  constructor(message: string, options?: ErrorOptions) {
    super(message, options);
    this.name = "InputError";
  }
}

/** Deeper than any document of the formats that are read; keeps hostile text from overflowing the stack later. */
const MAX_DEPTH = 64;

/**
 * The value of a JSON text. Throws an InputError that names `source` if it is none, or if lists and objects are nested
 * more than 64 levels deep.
 */
export function parseJson(text: string, source: string): unknown {
  if (!isShallow(text)) throw new InputError(`${source} is nested more than ${MAX_DEPTH} levels deep`);
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new InputError(`${source} is not valid JSON: ${(error as Error).message}`);
  }
}

const QUOTE = 34;
const BACKSLASH = 92;
const OPEN: readonly number[] = [91, 123]; // [ {
const CLOSE: readonly number[] = [93, 125]; // ] }

/** Are brackets outside of strings nested at most MAX_DEPTH deep? Holds for text that is no JSON, too. */
function isShallow(text: string): boolean {
  let depth = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (quoted) {
      if (code === BACKSLASH) i++;
      else if (code === QUOTE) quoted = false;
    } else if (code === QUOTE) quoted = true;
    else if (OPEN.includes(code)) {
      depth++;
      if (depth > MAX_DEPTH) return false;
    } else if (CLOSE.includes(code)) depth--;
  }
  return true;
}

/**
 * Why a package refused its input, for a message: its own sentence, or `otherwise` for an error of the language, which
 * would tell of its insides ("x is undefined").
 */
export function reasonOf(cause: unknown, otherwise: string): string {
  const own = cause instanceof Error && Object.getPrototypeOf(cause) === Error.prototype;
  return own ? (cause.message.split("\n")[0] as string) : otherwise;
}

/**
 * Checks of values that come from outside (imported files): a shape returns the value with its type, or throws a
 * ShapeError that names the path. Unknown additional fields pass, so that records may grow.
 */
export type Shape<T> = (value: unknown, path: string) => T;

/** Names the path of a value that is not what it should be. */
export class ShapeError extends Error {
  constructor(path: string, want: string, got: unknown) {
    super(`${path} should be ${want}, but is ${show(got)}`);
    this.name = "ShapeError";
  }
}

/** A text of at most `max` UTF-16 units. */
export const text =
  (max = 1_000_000): Shape<string> =>
  (value, path) => {
    if (typeof value !== "string" || value.length > max)
      throw new ShapeError(path, `a text of at most ${max} characters`, value);
    return value;
  };

/** A SHA-256 as 64 lower-case hex digits. */
export const sha: Shape<string> = (value, path) => {
  if (typeof value !== "string" || !/^[0-9a-f]{64}$/.test(value))
    throw new ShapeError(path, "a SHA-256 (64 hex digits)", value);
  return value;
};

export const number: Shape<number> = (value, path) => {
  if (typeof value !== "number" || !Number.isFinite(value)) throw new ShapeError(path, "a finite number", value);
  return value;
};

/** A whole number, 0 or more. */
export const whole: Shape<number> = (value, path) => {
  if (!Number.isSafeInteger(value) || (value as number) < 0)
    throw new ShapeError(path, "a whole number, 0 or more", value);
  return value as number;
};

export const boolean: Shape<boolean> = (value, path) => {
  if (typeof value !== "boolean") throw new ShapeError(path, "true or false", value);
  return value;
};

export const bytes: Shape<Uint8Array> = (value, path) => {
  if (!(value instanceof Uint8Array)) throw new ShapeError(path, "bytes", value);
  return value;
};

export const oneOf =
  <const T extends readonly string[]>(...options: T): Shape<T[number]> =>
  (value, path) => {
    if (typeof value !== "string" || !options.includes(value))
      throw new ShapeError(path, `one of ${options.join(", ")}`, value);
    return value;
  };

export const orNull =
  <T>(shape: Shape<T>): Shape<T | null> =>
  (value, path) =>
    value === null ? null : shape(value, path);

/** A field that may be absent. */
export const optional =
  <T>(shape: Shape<T>): Shape<T | undefined> =>
  (value, path) =>
    value === undefined ? undefined : shape(value, path);

export const listOf =
  <T>(shape: Shape<T>): Shape<readonly T[]> =>
  (value, path) => {
    if (!Array.isArray(value)) throw new ShapeError(path, "a list", value);
    for (const [i, item] of value.entries()) shape(item, `${path}[${i}]`);
    return value as readonly T[];
  };

/** An object whose every value has one shape. */
export const recordOf =
  <T>(shape: Shape<T>): Shape<Readonly<Record<string, T>>> =>
  (value, path) => {
    for (const [key, field] of Object.entries(objectAt(value, path))) shape(field, `${path}.${key}`);
    return value as Readonly<Record<string, T>>;
  };

/** An object with at least these fields. */
export const object =
  <T extends object>(fields: { readonly [K in keyof T]-?: Shape<T[K]> }): Shape<T> =>
  (value, path) => {
    const record = objectAt(value, path);
    for (const key of Object.keys(fields) as (keyof T & string)[]) fields[key](record[key], `${path}.${key}`);
    return value as T;
  };

/** The same fields, kinds of values and list items as an example (a document with defaults). */
export function like<T>(example: T): Shape<T> {
  const check = (value: unknown, model: unknown, path: string): void => {
    if (Array.isArray(model)) {
      if (!Array.isArray(value)) throw new ShapeError(path, "a list", value);
      for (const [i, item] of value.entries()) check(item, model[Math.min(i, model.length - 1)], `${path}[${i}]`);
    } else if (typeof model === "object" && model !== null) {
      const record = objectAt(value, path);
      for (const [key, field] of Object.entries(model)) check(record[key], field, `${path}.${key}`);
    } else if (typeof value !== typeof model) throw new ShapeError(path, `a ${typeof model}`, value);
  };
  return (value, path) => {
    check(value, example, path);
    return value as T;
  };
}

function objectAt(value: unknown, path: string): Record<string, unknown> {
  if (typeof value !== "object" || value === null || Array.isArray(value) || value instanceof Uint8Array)
    throw new ShapeError(path, "an object", value);
  return value as Record<string, unknown>;
}

function show(value: unknown): string {
  if (value === undefined) return "missing";
  if (value === null || typeof value === "number" || typeof value === "boolean") return String(value);
  if (typeof value === "string") return JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value);
  return Array.isArray(value) ? "a list" : value instanceof Uint8Array ? "bytes" : "an object";
}

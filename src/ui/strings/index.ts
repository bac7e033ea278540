import { en } from "./en.ts";

/** What every language has to provide: the shape of the English catalogue with its texts left open. */
export type Strings = Open<typeof en>;

type Open<T> = T extends string
  ? string
  : T extends (...args: infer A) => string
    ? (...args: A) => string
    : T extends readonly (infer E)[]
      ? readonly Open<E>[]
      : { readonly [K in keyof T]: Open<T[K]> };

/** The catalogue in use. Another language is another catalogue of this shape, chosen here. */
export const t = (): Strings => en;

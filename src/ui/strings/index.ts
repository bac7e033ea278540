import { signal } from "@preact/signals";
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

export type Language = "en";

/** Language codes → catalogue; further languages are fetched when they are chosen. */
export const catalogues: Readonly<Record<Language, () => Promise<Strings>>> = { en: async () => en };

const current = signal<Strings>(en);

/** The catalogue in use; read inside a component, so that it is drawn again when the language changes. */
export const t = (): Strings => current.value;

/** Switches the language of the page. */
export async function setLanguage(language: Language): Promise<void> {
  current.value = await catalogues[language]();
  document.documentElement.lang = language;
}

import { createContext } from "preact";
import { useContext } from "preact/hooks";
import type { App } from "./app.ts";

export const AppContext = createContext<App | null>(null);

/** The app of the page; throws outside of its provider. */
export function useApp(): App {
  const app = useContext(AppContext);
  if (!app) throw new Error("useApp needs AppContext.Provider above it");
  return app;
}

/** Registers the service worker (src/ui/sw.ts) and lets the page decide when an update may land. */
import { t } from "./strings/index.ts";

export type OfflineState =
  /** Not offered here: plain HTTP, a private window, an old browser, or the dev server. */
  | { readonly kind: "unavailable"; readonly detail: string }
  /** The files of the page are being stored. */
  | { readonly kind: "preparing" }
  /** The page works without a server from now on. */
  | { readonly kind: "ready" }
  /** A new version is stored and waits; `applyUpdate()` reloads into it. */
  | { readonly kind: "update-waiting" };

export type UpdateOutcome =
  | { readonly kind: "reloading" }
  | { readonly kind: "refused"; readonly reason: "no-update" | "run-in-progress"; readonly detail: string };

export interface Offline {
  /** Reloads into the waiting version, unless a run holds its lock in this or another tab. */
  applyUpdate(): Promise<UpdateOutcome>;
  /** SHA-256 of the base weights of the version that waits; null if none waits or it does not say. */
  waitingBase(): Promise<string | null>;
  /** Asks the server whether there is a new version. */
  checkForUpdate(): Promise<void>;
}

/** A version that waits answers within this time, or is one that does not know the question. */
const answerMs = 2000;

/** An engine that was just ended gives its lock back within this time. */
const lockMs = 5000;

/**
 * Starts the registration; call once, after the page has drawn.
 * @param options.runLock name of the Web Lock that a tab holds while a run is going on
 * @param options.onState told every change of state
 */
export function registerOffline(options: { runLock: string; onState: (state: OfflineState) => void }): Offline {
  const { runLock, onState } = options;
  const pending = register(onState);
  return {
    async applyUpdate() {
      const waiting = (await pending)?.waiting;
      if (!waiting) return { kind: "refused", reason: "no-update", detail: t().update.none };
      // Held until this page is gone: no run can begin while the files behind it change.
      const activate = async (): Promise<UpdateOutcome> => {
        waiting.postMessage("activate");
        await new Promise((resolve) => navigator.serviceWorker.addEventListener("controllerchange", resolve));
        return { kind: "reloading" };
      };
      return navigator.locks
        .request(runLock, { signal: AbortSignal.timeout(lockMs) }, activate)
        .catch(() => ({ kind: "refused", reason: "run-in-progress", detail: t().update.runningElsewhere }));
    },
    async waitingBase() {
      const waiting = (await pending)?.waiting;
      if (!waiting) return null;
      const { port1, port2 } = new MessageChannel();
      waiting.postMessage("base", [port2]);
      return new Promise((resolve) => {
        port1.onmessage = ({ data }: MessageEvent<string | null>) => resolve(data);
        setTimeout(() => resolve(null), answerMs);
      });
    },
    async checkForUpdate() {
      await (await pending)?.update();
    },
  };
}

async function register(onState: (state: OfflineState) => void): Promise<ServiceWorkerRegistration | null> {
  if (!("serviceWorker" in navigator)) {
    onState({
      kind: "unavailable",
      detail: t().update.noOfflineCopy,
    });
    return null;
  }
  if (import.meta.env.DEV) {
    onState({ kind: "unavailable", detail: t().update.devServer });
    return null;
  }
  // Every open tab goes to the new version together. On the first visit the first change is no update: the worker that
  // was just installed takes this page.
  let controlled = navigator.serviceWorker.controller !== null;
  navigator.serviceWorker.addEventListener("controllerchange", () => {
    if (controlled) location.reload();
    controlled = true;
  });
  try {
    const registration = await navigator.serviceWorker.register(new URL("sw.js", document.baseURI), {
      updateViaCache: "none",
    });
    report(registration, onState);
    registration.addEventListener("updatefound", () => {
      const { installing } = registration;
      installing?.addEventListener("statechange", () => {
        if (installing.state === "redundant" && registration.active === null) {
          onState({
            kind: "unavailable",
            detail: t().update.notStored,
          });
        } else report(registration, onState);
      });
      report(registration, onState);
    });
    return registration;
  } catch (error) {
    onState({ kind: "unavailable", detail: error instanceof Error ? error.message : String(error) });
    return null;
  }
}

function report(registration: ServiceWorkerRegistration, onState: (state: OfflineState) => void): void {
  if (registration.waiting !== null && registration.active !== null) onState({ kind: "update-waiting" });
  else if (registration.active !== null) onState({ kind: "ready" });
  else onState({ kind: "preparing" });
}

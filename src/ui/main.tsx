import { effect } from "@preact/signals";
import { render } from "preact";
import { runLock } from "../worker/api.ts";
import { App, type View, views } from "./app.ts";
import { createApi } from "./automation.ts";
import { AppContext } from "./context.ts";
import { handleKey } from "./keys.ts";
import { Page } from "./page.tsx";
import { registerOffline } from "./pwa.ts";
import { done, type ExportedFile, failure } from "./session.ts";
import "./styles/base.css";
import "./styles/overview.css";
import "./styles/detail.css";
import "./styles/charts.css";
import "./styles/transport.css";
import "./styles/panels.css";

const settingsKey = "autodidact.settings";

const app = new App({
  connect: async () => (await import("../worker/client.ts")).createClient(),
  now: () => performance.now(),
  later: (callback, ms) => {
    const timer = setTimeout(callback, ms);
    return () => clearTimeout(timer);
  },
  storedSettings: readStored(),
  storeSettings: (text) => {
    try {
      localStorage.setItem(settingsKey, text);
    } catch {
      // A private window may refuse; the settings then last as long as the page.
    }
  },
  reducedMotion: matchMedia("(prefers-reduced-motion: reduce)").matches,
  save,
});

function readStored(): string | null {
  try {
    return localStorage.getItem(settingsKey);
  } catch {
    return null;
  }
}

/** Offers the file as a download. */
function save({ name, type, bytes }: ExportedFile): void {
  const url = URL.createObjectURL(new Blob([bytes as Uint8Array<ArrayBuffer> | Blob], { type }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000);
}

function followHash(): void {
  const name = location.hash.slice(1);
  if (name === "content") return;
  const view = views.includes(name as View) ? (name as View) : "watch";
  if (view !== app.view.value) {
    app.view.value = view;
    scrollTo(0, 0);
  }
}

followHash();
window.addEventListener("hashchange", followHash);
window.addEventListener("keydown", (event) => handleKey(app, event));
document.addEventListener("visibilitychange", () => app.visibilityChanged(document.hidden));
effect(() => {
  document.documentElement.dataset.theme = app.settings.value.theme;
});
effect(() => {
  // A call such as "go live" may change the view without the address.
  const wanted = `#${app.view.value}`;
  if (location.hash !== wanted && !(app.view.value === "watch" && location.hash === ""))
    history.replaceState(null, "", wanted);
});

const root = document.getElementById("app") as HTMLElement;
root.replaceChildren();
render(
  <AppContext.Provider value={app}>
    <Page />
  </AppContext.Provider>,
  root,
);

const ready = app.boot();
window.autodidact = createApi(app, ready, effect);
const offline = registerOffline({
  runLock,
  onState: (state) => {
    app.offline.value = state;
    if (state.kind === "ready") void ready.then(() => app.refreshFootprint());
  },
});
app.waitingBase = offline.waitingBase;
app.activateUpdate = async () => {
  const outcome = await offline.applyUpdate();
  return outcome.kind === "refused" ? failure("busy", outcome.detail) : done;
};

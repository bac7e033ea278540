import type { ComponentType } from "preact";
import { useEffect, useState } from "preact/hooks";
import type { View } from "./app.ts";
import { Charts } from "./charts/charts.tsx";
import { useApp } from "./context.ts";
import { GpuNote } from "./parts/gpu-note.tsx";
import { Header, ModeBadge } from "./parts/header.tsx";
import { HeldOutStrip } from "./parts/held-out.tsx";
import { LoopStrip } from "./parts/loop-strip.tsx";
import { LiveRegion, Notices } from "./parts/notices.tsx";
import { Now } from "./parts/now.tsx";
import { TabNote } from "./parts/tab-note.tsx";
import { Transport } from "./parts/transport.tsx";
import { UpdateNote } from "./parts/update-note.tsx";
import { Why } from "./parts/why.tsx";
import { t } from "./strings/index.ts";

/** Sections besides Watch are fetched when they are opened. */
const panels: Readonly<Record<Exclude<View, "watch">, () => Promise<{ readonly default: ComponentType }>>> = {
  draw: () => import("./panels/draw.tsx"),
  runs: () => import("./panels/runs.tsx"),
  settings: () => import("./panels/settings.tsx"),
  explain: () => import("./panels/explain.tsx"),
};

/** The whole page. */
export function Page() {
  const app = useApp();
  const view = app.view.value;
  return (
    <>
      <a class="skip" href="#content">
        {t().skip}
      </a>
      <Header />
      <main id="content" tabIndex={-1}>
        <TabNote />
        <UpdateNote />
        <Notices />
        {view === "watch" ? <Watch /> : <Panel key={view} view={view} />}
      </main>
      {view === "watch" && <Transport />}
      <LiveRegion />
    </>
  );
}

function Watch() {
  const s = t();
  return (
    <>
      <div class="intro">
        <h1>{s.tagline}</h1>
        <p>{s.taglineMore}</p>
        <ModeBadge />
        <GpuNote />
      </div>
      <HeldOutStrip />
      <LoopStrip />
      <div class="now-why">
        <Now />
        <Why />
      </div>
      <Charts />
    </>
  );
}

function Panel({ view }: { readonly view: Exclude<View, "watch"> }) {
  const [Component, setComponent] = useState<ComponentType | null>(null);
  useEffect(() => {
    void panels[view]().then((module) => setComponent(() => module.default));
  }, [view]);
  return Component ? <Component /> : null;
}

import { type View, views } from "../app.ts";
import { useApp } from "../context.ts";
import { bytes, day } from "../format.ts";
import type { Theme } from "../settings.ts";
import { t } from "../strings/index.ts";
import { Icon, Mark } from "./icon.tsx";

const themes: readonly Theme[] = ["auto", "light", "dark"];

/** Wordmark, sections, what is on show (recording or live), storage, theme and the one click that goes live. */
export function Header() {
  const app = useApp();
  const s = t();
  const theme = app.settings.value.theme;
  const nextTheme = themes[(themes.indexOf(theme) + 1) % themes.length] as Theme;
  return (
    <header class="header">
      <a class="wordmark" href="#watch">
        <Mark />
        <span>{s.name}</span>
      </a>
      <nav class="views" aria-label={s.viewsLabel}>
        {views.map((view) => (
          <a key={view} href={`#${view}`} aria-current={app.view.value === view ? "page" : undefined}>
            {s.views[view as View]}
          </a>
        ))}
      </nav>
      <div class="header-tools">
        {app.offline.value.kind === "update-waiting" && (
          <button type="button" class="link" onClick={() => void app.applyUpdate()}>
            {s.header.updateWaiting}
          </button>
        )}
        <Storage />
        <button
          type="button"
          class="tool"
          title={s.header.theme[theme]}
          aria-label={s.header.theme[theme]}
          onClick={() => app.change({ theme: nextTheme })}
        >
          <Icon name={theme} />
        </button>
      </div>
      <TrainButton />
    </header>
  );
}

function Storage() {
  const app = useApp();
  const storage = app.storage.value;
  if (!storage) return null;
  return (
    <a class="storage" href="#runs" title={t().header.storageLabel}>
      <Icon name="storage" /> {t().header.storage(bytes(storage.usage))}
    </a>
  );
}

function TrainButton() {
  const app = useApp();
  const s = t().header;
  // A tab that looks on says so in its own note.
  if (app.role.value === "reader" || app.capabilities.value?.kind === "unavailable") return null;
  if (app.training.value && app.session.value === app.live.value) return <span class="training">{s.training}</span>;
  const footprint = app.footprint.value;
  const missing = footprint ? footprint.bytes - footprint.cached : 0;
  return (
    <button
      type="button"
      class="button primary"
      disabled={!app.canTrain.value}
      onPointerEnter={() => void app.warmUp()}
      onFocus={() => void app.warmUp()}
      onClick={() => void app.goLive()}
    >
      <Icon name="play" /> {s.train(missing > 0 ? bytes(missing) : null)}
    </button>
  );
}

/** RECORDING or LIVE, with the GPU and the date of what is on show. */
export function ModeBadge() {
  const app = useApp();
  const s = t();
  const session = app.session.value;
  const run = app.model.value.run ?? session?.timeline.at(1).run ?? null;
  if (!session) return null;
  const recording = session.mode === "recording";
  const gpu = run ? s.gpu.name(run.device) : null;
  return (
    <p class={`mode ${recording ? "mode-recording" : "mode-live"}`}>
      <span class="mode-name">{recording ? s.header.recording : s.header.live}</span>
      {run && gpu && (
        <span class="mode-where">
          {recording ? s.header.recordedOn(gpu, day(run.startedAt)) : s.header.liveOn(gpu)}
        </span>
      )}
      {!recording && session.status.value !== "playing" && session.status.value !== "loading" && (
        <button type="button" class="link" onClick={() => void app.backToRecording()}>
          {s.header.watchRecording}
        </button>
      )}
    </p>
  );
}

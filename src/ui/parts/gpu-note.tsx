import { useApp } from "../context.ts";
import { bytes, duration } from "../format.ts";
import { t } from "../strings/index.ts";

/** One line about this machine: its GPU, what the first run costs, or why it cannot train and how to mend that. */
export function GpuNote() {
  const app = useApp();
  const s = t().gpu;
  const capabilities = app.capabilities.value;
  if (!capabilities) return <p class="gpu-note">{s.checking}</p>;
  if (capabilities.kind === "unavailable") {
    return (
      <p class="gpu-note warn" role="note">
        <strong>{s.cannot}</strong> {s.why[capabilities.reason]}
        {capabilities.detail && <span class="quiet"> ({capabilities.detail})</span>}
      </p>
    );
  }
  const preferred = app.settings.value.powerPreference;
  const gpu =
    capabilities.adapters.find((adapter) => adapter.powerPreference === preferred) ?? capabilities.adapters[0];
  const footprint = app.footprint.value;
  const seconds = app.live.value?.run.value?.secondsPerRound ?? null;
  const missing = footprint ? footprint.bytes - footprint.cached : 0;
  return (
    <p class={`gpu-note ${gpu?.fallback ? "warn" : ""}`}>
      {gpu && <strong>{s.ready(s.name(gpu))}</strong>} {seconds !== null && s.perRound(duration(seconds))}{" "}
      {footprint && footprint.bytes > 0 && (missing > 0 ? s.download(bytes(missing)) : s.cached)}{" "}
      {app.offline.value.kind === "ready" && s.offline} {gpu?.fallback && s.slow}
    </p>
  );
}

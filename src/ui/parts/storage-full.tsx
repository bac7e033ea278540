import { useEffect, useState } from "preact/hooks";
import type { RunSummary, StorageReport } from "../../worker/api.ts";
import { useApp } from "../context.ts";
import { bytes } from "../format.ts";
import { t } from "../strings/index.ts";

/** Browsers name a limit that the disk may not hold: only a share like this one speaks for the limit itself. */
const nearlyUsed = ({ usage, quota }: StorageReport): boolean => usage > 0.8 * quota;

/** What fills the storage, what can be deleted, and the way on once there is room. */
export function StorageFull() {
  const app = useApp();
  const s = t().space;
  const storage = app.storage.value;
  const runs = [...(app.runs.value ?? [])].sort((a, b) => b.bytes - a.bytes);
  const current = app.live.value?.run.value;
  const rest = (storage?.usage ?? 0) - runs.reduce((sum, run) => sum + run.bytes, 0);
  useEffect(() => {
    void app.refreshStorage();
  }, [app]);
  return (
    <div class="storage-full">
      {storage && <p>{(nearlyUsed(storage) ? s.full : s.diskFull)(bytes(storage.usage), bytes(storage.quota))}</p>}
      {runs.length > 0 && <p>{s.by}</p>}
      <ul>
        {runs.map((run) => (
          <li key={run.run}>
            {run.name}: {bytes(run.bytes)}{" "}
            {run.run === current?.run ? <span class="quiet">({s.current})</span> : <Remove run={run} />}
          </li>
        ))}
        {rest > 0 && <li class="quiet">{s.rest(bytes(rest))}</li>}
      </ul>
      <p>{s.advice}</p>
      {current?.status === "paused" && (
        <button type="button" class="button primary" onClick={() => void app.togglePlay()}>
          {s.goOn}
        </button>
      )}
    </div>
  );
}

function Remove({ run }: { readonly run: RunSummary }) {
  const app = useApp();
  const s = t().runs;
  const [confirming, setConfirming] = useState(false);
  if (!confirming)
    return (
      <button type="button" class="link danger" onClick={() => setConfirming(true)}>
        {s.remove}
      </button>
    );
  return (
    <>
      <button type="button" class="link danger" onClick={() => void app.deleteRun(run.run)}>
        {s.confirm}
      </button>{" "}
      <button type="button" class="link" onClick={() => setConfirming(false)}>
        {s.cancel}
      </button>
    </>
  );
}

import { useApp } from "../context.ts";
import { t } from "../strings/index.ts";

/** Asks before an update after which unfinished runs could not go on. */
export function UpdateNote() {
  const app = useApp();
  const s = t().update;
  const runs = app.leftBehind.value;
  if (runs.length === 0) return null;
  return (
    <div class="notice" role="alert">
      <p>{s.leftBehind(runs.map((run) => run.name).join(", "))}</p>
      <button type="button" class="button" onClick={() => void app.applyUpdate({ anyway: true })}>
        {s.anyway}
      </button>
      <button
        type="button"
        class="link"
        onClick={() => {
          app.leftBehind.value = [];
        }}
      >
        {s.notNow}
      </button>
    </div>
  );
}

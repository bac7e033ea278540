import { useApp } from "../context.ts";
import { t } from "../strings/index.ts";

/** Why this tab does not train, with the one click that changes it; and, after a hand-over, what this tab goes on with. */
export function TabNote() {
  const app = useApp();
  const s = t().tabs;
  const tookOverAt = app.tookOverAt.value;
  if (app.role.value === "reader") {
    const status = app.elsewhere.value?.status;
    const training = status === "running" || status === "loading";
    return (
      <div class="notice notice-calm" role="status">
        <p>{training ? s.training : s.idle}</p>
        <button type="button" class="button" disabled={app.takingOver.value} onClick={() => void app.takeOver()}>
          {app.takingOver.value ? s.asking : s.here}
        </button>
      </div>
    );
  }
  if (tookOverAt === null) return null;
  return (
    <div class="notice notice-calm" role="status">
      <p>{s.tookOver(tookOverAt)}</p>
      <button
        type="button"
        class="link"
        onClick={() => {
          app.tookOverAt.value = null;
        }}
      >
        {s.understood}
      </button>
    </div>
  );
}

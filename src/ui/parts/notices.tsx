import { useApp } from "../context.ts";
import { t } from "../strings/index.ts";
import { StorageFull } from "./storage-full.tsx";

/** The last failure in plain words, and an error that the loop itself reported. */
export function Notices() {
  const app = useApp();
  const s = t().failure;
  const failed = app.failure.value ?? app.session.value?.failure.value ?? null;
  const loopError = app.model.value.error;
  return (
    <>
      {failed && (
        <div class="notice" role="alert">
          <div>
            <p>
              <strong>{s.title[failed.code]}.</strong> {failed.message}
            </p>
            {failed.code === "quota" && <StorageFull />}
            {failed.detail && (
              <details>
                <summary class="quiet">{s.details}</summary>
                <code class="failure-detail">{failed.detail}</code>
              </details>
            )}
          </div>
          <button type="button" class="link" onClick={() => app.dismiss()}>
            {s.dismiss}
          </button>
        </div>
      )}
      {loopError && !failed && (
        <div class="notice" role="alert">
          <p>{loopError.message}</p>
        </div>
      )}
    </>
  );
}

/** Speaks to screen readers, at most once in ten seconds. */
export function LiveRegion() {
  const app = useApp();
  return (
    <p class="visually-hidden" aria-live="polite" aria-atomic="true">
      {app.announcer.text.value}
    </p>
  );
}

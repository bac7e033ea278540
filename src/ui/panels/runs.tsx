import { useEffect, useRef, useState } from "preact/hooks";
import type { RunSummary } from "../../worker/api.ts";
import { runStateOf } from "../app.ts";
import { useApp } from "../context.ts";
import { bytes, minute, share } from "../format.ts";
import { t } from "../strings/index.ts";

/** Stored runs: open, resume, export, delete; import of archives; how much room they take. */
export default function Runs() {
  const app = useApp();
  const s = t().runs;
  const runs = app.runs.value;
  useEffect(() => {
    void app.refreshStorage();
  }, [app]);
  return (
    <section class="panel runs" aria-labelledby="runs-title">
      <h1 id="runs-title">{s.title}</h1>
      <StorageLine />
      {runs === null ? (
        <p class="quiet">{s.needsClient}</p>
      ) : runs.length === 0 ? (
        <p class="quiet">{s.none}</p>
      ) : (
        <RunTable runs={runs} />
      )}
      <div class="runs-actions">
        <ImportButton />
        <Current />
      </div>
      <p class="quiet">
        {s.adapterNote} <code>{s.verify}</code>
      </p>
      <p class="quiet" role="status">
        {app.notice.value}
      </p>
    </section>
  );
}

function StorageLine() {
  const app = useApp();
  const s = t().runs;
  const [refused, setRefused] = useState(false);
  const storage = app.storage.value;
  if (!storage) return null;
  const persist = async (): Promise<void> => {
    const client = await app.connect();
    const report = await client.persist();
    app.storage.value = report;
    setRefused(!report.persisted);
  };
  return (
    <p class="lead">
      {s.storage(bytes(storage.usage), bytes(storage.quota))} {storage.persisted ? s.persisted : s.notPersisted}{" "}
      {!storage.persisted && (
        <button type="button" class="link" onClick={() => void persist()}>
          {s.persist}
        </button>
      )}{" "}
      {refused && s.persistRefused}
    </p>
  );
}

function RunTable({ runs }: { readonly runs: readonly RunSummary[] }) {
  const s = t().runs.columns;
  return (
    <table class="run-table">
      <thead>
        <tr>
          {Object.entries(s).map(([key, name]) => (
            <th key={key} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {runs.map((run) => (
          <RunRow key={run.run} run={run} />
        ))}
      </tbody>
    </table>
  );
}

function RunRow({ run }: { readonly run: RunSummary }) {
  const app = useApp();
  const s = t().runs;
  const [confirming, setConfirming] = useState(false);
  const training = app.live.value?.status.value === "playing" || app.live.value?.status.value === "loading";
  const current = app.live.value?.run.value?.run === run.run;
  const state = runStateOf(run);
  const resumable = run.status === "paused" || run.status === "running";

  const remove = async (): Promise<void> => {
    const client = await app.connect();
    if (current) await app.backToRecording();
    const result = await app.report(client.deleteRun(run.run));
    if (result.ok) app.notice.value = s.deleted;
    await app.refreshStorage();
  };
  const exportZip = async (): Promise<void> => {
    const client = await app.connect();
    const name = `autodidact-${run.run}.zip`;
    await app.save(
      client
        .exportRun(run.run)
        .then((result) =>
          result.ok ? { ok: true as const, value: { name, type: "application/zip", bytes: result.value } } : result,
        ),
    );
  };
  const exportAdapter = async (): Promise<void> => {
    const client = await app.connect();
    const name = `autodidact-adapter-${run.incumbent.slice(0, 8)}.zip`;
    const call = client.exportAdapter({ run: run.run, adapter: run.incumbent });
    await app.save(
      call.then((result) =>
        result.ok ? { ok: true as const, value: { name, type: "application/zip", bytes: result.value } } : result,
      ),
    );
  };

  const c = s.columns;
  return (
    <tr>
      <th scope="row" data-label={c.started}>
        {minute(run.startedAt)} <span class="quiet">{s.seed(run.seed)}</span>{" "}
        {run.imported && <span class="quiet">· {s.importedBadge}</span>}
      </th>
      <td data-label={c.round}>
        {run.round} / {run.rounds}
      </td>
      <td data-label={c.updates}>
        ✓ {run.accepted} ✗ {run.rejected}
      </td>
      <td data-label={c.heldOut}>{run.heldOut === null ? "–" : share(run.heldOut)}</td>
      <td data-label={c.size}>{bytes(run.bytes)}</td>
      <td data-label={c.status}>{s.status[run.status]}</td>
      <td class="run-actions">
        {state && !current && (
          <button type="button" class="link" disabled={training} onClick={() => void app.openRun(state, false)}>
            {s.open}
          </button>
        )}
        {state && resumable && (!current || !training) && (
          <button
            type="button"
            class="link"
            disabled={training || !app.canTrain.value}
            onClick={() => void app.openRun(state, true)}
          >
            {s.resume}
          </button>
        )}
        <button type="button" class="link" onClick={() => void exportZip()}>
          {s.exportRun}
        </button>
        <button type="button" class="link" disabled={run.incumbent === "base"} onClick={() => void exportAdapter()}>
          {s.exportAdapter}
        </button>
        {confirming ? (
          <>
            <button type="button" class="link danger" onClick={() => void remove()}>
              {s.confirm}
            </button>
            <button type="button" class="link" onClick={() => setConfirming(false)}>
              {s.cancel}
            </button>
          </>
        ) : (
          <button type="button" class="link danger" disabled={current && training} onClick={() => setConfirming(true)}>
            {s.remove}
          </button>
        )}
      </td>
    </tr>
  );
}

function ImportButton() {
  const app = useApp();
  const s = t().runs;
  const input = useRef<HTMLInputElement>(null);
  const [busy, setBusy] = useState(false);
  const load = async (file: File | undefined): Promise<void> => {
    if (!file) return;
    setBusy(true);
    const client = await app.connect();
    const result = await app.report(client.importRun(new Uint8Array(await file.arrayBuffer())));
    setBusy(false);
    if (result.ok) app.notice.value = s.imported(result.value.name);
    await app.refreshStorage();
    if (input.current) input.current.value = "";
  };
  return (
    <>
      <button type="button" class="button" disabled={busy} onClick={() => input.current?.click()}>
        {busy ? s.importing : s.importRun}
      </button>
      <input
        ref={input}
        type="file"
        class="visually-hidden"
        accept=".zip,application/zip"
        tabIndex={-1}
        aria-label={s.importRun}
        onChange={(event) => void load(event.currentTarget.files?.[0])}
      />
    </>
  );
}

/** Export of what is on show: the live run and its adapter at the position in time, or the recording. */
function Current() {
  const app = useApp();
  const s = t().runs;
  const session = app.session.value;
  if (!session) return null;
  return (
    <>
      <button type="button" class="button" onClick={() => void app.save(session.exportRun())}>
        {session.mode === "recording" ? s.exportRecording : s.exportRun}
      </button>
      {session.mode === "live" && (
        <button
          type="button"
          class="button"
          disabled={app.model.value.incumbent === "base"}
          onClick={() => void app.save(session.exportAdapter())}
        >
          {s.exportAdapter}
        </button>
      )}
    </>
  );
}

import { useEffect, useRef, useState } from "preact/hooks";
import type { RunSummary } from "../../worker/api.ts";
import { useApp } from "../context.ts";
import { bytes } from "../format.ts";
import { t } from "../strings/index.ts";
import { Compare } from "./compare.tsx";
import { Pairs } from "./pairs.tsx";
import { RunRow } from "./run-row.tsx";

/** Stored runs: open, resume, rename, compare, export, delete, choose among their pairs; import of archives; how much room they take. */
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
  const [answer, setAnswer] = useState("");
  const storage = app.storage.value;
  if (!storage) return null;
  const persist = async (): Promise<void> => {
    const client = await app.connect();
    const report = await client.persist();
    app.storage.value = report;
    setAnswer(report.persisted ? s.persistGranted : s.persistRefused);
  };
  return (
    <p class="lead">
      {s.storage(bytes(storage.usage), bytes(storage.quota))} {storage.persisted ? s.persisted : s.notPersisted}{" "}
      {!storage.persisted && (
        <button type="button" class="link" onClick={() => void persist()}>
          {s.persist}
        </button>
      )}{" "}
      <span role="status">{answer}</span>
    </p>
  );
}

function RunTable({ runs }: { readonly runs: readonly RunSummary[] }) {
  const s = t();
  const [ticked, setTicked] = useState<readonly string[]>([]);
  const chosen = ticked.flatMap((id) => runs.filter((run) => run.run === id));
  const [first, second] = chosen;
  const [opened, setOpened] = useState<string | null>(null);
  const pairsOf = runs.find(({ run }) => run === opened);
  /** The two that were ticked last. */
  const tick = (run: string, on: boolean): void => {
    const others = ticked.filter((id) => id !== run);
    setTicked(on ? [...others.slice(-1), run] : others);
  };
  return (
    <>
      <table class="run-table">
        <thead>
          <tr>
            {Object.entries(s.runs.columns).map(([key, name]) => (
              <th key={key} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {runs.map((run) => (
            <RunRow
              key={run.run}
              run={run}
              ticked={chosen.includes(run)}
              onTick={(on) => tick(run.run, on)}
              onPairs={() => setOpened(run.run)}
            />
          ))}
        </tbody>
      </table>
      {pairsOf && <Pairs key={pairsOf.run} run={pairsOf} onClose={() => setOpened(null)} />}
      {first && second ? (
        <Compare key={`${first.run} ${second.run}`} runs={[first, second]} />
      ) : (
        runs.length > 1 && <p class="quiet">{first ? s.compare.one : s.compare.hint}</p>
      )}
    </>
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
    const result = await app.report(client.importRun(file));
    setBusy(false);
    if (result.ok) app.notice.value = s.imported(result.value.name);
    await app.refreshStorage();
    if (input.current) input.current.value = "";
  };
  return (
    <>
      <button
        type="button"
        class="button"
        disabled={busy || app.role.value === "reader"}
        onClick={() => input.current?.click()}
      >
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

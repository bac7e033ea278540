import { useState } from "preact/hooks";
import type { RunSummary } from "../../worker/api.ts";
import { runStateOf } from "../app.ts";
import { useApp } from "../context.ts";
import { bytes, minute, share } from "../format.ts";
import { archiveFile } from "../live.ts";
import { t } from "../strings/index.ts";

interface RunRowProps {
  readonly run: RunSummary;
  readonly ticked: boolean;
  readonly onTick: (ticked: boolean) => void;
  readonly onPairs: () => void;
}

/** A stored run: its name and numbers, and what can be done with it. */
export function RunRow({ run, ticked, onTick, onPairs }: RunRowProps) {
  const app = useApp();
  const s = t().runs;
  const [asking, setAsking] = useState<"delete" | "rename" | null>(null);
  const training = app.training.value;
  const writes = app.role.value === "writer";
  const current = app.live.value?.run.value?.run === run.run;
  const state = runStateOf(run);
  const resumable = run.status === "paused" || run.status === "running";

  const exportZip = async (): Promise<void> => {
    const client = await app.connect();
    await app.save(client.exportRun(run.run).then((result) => archiveFile(run.run, result)));
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
      <th scope="row" data-label={c.name}>
        {asking === "rename" ? (
          <Rename run={run} onDone={() => setAsking(null)} />
        ) : (
          <label class="run-name">
            <input
              type="checkbox"
              checked={ticked}
              aria-label={t().compare.chooseLabel(run.name)}
              onChange={(event) => onTick(event.currentTarget.checked)}
            />
            <span>{run.name}</span>
          </label>
        )}
      </th>
      <td data-label={c.started}>
        {minute(run.startedAt)} <span class="quiet">{s.seed(run.seed)}</span>{" "}
        {run.imported && <span class="quiet">· {s.importedBadge}</span>}
      </td>
      <td class="run-number" data-label={c.round}>
        {run.round} / {run.rounds}
      </td>
      <td class="run-number" data-label={c.updates}>
        ✓ {run.accepted} ✗ {run.rejected}
      </td>
      <td data-label={c.heldOut}>{run.heldOut === null ? "–" : share(run.heldOut)}</td>
      <td class="run-number" data-label={c.size}>
        {bytes(run.bytes)}
      </td>
      <td data-label={c.status}>{s.status[run.status]}</td>
      <td>
        <div class="run-actions">
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
          <button type="button" class="link" onClick={onPairs}>
            {s.pairs}
          </button>
          <button type="button" class="link" disabled={!writes} onClick={() => setAsking("rename")}>
            {s.rename}
          </button>
          <button type="button" class="link" onClick={() => void exportZip()}>
            {s.exportRun}
          </button>
          <button type="button" class="link" disabled={run.incumbent === "base"} onClick={() => void exportAdapter()}>
            {s.exportAdapter}
          </button>
          {asking === "delete" ? (
            <span class="run-confirm">
              {s.confirmAbout(run.name)}{" "}
              <button type="button" class="link danger" onClick={() => void app.deleteRun(run.run)}>
                {s.confirm}
              </button>{" "}
              <button type="button" class="link" onClick={() => setAsking(null)}>
                {s.cancel}
              </button>
            </span>
          ) : (
            <button
              type="button"
              class="link danger"
              disabled={!writes || (current && training)}
              onClick={() => setAsking("delete")}
            >
              {s.remove}
            </button>
          )}
        </div>
      </td>
    </tr>
  );
}

function Rename({ run, onDone }: { readonly run: RunSummary; readonly onDone: () => void }) {
  const app = useApp();
  const s = t().runs;
  const [name, setName] = useState(run.name);
  const submit = async (event: Event): Promise<void> => {
    event.preventDefault();
    const result = await app.renameRun(run.run, name.trim());
    if (result.ok) onDone();
  };
  return (
    <form class="rename" onSubmit={(event) => void submit(event)}>
      <input
        type="text"
        aria-label={s.renameLabel(run.name)}
        value={name}
        required
        maxLength={200}
        onInput={(event) => setName(event.currentTarget.value)}
      />
      <button type="submit" class="link" disabled={name.trim() === ""}>
        {s.saveName}
      </button>
      <button type="button" class="link" onClick={onDone}>
        {s.keepName}
      </button>
    </form>
  );
}

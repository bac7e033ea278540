import { useEffect, useRef, useState } from "preact/hooks";
import type { BufferItem, CurateAction, PairCursor, PairFilter, PairsPage, RunSummary } from "../../worker/api.ts";
import { useApp } from "../context.ts";
import { PairRow } from "../parts/pair-row.tsx";
import { t } from "../strings/index.ts";

/** Pairs on a page, how far they are counted, and how many are chosen at once at most. */
const PER_PAGE = 10;
const COUNTED = 1000;

/** A pair that was chosen, as far as the buttons need to know it. */
type Chosen = Pick<BufferItem, "id" | "source" | "status">;

const mayTrain = ({ source, status }: Chosen): boolean => source.startsWith("imported:") && status === "quarantined";

interface PairsProps {
  readonly run: RunSummary;
  readonly onClose: () => void;
}

/** The pairs of a stored run: a page of them under a filter; chosen ones can be forgotten, imported ones let train. */
export function Pairs({ run, onClose }: PairsProps) {
  const app = useApp();
  const s = t().pairs;
  const [filter, setFilter] = useState<PairFilter>({});
  /** Where each page up to the one on show begins. */
  const [starts, setStarts] = useState<readonly (PairCursor | null)[]>([null]);
  const [sources, setSources] = useState<readonly string[]>([]);
  const [count, setCount] = useState<number | null>(null);
  const [page, setPage] = useState<PairsPage | null>(null);
  const [chosen, setChosen] = useState<ReadonlyMap<string, Chosen>>(new Map());
  const [said, setSaid] = useState("");
  /** Goes up when the store has changed. */
  const [version, setVersion] = useState(0);
  const heading = useRef<HTMLHeadingElement>(null);
  const after = starts.at(-1) ?? null;

  useEffect(() => heading.current?.focus(), []);
  useEffect(() => {
    let wanted = true;
    const read = async (): Promise<void> => {
      const client = await app.connect();
      const found = await app.report(client.listPairs({ run: run.run, filter, limit: PER_PAGE, after }));
      if (!wanted || !found.ok) return;
      setPage(found.value);
      const overview = await client.overviewPairs({ run: run.run, filter, atMost: COUNTED });
      if (!wanted || !overview.ok) return;
      setSources(overview.value.sources);
      setCount(overview.value.count);
    };
    void read();
    return () => {
      wanted = false;
    };
  }, [app, run.run, filter, after, version]);

  const narrow = (change: PairFilter): void => {
    setFilter({ ...filter, ...change });
    setStarts([null]);
    setChosen(new Map());
  };
  const choose = (pairs: readonly Chosen[], on: boolean): void => {
    const next = new Map(chosen);
    for (const pair of pairs) {
      if (on) next.set(pair.id, pair);
      else next.delete(pair.id);
    }
    setChosen(next);
  };
  const chooseAll = async (): Promise<void> => {
    const client = await app.connect();
    const found = await app.report(client.choosePairs({ run: run.run, filter, limit: COUNTED }));
    if (found.ok) choose(found.value, true);
  };
  const curate = async (action: CurateAction, pairs: readonly Chosen[]): Promise<void> => {
    const result = await app.curatePairs(
      run.run,
      pairs.map(({ id }) => id),
      action,
    );
    if (!result.ok) return;
    setSaid(action === "forget" ? s.forgotten(pairs.length) : s.included(pairs.length));
    setChosen(new Map());
    setStarts([null]);
    setVersion(version + 1);
    heading.current?.focus();
  };

  const pairs = page?.pairs ?? [];
  const onPage: readonly Chosen[] = pairs.map(({ id, status, task }) => ({ id, status, source: task.source }));
  const allOnPage = onPage.length > 0 && onPage.every(({ id }) => chosen.has(id));
  const first = (starts.length - 1) * PER_PAGE + 1;
  const total = count === null ? "…" : count >= COUNTED ? s.moreThan(COUNTED - 1) : String(count);
  return (
    <section class="run-pairs" aria-labelledby="pairs-title">
      <div class="run-pairs-head">
        <h2 id="pairs-title" ref={heading} tabIndex={-1}>
          {s.title(run.name)}
        </h2>
        <button type="button" class="link" onClick={onClose}>
          {s.close}
        </button>
      </div>
      <p class="quiet">{run.imported ? `${s.about} ${s.aboutImported}` : s.about}</p>
      <Filters run={run} sources={sources} filter={filter} onChange={narrow} />
      <p role="status">
        {page === null ? s.loading : pairs.length === 0 ? s.none : s.shown(first, first + pairs.length - 1, total)}{" "}
        {said}
      </p>
      {pairs.length > 0 && (
        <>
          <div class="run-pairs-choice">
            <label class="choice">
              <input
                type="checkbox"
                checked={allOnPage}
                onChange={(event) => choose(onPage, event.currentTarget.checked)}
              />
              <span>{s.choosePage}</span>
            </label>
            {(page?.next || starts.length > 1) && count !== null && (
              <button type="button" class="link" onClick={() => void chooseAll()}>
                {s.chooseAll(Math.min(count, COUNTED), count >= COUNTED)}
              </button>
            )}
            {chosen.size > 0 && (
              <button type="button" class="link" onClick={() => setChosen(new Map())}>
                {s.chooseNone}
              </button>
            )}
          </div>
          <Decide run={run} chosen={[...chosen.values()]} onDecide={(action, some) => void curate(action, some)} />
          <ul class="pairs">
            {pairs.map((pair, i) => (
              <PairRow key={pair.id} pair={pair} where={s.where(pair.task.source, s.status[pair.status])}>
                <label class="choice">
                  <input
                    type="checkbox"
                    checked={chosen.has(pair.id)}
                    onChange={(event) => choose(onPage.slice(i, i + 1), event.currentTarget.checked)}
                  />
                  <span>
                    {s.choose} <span class="visually-hidden">{s.number(first + i)}</span>
                  </span>
                </label>
              </PairRow>
            ))}
          </ul>
          <nav class="run-pairs-pages" aria-label={s.pages}>
            <button
              type="button"
              class="button"
              disabled={starts.length === 1}
              onClick={() => setStarts(starts.slice(0, -1))}
            >
              {s.previous}
            </button>
            <button
              type="button"
              class="button"
              disabled={!page?.next}
              onClick={() => page?.next && setStarts([...starts, page.next])}
            >
              {s.next}
            </button>
          </nav>
        </>
      )}
    </section>
  );
}

interface FiltersProps {
  readonly run: RunSummary;
  readonly sources: readonly string[];
  readonly filter: PairFilter;
  readonly onChange: (change: PairFilter) => void;
}

function Filters({ run, sources, filter, onChange }: FiltersProps) {
  const s = t().pairs;
  const rounds = Array.from({ length: run.round }, (_, i) => String(i + 1));
  return (
    <form class="run-pairs-filters" onSubmit={(event) => event.preventDefault()}>
      <Select
        name={s.source}
        value={filter.source}
        options={sources.map((source) => [source, source])}
        onChange={(source) => onChange({ source })}
      />
      <Select
        name={s.round}
        value={filter.round === undefined ? undefined : String(filter.round)}
        options={rounds.map((round) => [round, round])}
        onChange={(round) => onChange({ round: round === undefined ? undefined : Number(round) })}
      />
      <Select
        name={s.kind}
        value={filter.kind}
        options={Object.entries(s.kinds)}
        onChange={(kind) => onChange({ kind: kind as PairFilter["kind"] })}
      />
      <Select
        name={s.verdict}
        value={filter.status}
        options={Object.entries(s.status)}
        onChange={(status) => onChange({ status: status as PairFilter["status"] })}
      />
    </form>
  );
}

interface SelectProps {
  readonly name: string;
  /** Undefined lets everything pass. */
  readonly value: string | undefined;
  readonly options: readonly (readonly [string, string])[];
  readonly onChange: (value: string | undefined) => void;
}

function Select({ name, value, options, onChange }: SelectProps) {
  return (
    <label>
      <span>{name}</span>
      <select value={value ?? ""} onChange={(event) => onChange(event.currentTarget.value || undefined)}>
        <option value="">{t().pairs.all}</option>
        {options.map(([option, label]) => (
          <option key={option} value={option}>
            {label}
          </option>
        ))}
      </select>
    </label>
  );
}

interface DecideProps {
  readonly run: RunSummary;
  readonly chosen: readonly Chosen[];
  readonly onDecide: (action: CurateAction, pairs: readonly Chosen[]) => void;
}

/** The two buttons, each with a question before it does anything, and why they cannot be used where they cannot. */
function Decide({ run, chosen, onDecide }: DecideProps) {
  const app = useApp();
  const s = t().pairs;
  const [asking, setAsking] = useState<CurateAction | null>(null);
  useEffect(() => setAsking(null), [chosen.length]);
  const training = app.training.value && app.live.value?.run.value?.run === run.run;
  const ended = run.status === "finished" || run.status === "stopped";
  const imported = chosen.filter(mayTrain);
  const locked = app.role.value === "reader" ? s.reader : training ? s.training : null;
  if (locked !== null) return <p class="quiet">{locked}</p>;
  if (chosen.length === 0) return <p class="quiet">{s.chooseFirst}</p>;
  if (asking !== null) {
    const pairs = asking === "forget" ? chosen : imported;
    return (
      <p class="run-confirm">
        {asking === "forget" ? s.aboutForget(pairs.length) : s.aboutInclude(pairs.length)}{" "}
        <button
          type="button"
          class={asking === "forget" ? "link danger" : "link"}
          onClick={() => onDecide(asking, pairs)}
        >
          {asking === "forget" ? s.confirmForget : s.confirmInclude}
        </button>{" "}
        <button type="button" class="link" onClick={() => setAsking(null)}>
          {s.cancel}
        </button>
      </p>
    );
  }
  return (
    <p class="run-pairs-decide">
      <button type="button" class="button danger" onClick={() => setAsking("forget")}>
        {s.forget(chosen.length)}
      </button>
      {run.imported && (
        <button
          type="button"
          class="button"
          disabled={imported.length === 0 || ended}
          onClick={() => setAsking("include")}
        >
          {s.include(imported.length)}
        </button>
      )}
      {run.imported && ended && <span class="quiet">{s.ended}</span>}
    </p>
  );
}

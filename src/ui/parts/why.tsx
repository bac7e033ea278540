import { useState } from "preact/hooks";
import type { GateReport, GateTest } from "../../base/records.ts";
import { useApp } from "../context.ts";
import { count, number, points, short } from "../format.ts";
import { type LoopModel, lastDecision, type PairView, type Update } from "../model.ts";
import { t } from "../strings/index.ts";
import { PairRow } from "./pair-row.tsx";

const glyphs = { accepted: "✓", rejected: "✗", deferred: "○", open: "…" } as const;
/** Pairs shown before "show more". */
const briefly = 2;

/** The gate's verdict on an update with its tests and numbers, and the pairs that made the model change. */
export function Why() {
  const app = useApp();
  const s = t().why;
  const model = app.model.value;
  const pinned = app.updateIndex.value;
  const update =
    (pinned === null ? null : model.updates[pinned - 1]) ?? lastDecision(model) ?? model.updates.at(-1) ?? null;
  return (
    <section class="why" aria-labelledby="why-title">
      <div class="section-head">
        <h2 id="why-title" class="eyebrow">
          {s.title}
        </h2>
        <Chooser model={model} current={update} />
      </div>
      {update ? (
        <UpdateView key={`${update.index} ${update.outcome.kind}`} update={update} />
      ) : (
        <p class="quiet empty">{s.noDecision}</p>
      )}
    </section>
  );
}

function Chooser({ model, current }: { readonly model: LoopModel; readonly current: Update | null }) {
  const app = useApp();
  const s = t().why;
  if (model.updates.length === 0) return null;
  return (
    <fieldset class="chooser" aria-label={s.choose}>
      {model.updates.map((update) => {
        const { kind } = update.outcome;
        return (
          <button
            key={update.index}
            type="button"
            class={`chip ${kind}`}
            aria-pressed={update.index === current?.index}
            aria-label={`${s.update(update.index)}: ${s.outcome[kind]}`}
            onClick={() => {
              app.updateIndex.value = app.updateIndex.value === update.index ? null : update.index;
            }}
          >
            {update.index} <span aria-hidden="true">{glyphs[kind]}</span>
          </button>
        );
      })}
    </fieldset>
  );
}

function UpdateView({ update }: { readonly update: Update }) {
  const app = useApp();
  const s = t().why;
  const { outcome } = update;
  const report = update.reports.at(-1);
  const rounds =
    update.rounds.length > 1 ? `${update.rounds[0]}–${update.rounds.at(-1)}` : `${update.rounds[0] ?? "–"}`;
  return (
    <>
      <p class={`verdict ${outcome.kind}`}>
        <span class="verdict-glyph" aria-hidden="true">
          {glyphs[outcome.kind]}
        </span>
        <span>
          {s.update(update.index)} <strong>{s.outcome[outcome.kind]}</strong>
          {outcome.kind === "rejected" && <>: {s.reason[outcome.reason] ?? outcome.reason}</>}
        </span>
      </p>
      <p class="story">{storyOf(update)}</p>
      {report && <Tests report={report} />}
      <p class="quiet">
        {s.numbers(rounds, count(update.pairs), count(update.steps))}
        {update.lastStep && ` · ${s.margin(number(update.lastStep["rewards/margins"]))}`}
        {report && ` · ${s.items(count(report.items), String(report.alpha))} · ${s.key(short(report.keyHash))}`}
        {update.decidedAt > 0 && (
          <>
            {" · "}
            <button type="button" class="link" onClick={() => app.session.value?.seek(update.decidedAt)}>
              {s.goto}
            </button>
          </>
        )}
      </p>
      <Pairs update={update} />
    </>
  );
}

function storyOf(update: Update): string {
  const s = t().why.story;
  const { outcome } = update;
  switch (outcome.kind) {
    case "open":
      return s.open;
    case "accepted":
      return !outcome.gated ? s.ungated : outcome.superior ? s.superior : s.accepted;
    case "rejected":
      return `${outcome.detail} ${s.rejected(short(outcome.restored), count(update.pairs))}`;
    case "deferred":
      return `${outcome.detail} ${s.deferred}`;
  }
}

function Tests({ report }: { readonly report: GateReport }) {
  const s = t().why;
  return (
    <table class="tests">
      <thead>
        <tr>
          <th scope="col">{s.columns.test}</th>
          <th scope="col">{s.columns.change}</th>
          <th scope="col" class="wide">
            {s.columns.discordant}
          </th>
          <th scope="col" class="wide">
            {s.columns.evidence}
          </th>
          <th scope="col">{s.columns.verdict}</th>
        </tr>
      </thead>
      <tbody>
        {report.tests.map((test) => (
          <TestRow key={test.name} test={test} need={number(1 / report.alpha)} />
        ))}
      </tbody>
    </table>
  );
}

function TestRow({ test, need }: { readonly test: GateTest; readonly need: string }) {
  const s = t().why;
  const needed = need.replace(/\.0+$/, "");
  const evidence = test.eHarm > test.eSafe ? s.harm(number(test.eHarm), needed) : s.safe(number(test.eSafe), needed);
  return (
    <tr class={test.verdict}>
      <th scope="row">{s.test[test.name]}</th>
      <td>
        <span class="change-cell">
          <span class="change">{points(test.difference)}</span>
          <ChangeAxis test={test} />
        </span>
      </td>
      <td class="wide">
        {count(test.wins)} / {count(test.losses)} <span class="quiet">{s.of(count(test.n))}</span>
      </td>
      <td class="wide">{evidence}</td>
      <td class="test-verdict">
        <span aria-hidden="true">{test.verdict === "passed" ? "✓" : test.verdict === "failed" ? "✗" : "○"}</span>{" "}
        {s.verdict[test.verdict]}
      </td>
    </tr>
  );
}

/** The change on an axis of ±12 points; left of the tick is more than may be lost. */
function ChangeAxis({ test }: { readonly test: GateTest }) {
  const s = t().why;
  const x = (difference: number): number => 50 + Math.max(-12, Math.min(12, difference * 100)) * 4;
  const change = x(test.difference);
  return (
    <svg
      class="axis"
      viewBox="0 0 100 14"
      role="img"
      aria-label={s.axis(points(test.difference), points(-test.epsilon))}
    >
      <rect x="2" y="3" width={x(-test.epsilon) - 2} height="8" class="axis-harm" />
      <line x1="2" x2="98" y1="7" y2="7" class="axis-line" />
      <line x1={x(-test.epsilon)} x2={x(-test.epsilon)} y1="1" y2="13" class="axis-limit" />
      <line x1="50" x2="50" y1="4" y2="10" class="axis-zero" />
      <line x1="50" x2={change} y1="7" y2="7" class="axis-change" />
      <circle cx={change} cy="7" r="3.5" class="axis-dot" />
    </svg>
  );
}

function Pairs({ update }: { readonly update: Update }) {
  const [shown, setShown] = useState(briefly);
  const app = useApp();
  const s = t().why;
  const [stored, setStored] = useState<readonly PairView[] | null>(null);
  const live = app.session.value?.mode === "live" ? app.live.value?.run.value : null;
  const load = async (): Promise<void> => {
    if (!live) return;
    const client = await app.connect();
    const result = await app.report(client.pairs({ run: live.run, ids: update.pairIds }));
    if (result.ok) setStored(result.value);
  };
  // Pairs whose refused answer can be redrawn say more; among them the largest margins pull hardest.
  const drawn = (pair: PairView): number => (pair.rejected.redrawn ? 1 : 0);
  const known = stored ?? update.pairViews;
  const views = [...known].sort((a, b) => drawn(b) - drawn(a) || b.margin - a.margin);
  return (
    <div class="why-pairs">
      <h3>{s.pairsTitle}</h3>
      {views.length === 0 ? (
        <p class="quiet">{s.noPairs}</p>
      ) : (
        <>
          <p class="quiet">{s.pairsAbout(views.length, count(update.pairs))}</p>
          <ul class="pairs">
            {views.slice(0, shown).map((pair) => (
              <PairRow key={pair.id} pair={pair} />
            ))}
          </ul>
          {views.length > shown && (
            <button type="button" class="link" onClick={() => setShown(shown + 6)}>
              {s.morePairs(Math.min(6, views.length - shown))}
            </button>
          )}
          {live && !stored && update.pairIds.length > views.length && (
            <button type="button" class="link" onClick={() => void load()}>
              {s.loadPairs(count(update.pairIds.length))}
            </button>
          )}
        </>
      )}
    </div>
  );
}

import type { ComponentChildren } from "preact";
import { useApp } from "../context.ts";
import { count, number, points, share, short } from "../format.ts";
import { type LoopModel, pairViews, type Stage } from "../model.ts";
import { t } from "../strings/index.ts";
import { PairRow } from "./pair-row.tsx";
import { PictureView } from "./picture.tsx";

/** What one stage does and what it said in the round on show. */
export function StageInspector({ stage }: { readonly stage: Stage }) {
  const app = useApp();
  const s = t().loop;
  const detail = detailOf(app.model.value, stage);
  return (
    <section class="inspector" aria-label={s.inspect(s.stage[stage])}>
      <div class="inspector-about">
        <h3>{s.stage[stage]}</h3>
        <p>{s.about[stage]}</p>
        <button
          type="button"
          class="link"
          onClick={() => {
            app.openStage.value = null;
          }}
        >
          {s.close}
        </button>
      </div>
      <div class="inspector-detail">{detail ?? <p class="quiet">{s.notYet}</p>}</div>
    </section>
  );
}

function detailOf(model: LoopModel, stage: Stage): ComponentChildren {
  const s = t();
  const { facts } = model;
  switch (stage) {
    case "propose":
      return (
        facts.proposed && (
          <>
            <Facts
              rows={[
                [s.loop.source, facts.proposed.source],
                [s.loop.tasks, count(facts.proposed.tasks)],
              ]}
            />
            <ul class="thumbs">
              {model.tasks.map(({ task }) => (
                <li key={task.id}>
                  <PictureView picture={task.picture} label={s.now.seenLabel(s.held.world.B.name)} size="m" />
                </li>
              ))}
            </ul>
          </>
        )
      );
    case "sample":
      return (
        facts.sampled && (
          <Facts
            rows={[
              [s.loop.candidates, count(facts.sampled.candidates)],
              [s.loop.distinct, count(facts.sampled.distinct)],
              [s.loop.finished, count(facts.sampled.finished)],
            ]}
          />
        )
      );
    case "judge":
      return (
        facts.judged && (
          <>
            <Table
              head={[s.loop.judge, s.loop.meanScore]}
              rows={Object.entries(facts.judged.meanScore).map(([name, value]) => [
                s.now.judgeName[name] ?? name,
                number(value),
              ])}
            />
            <Table
              head={[s.loop.judges, s.loop.agreement]}
              rows={Object.entries(facts.judged.agreement).map(([names, value]) => [
                judges(names),
                `${Math.round(value * 100)}%`,
              ])}
            />
          </>
        )
      );
    case "filter":
      return (
        facts.filtered && (
          <Table
            head={[s.loop.reason, s.loop.tasks]}
            rows={[
              [s.loop.kept, count(facts.filtered.kept)],
              ...Object.entries(facts.filtered.dropped).map(
                ([reason, n]) =>
                  [(s.loop.droppedBecause as Record<string, string>)[reason] ?? reason, count(n)] as const,
              ),
            ]}
          />
        )
      );
    case "pair":
      return (
        facts.paired && (
          <>
            <Facts
              rows={[
                [s.loop.meanMargin, number(facts.paired.meanMargin)],
                [s.loop.reference, short(facts.paired.reference)],
              ]}
            />
            <ul class="pairs">
              {pairViews(model, facts.round).map((pair) => (
                <PairRow key={pair.id} pair={pair} />
              ))}
            </ul>
          </>
        )
      );
    case "train":
      if (facts.trained && facts.trained.kind !== "trained") return <p>{facts.trained.detail}</p>;
      return (
        facts.trained?.last && (
          <Facts
            rows={[
              [s.loop.steps, count(facts.trained.steps)],
              [s.loop.loss, number(facts.trained.last.loss)],
              [s.loop.rewardMargin, number(facts.trained.last["rewards/margins"])],
              [s.loop.accuracy, share(facts.trained.last["rewards/accuracies"])],
              [s.loop.logpChosen, number(facts.trained.last["logps/chosen"])],
              [s.loop.logpRejected, number(facts.trained.last["logps/rejected"])],
              [s.loop.gradNorm, number(facts.trained.last.grad_norm)],
            ]}
          />
        )
      );
    case "gate": {
      const reports = model.updates.flatMap((update) =>
        update.reports.map((report) => ({ index: update.index, report })),
      );
      return (
        reports.length > 0 && (
          <>
            <Table
              head={[
                s.why.choose,
                s.why.columns.verdict,
                s.why.columns.items,
                s.held.world.B.name,
                s.held.world.A.name,
              ]}
              rows={reports.map(({ index, report }) => {
                const change = (name: string): string => {
                  const test = report.tests.find((one) => one.name === name);
                  return test ? points(test.difference) : "–";
                };
                return [
                  s.why.update(index),
                  s.why.outcome[report.decision.kind],
                  count(report.items),
                  change("incumbent-B"),
                  change("base-A"),
                ];
              })}
            />
            <p class="quiet">{s.why.falseAccepts(number(model.alphaSpent))}</p>
          </>
        )
      );
    }
  }
}

const judges = (names: string): string =>
  names
    .split(/[/~|]/)
    .map((name) => t().now.judgeName[name] ?? name)
    .join(" / ");

function Facts({ rows }: { readonly rows: readonly (readonly [string, string])[] }) {
  return (
    <dl class="facts">
      {rows.map(([name, value]) => (
        <div key={name}>
          <dt>{name}</dt>
          <dd>{value}</dd>
        </div>
      ))}
    </dl>
  );
}

function Table({ head, rows }: { readonly head: readonly string[]; readonly rows: readonly (readonly string[])[] }) {
  return (
    <table class="numbers">
      <thead>
        <tr>
          {head.map((name) => (
            <th key={name} scope="col">
              {name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {rows.map((row, index) => (
          <tr key={index}>
            {row.map((cell, column) =>
              column === 0 ? (
                <th key={column} scope="row">
                  {cell}
                </th>
              ) : (
                <td key={column}>{cell}</td>
              ),
            )}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

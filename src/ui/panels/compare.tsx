import { useEffect, useState } from "preact/hooks";
import type { RunSummary } from "../../worker/api.ts";
import { Canvas } from "../charts/charts.tsx";
import type { ChartData } from "../charts/data.ts";
import { compareHeldOut, differences } from "../compare.ts";
import { useApp } from "../context.ts";
import { share } from "../format.ts";
import { type LoopModel, modelOf } from "../model.ts";
import { t } from "../strings/index.ts";

const worlds = ["B", "A"] as const;

/** Two stored runs: their held-out curves on one axis, and the settings in which they differ. */
export function Compare({ runs }: { readonly runs: readonly [RunSummary, RunSummary] }) {
  const app = useApp();
  const s = t().compare;
  const [models, setModels] = useState<readonly [LoopModel, LoopModel] | null>(null);
  const [first, second] = runs;
  useEffect(() => {
    let wanted = true;
    const read = async (run: string): Promise<LoopModel | null> => {
      const client = await app.connect();
      const events = await app.report(client.events({ run, since: 0 }));
      return events.ok ? modelOf(events.value) : null;
    };
    void Promise.all([read(first.run), read(second.run)]).then(([a, b]) => {
      if (wanted && a && b) setModels([a, b]);
    });
    return () => {
      wanted = false;
    };
  }, [app, first.run, second.run]);
  return (
    <section class="compare" aria-labelledby="compare-title">
      <h2 id="compare-title">{s.title}</h2>
      <p class="legend">
        {runs.map((run, index) => (
          <span key={run.run} class="legend-entry">
            <svg width="22" height="8" aria-hidden="true">
              <line x1="1" x2="21" y1="4" y2="4" class={`legend-line legend-${index === 0 ? "first" : "second"}`} />
            </svg>
            {run.name}
          </span>
        ))}
      </p>
      {models === null ? (
        <p class="quiet">{s.loading}</p>
      ) : (
        <>
          <div class="chart-grid">
            {worlds.map((world) => (
              <Curves
                key={world}
                name={t().held.world[world].name}
                chart={compareHeldOut(models, world)}
                names={[first.name, second.name]}
              />
            ))}
          </div>
          <Differences models={models} names={[first.name, second.name]} />
        </>
      )}
    </section>
  );
}

interface CurvesProps {
  readonly name: string;
  readonly chart: ChartData | null;
  readonly names: readonly [string, string];
}

function Curves({ name, chart, names }: CurvesProps) {
  const app = useApp();
  const s = t().compare;
  return (
    <figure class="chart">
      <figcaption>
        <span class="chart-title">{s.chart(name)}</span>
      </figcaption>
      {chart === null ? (
        <p class="quiet empty">{s.noEvaluation}</p>
      ) : (
        <>
          <Canvas chart={chart} theme={app.settings.value.theme} />
          <p class="quiet">
            {s.last}: {chart.series.map((series, index) => `${names[index]} ${lastOf(series)}`).join("; ")}
          </p>
        </>
      )}
    </figure>
  );
}

/** Last value with its interval. */
function lastOf({ values, band }: ChartData["series"][number]): string {
  const at = values.findLastIndex((value) => value !== null);
  const value = values[at];
  const ends = band?.[at];
  if (value === null || value === undefined) return "–";
  return ends ? `${share(value, 3)} (${share(ends[0])}–${share(ends[1])})` : share(value, 3);
}

function Differences({
  models,
  names,
}: {
  readonly models: readonly [LoopModel, LoopModel];
  readonly names: readonly string[];
}) {
  const s = t().compare;
  const rows = differences(models);
  if (rows.length === 0) return <p>{s.same}</p>;
  return (
    <>
      <h3>{s.differences}</h3>
      <table class="numbers compare-table">
        <thead>
          <tr>
            {[s.setting, ...names].map((name) => (
              <th key={name} scope="col">
                {name}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map(({ path, values }) => (
            <tr key={path}>
              <th scope="row">{path}</th>
              <td>{values[0]}</td>
              <td>{values[1]}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </>
  );
}

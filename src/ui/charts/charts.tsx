import { useEffect, useRef, useState } from "preact/hooks";
import { useApp } from "../context.ts";
import { share } from "../format.ts";
import { t } from "../strings/index.ts";
import { type ChartData, chartsOf } from "./data.ts";
import type { Plot } from "./plot.ts";

/** Charts are drawn at most four times a second. */
const redrawMs = 250;
const rowsInTable = 40;

/** Held-out, reward margin, loss and rates; every chart can be read as a table instead. */
export function Charts() {
  const app = useApp();
  const s = t().charts;
  const [asTable, setAsTable] = useState(false);
  const charts = chartsOf(app.model.value);
  return (
    <section class="charts" aria-labelledby="charts-title">
      <div class="section-head">
        <h2 id="charts-title" class="eyebrow">
          {s.title}
        </h2>
        <button type="button" class="link" aria-pressed={asTable} onClick={() => setAsTable(!asTable)}>
          {asTable ? s.asChart : s.asTable}
        </button>
      </div>
      <div class="chart-grid">
        {charts.map((chart) => (
          <figure key={chart.id} class={`chart chart-${chart.id}`}>
            <figcaption>
              <span class="chart-title">{s[chart.id]}</span>
              <Legend chart={chart} />
            </figcaption>
            {chart.x.length === 0 ? (
              <p class="quiet empty">{s.empty}</p>
            ) : asTable ? (
              <ChartTable chart={chart} />
            ) : (
              <Canvas chart={chart} theme={app.settings.value.theme} />
            )}
          </figure>
        ))}
      </div>
    </section>
  );
}

function Legend({ chart }: { readonly chart: ChartData }) {
  const s = t().charts;
  if (chart.series.length < 2) return null;
  return (
    <span class="legend">
      {chart.series.map(({ key }) => (
        <span key={key} class="legend-entry">
          <svg width="22" height="8" aria-hidden="true">
            <line x1="1" x2="21" y1="4" y2="4" class={`legend-line legend-${key}`} />
          </svg>
          {s.series[key]}
        </span>
      ))}
    </span>
  );
}

/** The drawing of a chart; `theme` only says when to take other colours. */
export function Canvas({ chart, theme }: { readonly chart: ChartData; readonly theme: string }) {
  const host = useRef<HTMLDivElement>(null);
  const newest = useRef(chart);
  const plot = useRef<Plot | null>(null);
  const timer = useRef<ReturnType<typeof setTimeout> | null>(null);
  const [ready, setReady] = useState(false);
  newest.current = chart;

  useEffect(() => {
    let alive = true;
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const make = async (): Promise<void> => {
      const { createPlot } = await import("./plot.ts");
      if (!alive || !host.current) return;
      plot.current?.dispose();
      plot.current = createPlot(host.current, newest.current, 168);
      setReady(true);
    };
    void make();
    dark.addEventListener("change", make);
    return () => {
      alive = false;
      dark.removeEventListener("change", make);
      if (timer.current) clearTimeout(timer.current);
      plot.current?.dispose();
      plot.current = null;
    };
  }, [theme]);

  useEffect(() => {
    timer.current ??= setTimeout(() => {
      timer.current = null;
      plot.current?.update(newest.current);
    }, redrawMs);
  }, [chart]);

  const s = t().charts;
  return (
    <div class="plot" ref={host} role="img" aria-label={summaryOf(chart)}>
      {!ready && <p class="quiet empty">{s.loading}</p>}
    </div>
  );
}

/** First and last value of each series, as the text alternative of the drawing. */
function summaryOf(chart: ChartData): string {
  const s = t().charts;
  const parts = chart.series.map(({ key, values }) => {
    const known = values.filter((value) => value !== null);
    const first = known[0];
    const last = known.at(-1);
    return first === undefined || last === undefined ? "" : `${s.series[key]} ${share(first)} → ${share(last)}`;
  });
  return `${s[chart.id]}: ${parts.filter(Boolean).join("; ")}`;
}

function ChartTable({ chart }: { readonly chart: ChartData }) {
  const s = t().charts;
  const from = Math.max(0, chart.x.length - rowsInTable);
  const rows = chart.x.slice(from);
  const label = s[chart.id];
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls must be reachable with the keyboard
    <section class="table-scroll" aria-label={label} tabIndex={0}>
      <table class="numbers">
        <thead>
          <tr>
            <th scope="col">{s[chart.axis]}</th>
            {chart.series.map(({ key, band }) => (
              <th key={key} scope="col">
                {s.series[key]}
                {band && ` (${s.interval})`}
              </th>
            ))}
          </tr>
        </thead>
        <tbody>
          {rows.map((x, row) => (
            <tr key={x}>
              <th scope="row">{x}</th>
              {chart.series.map(({ key, values, band }) => {
                const value = values[from + row];
                const ends = band?.[from + row];
                return (
                  <td key={key}>
                    {value === null || value === undefined ? "–" : share(value, 3)}
                    {ends && ` (${share(ends[0])}–${share(ends[1])})`}
                  </td>
                );
              })}
            </tr>
          ))}
        </tbody>
      </table>
      {from > 0 && <p class="quiet">{s.tableNote(rows.length, chart.x.length)}</p>}
    </section>
  );
}

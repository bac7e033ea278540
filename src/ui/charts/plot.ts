import UPlot from "uplot";
import "uplot/dist/uPlot.min.css";
import type { ChartData, Series } from "./data.ts";

/** Colour variable and dash of each series: no line is told apart by colour alone. */
const looks: Readonly<
  Record<Series["key"], { readonly variable: string; readonly dash?: number[]; readonly width: number }>
> = {
  bGreedy: { variable: "--series-b", width: 2 },
  bSampled: { variable: "--series-b", dash: [5, 4], width: 1.25 },
  aGreedy: { variable: "--series-a", dash: [10, 3, 2, 3], width: 2 },
  aSampled: { variable: "--series-a", dash: [2, 3], width: 1.25 },
  margin: { variable: "--series-b", width: 1.75 },
  loss: { variable: "--series-c", width: 1.75 },
  kept: { variable: "--series-a", width: 1.75 },
  first: { variable: "--series-b", width: 2 },
  second: { variable: "--series-a", dash: [10, 3, 2, 3], width: 2 },
  agreement: { variable: "--series-d", dash: [6, 3], width: 1.75 },
};

export interface Plot {
  update(data: ChartData): void;
  dispose(): void;
}

/** Draws a chart into `host` and keeps its size; colours are read from the style sheet, so make it anew when the theme changes. */
export function createPlot(host: HTMLElement, data: ChartData, height: number): Plot {
  const style = getComputedStyle(host);
  const colour = (variable: string): string => style.getPropertyValue(variable).trim();
  const { columns, bands } = columnsOf(data);
  const axis = {
    stroke: colour("--ink-2"),
    font: `11px ${style.fontFamily}`,
    grid: { stroke: colour("--line"), width: 1 },
    ticks: { show: false },
  };
  const chart = new UPlot(
    {
      width: Math.max(80, host.clientWidth),
      height,
      legend: { show: false },
      cursor: { drag: { x: false, y: false }, points: { show: false }, y: false },
      padding: [8, 8, 0, 0],
      scales: { x: { time: false }, y: data.range ? { range: [data.range[0], data.range[1]] } : {} },
      axes: [
        { ...axis, size: 24, space: 40, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000] },
        { ...axis, size: 38, space: 28 },
      ],
      series: [
        {},
        ...data.series.map((one) => {
          const look = looks[one.key];
          return {
            stroke: colour(look.variable),
            width: look.width,
            spanGaps: true,
            points: { show: false },
            ...(look.dash ? { dash: look.dash } : {}),
          };
        }),
        ...bands.flatMap(() => [invisible, invisible]),
      ],
      bands: bands.map((key, index) => {
        const first = 1 + data.series.length + index * 2;
        return { series: [first, first + 1] as [number, number], fill: translucent(colour(looks[key].variable)) };
      }),
      hooks: { draw: [(u) => drawMark(u, data.mark, colour("--ink-2"))] },
    },
    columns,
    host,
  );
  const observer = new ResizeObserver(() => chart.setSize({ width: Math.max(80, host.clientWidth), height }));
  observer.observe(host);
  return {
    update: (next) => chart.setData(columnsOf(next).columns),
    dispose() {
      observer.disconnect();
      chart.destroy();
    },
  };
}

const invisible = { stroke: "transparent", width: 0, spanGaps: true, points: { show: false } };

/** x, the series, then upper and lower end of each band. */
function columnsOf(data: ChartData): { readonly columns: UPlot.AlignedData; readonly bands: readonly Series["key"][] } {
  const banded = data.series.filter((one) => one.band);
  const ends = banded.flatMap((one) => [
    one.band?.map((end) => end?.[1] ?? null) ?? [],
    one.band?.map((end) => end?.[0] ?? null) ?? [],
  ]);
  return {
    columns: [[...data.x], ...data.series.map((one) => [...one.values]), ...ends],
    bands: banded.map((one) => one.key),
  };
}

function translucent(hex: string): string {
  return /^#[0-9a-f]{6}$/i.test(hex) ? `${hex}26` : hex;
}

function drawMark(u: UPlot, value: number | null, stroke: string): void {
  if (value === null) return;
  const y = Math.round(u.valToPos(value, "y", true)) + 0.5;
  if (y < u.bbox.top || y > u.bbox.top + u.bbox.height) return;
  const { ctx } = u;
  ctx.save();
  ctx.strokeStyle = stroke;
  ctx.setLineDash([2, 4]);
  ctx.beginPath();
  ctx.moveTo(u.bbox.left, y);
  ctx.lineTo(u.bbox.left + u.bbox.width, y);
  ctx.stroke();
  ctx.restore();
}

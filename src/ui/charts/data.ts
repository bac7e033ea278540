import type { HeldOutPoint, LoopModel } from "../model.ts";

export interface Series {
  readonly key:
    | "bGreedy"
    | "bSampled"
    | "aGreedy"
    | "aSampled"
    | "margin"
    | "loss"
    | "kept"
    | "agreement"
    | "first"
    | "second";
  readonly values: readonly (number | null)[];
  /** Ends of the 95% interval at each x; drawn as a band. */
  readonly band?: readonly (readonly [number, number] | null)[];
}

export interface ChartData {
  readonly id: "heldOut" | "margin" | "loss" | "rates";
  readonly axis: "round" | "step";
  readonly x: readonly number[];
  readonly series: readonly Series[];
  /** Fixed vertical range, null for what the data need. */
  readonly range: readonly [number, number] | null;
  /** A line that means something: ln 2 for the DPO loss, 0 for the margin. */
  readonly mark: number | null;
}

/** The four charts of the page, from the model alone. */
export function chartsOf(model: LoopModel): readonly ChartData[] {
  const steps = model.curves.map((point) => point.step);
  return [
    heldOutChart(model.heldOut),
    {
      id: "margin",
      axis: "step",
      x: steps,
      series: [{ key: "margin", values: model.curves.map((point) => point.margin) }],
      range: null,
      mark: 0,
    },
    {
      id: "loss",
      axis: "step",
      x: steps,
      series: [{ key: "loss", values: model.curves.map((point) => point.loss) }],
      range: null,
      mark: Math.LN2,
    },
    {
      id: "rates",
      axis: "round",
      x: model.rates.map((point) => point.round),
      series: [
        { key: "kept", values: model.rates.map((point) => point.kept) },
        { key: "agreement", values: model.rates.map((point) => point.agreement) },
      ],
      range: [0, 1],
      mark: null,
    },
  ];
}

function heldOutChart(points: readonly HeldOutPoint[]): ChartData {
  const x = [...new Set(points.map((point) => point.round))].sort((a, b) => a - b);
  // The last evaluation of a round counts: after a rollback it is that of the restored adapter.
  const at = (world: "A" | "B", round: number): HeldOutPoint | undefined =>
    points.findLast((point) => point.world === world && point.round === round);
  const series = (key: Series["key"], world: "A" | "B", kind: "greedy" | "sampled"): Series => ({
    key,
    values: x.map((round) => at(world, round)?.heldOut[kind].value ?? null),
    ...(kind === "greedy" ? { band: x.map((round) => at(world, round)?.heldOut.greedy.ci ?? null) } : {}),
  });
  return {
    id: "heldOut",
    axis: "round",
    x,
    series: [
      series("bGreedy", "B", "greedy"),
      series("bSampled", "B", "sampled"),
      series("aGreedy", "A", "greedy"),
      series("aSampled", "A", "sampled"),
    ],
    range: [0, 1],
    mark: null,
  };
}

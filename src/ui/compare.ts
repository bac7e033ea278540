import type { WorldName } from "../base/records.ts";
import type { ChartData, Series } from "./charts/data.ts";
import type { LoopModel } from "./model.ts";

/** A setting in which two runs differ; `path` as in the contour's file. */
export interface Difference {
  readonly path: string;
  readonly values: readonly [string, string];
}

/** Held-out greedy accuracy of both runs in one world, by round, with each run's 95% interval; null without an evaluation. */
export function compareHeldOut(runs: readonly [LoopModel, LoopModel], world: WorldName): ChartData | null {
  const points = runs.map((run) => run.heldOut.filter((point) => point.world === world));
  const x = [...new Set(points.flat().map((point) => point.round))].sort((a, b) => a - b);
  if (x.length === 0) return null;
  const series = points.map((own, index): Series => {
    // The last evaluation of a round counts: after a rollback it is that of the restored adapter.
    const at = x.map((round) => own.findLast((point) => point.round === round)?.heldOut.greedy ?? null);
    return {
      key: index === 0 ? "first" : "second",
      values: at.map((score) => score?.value ?? null),
      band: at.map((score) => score?.ci ?? null),
    };
  });
  return { id: "heldOut", axis: "round", x, series, range: [0, 1], mark: null };
}

/** Everything that was set before the first round and is not the same in both. */
export function differences([a, b]: readonly [LoopModel, LoopModel]): readonly Difference[] {
  const [first, second] = [flat(settingsOf(a)), flat(settingsOf(b))];
  return [...new Set([...first.keys(), ...second.keys()])].flatMap((path) => {
    const values = [first.get(path) ?? "–", second.get(path) ?? "–"] as const;
    return values[0] === values[1] ? [] : [{ path, values }];
  });
}

function settingsOf({ run }: LoopModel): Readonly<Record<string, unknown>> {
  if (!run) return {};
  const { contour, seed, base, versions, device } = run;
  return { ...contour, seed, base: base.slice(0, 12), versions, gpu: device.description || device.vendor };
}

/** Paths of all leaves with their values as text; a list is one leaf. */
function flat(value: unknown, path = ""): ReadonlyMap<string, string> {
  if (typeof value !== "object" || value === null || Array.isArray(value)) return new Map([[path, text(value)]]);
  return new Map(Object.entries(value).flatMap(([key, part]) => [...flat(part, path === "" ? key : `${path}.${key}`)]));
}

const text = (value: unknown): string => (typeof value === "string" ? value : JSON.stringify(value));

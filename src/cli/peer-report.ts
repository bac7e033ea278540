/** What `bench --peers` measured, as ratios and tables. Pure: the driver is bench-peers.ts. */

import { flopsOf, type Work } from "../bench/peers/workloads.ts";
import type { Calls } from "../gpu/counts.ts";

/** One contestant on one workload. */
export type Outcome =
  | {
      readonly kind: "timed";
      /** First run in ms: compilation is in it. */
      readonly first: number;
      /** Later runs in ms, one a round; fewer for a contestant that took too long. */
      readonly runs: readonly number[];
      /** What a later run asked of WebGPU. */
      readonly calls: Calls;
      /** Loss, tokens or product, as it was compared: for the eye. */
      readonly shown: string;
    }
  | { readonly kind: "wrong" | "failed"; readonly reason: string }
  /** It has no such function. */
  | { readonly kind: "absent" };

export interface WorkResult {
  readonly work: Work;
  /** By contestant. */
  readonly outcomes: Readonly<Record<string, Outcome>>;
}

export const OWN = "autodidact";

/**
 * Which of these lists of values agree: the largest group in which every two differ by at most `tolerance`, relative
 * to the larger one, in every place. Alone among several, nobody can be trusted: the group is then empty.
 */
export function agreeing(values: Readonly<Record<string, readonly number[]>>, tolerance: number): ReadonlySet<string> {
  const names = Object.keys(values);
  const close = (x: readonly number[], y: readonly number[]) =>
    x.length === y.length &&
    x.every((a, i) => {
      const b = y[i] as number;
      return Math.abs(a - b) <= tolerance * Math.max(Math.abs(a), Math.abs(b));
    });
  let best: string[] = [];
  for (const name of names) {
    const group: string[] = [];
    for (const other of [name, ...names])
      if (!group.includes(other) && group.every((member) => close(values[member] ?? [], values[other] ?? [])))
        group.push(other);
    if (group.length > best.length) best = group;
  }
  return new Set(best.length > 1 || names.length === 1 ? best : []);
}

export const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

/** Time of a peer over that of this engine, round by round: median, least and largest. Null if either has no times. */
export function ratio(
  result: WorkResult,
  peer: string,
): { readonly median: number; readonly least: number; readonly most: number } | null {
  const own = result.outcomes[OWN];
  const other = result.outcomes[peer];
  if (own?.kind !== "timed" || other?.kind !== "timed") return null;
  const ratios = other.runs.map((time, round) => time / (own.runs[round] as number));
  return { median: median(ratios), least: Math.min(...ratios), most: Math.max(...ratios) };
}

/** The least ratio among the peers that did this work: how much faster than the fastest. Null if there is none. */
export function againstFastest(result: WorkResult): { readonly peer: string; readonly ratio: number } | null {
  const found = Object.keys(result.outcomes).flatMap((peer) => {
    const value = peer === OWN ? null : ratio(result, peer);
    return value === null ? [] : [{ peer, ratio: value.median }];
  });
  return found.sort((a, b) => a.ratio - b.ratio)[0] ?? null;
}

const seconds = (ms: number): string =>
  ms >= 10_000 ? `${(ms / 1000).toFixed(1)} s` : ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toPrecision(3)} ms`;

/** The time as the field states it: GFLOP/s of a product, seconds of a step, tokens a second of decoding. */
function rate(work: Work, ms: number): string {
  if (work.kind === "matmul") return `${(flopsOf(work) / ms / 1e6).toFixed(1)} GFLOP/s`;
  if (work.kind === "train") return seconds(ms);
  return `${((work.batch * work.newTokens) / (ms / 1000)).toFixed(1)} tokens/s`;
}

function cell(result: WorkResult, name: string): string {
  const outcome = result.outcomes[name];
  if (outcome === undefined || outcome.kind === "absent") return "–";
  if (outcome.kind !== "timed") return `**${outcome.kind}**: ${outcome.reason}`;
  const speed = rate(result.work, median(outcome.runs));
  const compared = name === OWN ? null : ratio(result, name);
  if (compared === null) return speed;
  return `${speed} (${compared.median.toFixed(1)}×; ${compared.least.toFixed(1)}–${compared.most.toFixed(1)})`;
}

/** Rows of a table, head first: speeds with the time's ratio to this engine's. */
export function speedRows(results: readonly WorkResult[], names: readonly string[]): string[][] {
  const head = ["work", ...names, "against the fastest peer"];
  const rows = results.map((result) => {
    const fastest = againstFastest(result);
    return [
      result.work.name,
      ...names.map((name) => cell(result, name)),
      fastest === null ? "–" : `${fastest.ratio.toFixed(1)}×`,
    ];
  });
  return [head, ...rows];
}

/** Rows of a table, head first: the first run, with compilation, and how much longer it took than a later one. */
export function firstRunRows(results: readonly WorkResult[], names: readonly string[]): string[][] {
  const rows = results.map((result) => [
    result.work.name,
    ...names.map((name) => {
      const outcome = result.outcomes[name];
      return outcome?.kind === "timed" ? seconds(outcome.first) : "–";
    }),
  ]);
  return [["work", ...names], ...rows];
}

/** Rows of a table, head first: dispatches, submits and new bind groups of one later run. */
export function callRows(results: readonly WorkResult[], names: readonly string[]): string[][] {
  const rows = results.map((result) => [
    result.work.name,
    ...names.map((name) => {
      const outcome = result.outcomes[name];
      if (outcome?.kind !== "timed") return "–";
      const { dispatches, submits, bindGroups } = outcome.calls;
      return `${dispatches} / ${submits} / ${bindGroups}`;
    }),
  ]);
  return [["dispatches / submits / new bind groups", ...names], ...rows];
}

/** Rows of a table, head first: what was compared, and how many runs each median has. */
export function checkRows(results: readonly WorkResult[], names: readonly string[]): string[][] {
  const rows = results.map((result) => [
    result.work.name,
    ...names.map((name) => {
      const outcome = result.outcomes[name];
      return outcome?.kind === "timed" ? `${outcome.shown}; ${outcome.runs.length} runs` : "–";
    }),
  ]);
  return [["work", ...names], ...rows];
}

/** A Markdown table whose first row is the head. */
export function markdownTable(rows: readonly (readonly string[])[]): string {
  const [head, ...body] = rows as [readonly string[], ...(readonly string[])[]];
  const widths = head.map((_, column) => Math.max(3, ...rows.map((row) => (row[column] ?? "").length)));
  const line = (row: readonly string[]) => `| ${widths.map((width, i) => (row[i] ?? "").padEnd(width)).join(" | ")} |`;
  return [line(head), `| ${widths.map((width) => "-".repeat(width)).join(" | ")} |`, ...body.map(line)].join("\n");
}

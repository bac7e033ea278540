/** The results as a table, faults × points. */
import { FAULTS, type Scenario } from "./scenario.ts";

/** How a run ended, as far as the table tells. */
export interface Outcome extends Pick<Scenario, "seed" | "point" | "fault"> {
  /** What went wrong, in plain words. */
  readonly problems: readonly string[];
}

/** A call and its end are one row. */
const rowOf = (point: string): string => point.replace(/, done$/, "");

/** Runs by point and fault, in Markdown; a cell says how many runs had that fault there, and how many of them failed. */
export function tableOf(results: readonly Outcome[]): string {
  const rows = [...new Set(results.map(({ point }) => rowOf(point)))].sort();
  const cell = (of: readonly Outcome[]): string => {
    const failed = of.filter(({ problems }) => problems.length > 0).length;
    if (of.length === 0) return "·";
    return failed === 0 ? String(of.length) : `${of.length} (${failed} failed)`;
  };
  const line = (name: string, of: readonly Outcome[]): string[] => [
    name,
    ...FAULTS.map((fault) => cell(of.filter((one) => one.fault === fault))),
    cell(of),
  ];
  const lines = [
    ["point", ...FAULTS, "all"],
    ...rows.map((row) =>
      line(
        `\`${row}\``,
        results.filter(({ point }) => rowOf(point) === row),
      ),
    ),
    line("all", results),
  ];
  const widths = (lines[0] as string[]).map((_, i) => Math.max(...lines.map((cells) => (cells[i] as string).length)));
  const text = (cells: readonly string[]): string =>
    `| ${cells.map((one, i) => (i === 0 ? one.padEnd(widths[i] as number) : one.padStart(widths[i] as number))).join(" | ")} |`;
  const rule = `| ${widths.map((width, i) => (i === 0 ? "-".repeat(width) : `${"-".repeat(width - 1)}:`)).join(" | ")} |`;
  return [text(lines[0] as string[]), rule, ...lines.slice(1).map(text)].join("\n");
}

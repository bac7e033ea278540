import { readFile, writeFile } from "node:fs/promises";
import { defineCommand, UsageError } from "../args.ts";

/** `autodidact faults`: runs with a fault each, resumed to their end and compared with undisturbed ones. */
export const faults = defineCommand({
  name: "faults",
  summary: "break runs at random points, resume them, and compare with undisturbed ones",
  options: {
    runs: { type: "whole", help: "how many runs, each with a seed and a fault of its own", default: 185, min: 1 },
    seed: { type: "whole", help: "seed of the first run; the others follow it", default: 0, min: 0 },
    seeds: { type: "text", value: "1,2,3", help: "these seeds instead, to look at failed ones again" },
    out: {
      type: "text",
      value: "FILE.md",
      help: "document whose table between <!-- faults:begin --> and <!-- faults:end --> is replaced",
    },
  },
  example: "autodidact faults --runs 1000 --seed 1000 --out docs/RELIABILITY.md",
  async run({ values, out }) {
    const { openMatrix } = await import("../faults/matrix.ts");
    const { described } = await import("../faults/scenario.ts");
    const { tableOf, withBlock } = await import("../faults/table.ts");
    const seeds = values.seeds === null ? range(values.seed, values.runs) : listed(values.seeds);
    const document = values.out === null ? null : { file: values.out, text: await readFile(values.out, "utf8") };
    if (document) withBlock(document.text, ""); // a file without the markers is refused before an hour of runs
    const matrix = await openMatrix();
    const began = performance.now();
    const results = [];
    for (const seed of seeds) {
      const result = await matrix.run(seed);
      results.push(result);
      const { scenario, played } = result;
      if (played.problems.length > 0) out.note(`FAILED ${described(scenario)}: ${played.problems.join("; ")}`);
      if (results.length % 25 === 0) out.note(`${results.length} of ${seeds.length} runs`);
    }
    matrix.close();
    const seconds = Math.round((performance.now() - began) / 1000);
    const failed = results.filter(({ played }) => played.problems.length > 0).map(({ scenario }) => scenario.seed);
    const table = tableOf(results);
    const said = `${results.length} runs, seeds ${seeds[0]} to ${seeds.at(-1)}: ${failed.length} failed.`;
    if (document) await writeFile(document.file, withBlock(document.text, `${said}\n\n${table}`));
    out.result({ runs: results.length, seconds, failed }, `${table}\n\n${said} ${seconds} s`);
    if (failed.length > 0)
      throw new Error(`seeds that failed: ${failed.join(", ")}. Add them to tests/faults/seeds.ts, where they stay.`);
  },
});

const range = (from: number, count: number): readonly number[] => Array.from({ length: count }, (_, i) => from + i);

function listed(text: string): readonly number[] {
  const seeds = text.split(",").map(Number);
  if (seeds.some((seed) => !Number.isInteger(seed) || seed < 0))
    throw new UsageError(`--seeds takes whole numbers separated by commas, not "${text}"`);
  return seeds;
}

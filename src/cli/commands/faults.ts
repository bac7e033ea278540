import { type ChildProcess, spawn } from "node:child_process";
import { text } from "node:stream/consumers";
import { defineCommand, UsageError } from "../args.ts";
import { openBlock } from "../document.ts";
import type { Outcome } from "../faults/table.ts";

/** Runs of one process: what drivers keep for each (mappings, of which Linux gives a process 65,530) ends with it. */
const BATCH = 125;

/** `autodidact faults`: runs with a fault each, resumed to their end and compared with undisturbed ones. */
export const faults = defineCommand({
  name: "faults",
  summary: "break runs at random points, resume them, and compare with undisturbed ones",
  options: {
    runs: { type: "whole", help: "how many runs, each with a seed and a fault of its own", default: 185, min: 1 },
    seed: { type: "whole", help: "seed of the first run; the others follow it", default: 0, min: 0 },
    seeds: { type: "text", value: "1,2,3", help: "these seeds instead, to look at failed ones again" },
    processes: { type: "whole", help: "processes at a time, for many runs", default: 1, min: 1 },
    out: {
      type: "text",
      value: "FILE.md",
      help: "document whose table between <!-- faults:begin --> and <!-- faults:end --> is replaced",
    },
  },
  example: "autodidact faults --runs 1000 --seed 1000 --out docs/RELIABILITY.md",
  async run({ values, out }) {
    const { tableOf } = await import("../faults/table.ts");
    const seeds = values.seeds === null ? range(values.seed, values.runs) : listed(values.seeds);
    const write = values.out === null ? null : await openBlock(values.out, "faults");
    const began = performance.now();
    const outcomes =
      seeds.length <= BATCH ? await here(seeds, out.note) : await inBatches(seeds, values.processes, out.note);
    const seconds = Math.round((performance.now() - began) / 1000);
    const failed = outcomes.filter(({ problems }) => problems.length > 0).map(({ seed }) => seed);
    const table = tableOf(outcomes);
    const said = `${outcomes.length} runs, seeds ${seeds[0]} to ${seeds.at(-1)}: ${failed.length} failed.`;
    await write?.(`${said}\n\n${table}`);
    out.result({ runs: outcomes.length, seconds, failed, outcomes }, `${table}\n\n${said} ${seconds} s`);
    if (failed.length > 0)
      throw new Error(`seeds that failed: ${failed.join(", ")}. Add them to tests/faults/seeds.ts, where they stay.`);
  },
});

/** Plays the runs in this process. */
async function here(seeds: readonly number[], note: (line: string) => void): Promise<readonly Outcome[]> {
  const { openMatrix } = await import("../faults/matrix.ts");
  const { described } = await import("../faults/scenario.ts");
  const matrix = await openMatrix();
  const outcomes: Outcome[] = [];
  for (const seed of seeds) {
    const { scenario, played } = await matrix.run(seed);
    const { point, fault } = scenario;
    const { problems } = played;
    outcomes.push({ seed, point, fault, problems });
    if (problems.length > 0) note(`FAILED ${described(scenario)}: ${problems.join("; ")}`);
    if (outcomes.length % 25 === 0) note(`${outcomes.length} of ${seeds.length} runs`);
  }
  matrix.close();
  return outcomes;
}

/** Plays them in processes of this command, in the order of the seeds. Throws if one of them ends without a result. */
async function inBatches(
  seeds: readonly number[],
  processes: number,
  note: (line: string) => void,
): Promise<readonly Outcome[]> {
  const batches = range(0, Math.ceil(seeds.length / BATCH)).map((i) => seeds.slice(i * BATCH, (i + 1) * BATCH));
  const outcomes = new Map<number, readonly Outcome[]>();
  const waiting = [...batches.entries()];
  const children = new Set<ChildProcess>();
  const work = async () => {
    for (let next = waiting.shift(); next; next = waiting.shift()) {
      const [index, batch] = next;
      const given = ["faults", "--seeds", batch.join(","), "--json"];
      const child = spawn(process.execPath, [process.argv[1] as string, ...given], {
        stdio: ["ignore", "pipe", "inherit"],
      });
      children.add(child);
      const [said] = await Promise.all([text(child.stdout), new Promise((resolve) => child.once("close", resolve))]);
      children.delete(child);
      const line = said.split("\n").find((one) => one.startsWith('{"runs"'));
      if (line === undefined)
        throw new Error(
          `the process with seeds ${batch[0]} to ${batch.at(-1)} ended early (${child.signalCode ?? child.exitCode})`,
        );
      outcomes.set(index, (JSON.parse(line) as { outcomes: Outcome[] }).outcomes);
      note(`seeds ${batch[0]} to ${batch.at(-1)} are done`);
    }
  };
  try {
    await Promise.all(range(0, processes).map(work));
  } finally {
    for (const child of children) child.kill(); // one has failed: nobody waits for the others
  }
  return batches.flatMap((_, i) => outcomes.get(i) ?? []);
}

const range = (from: number, count: number): readonly number[] => Array.from({ length: count }, (_, i) => from + i);

function listed(text: string): readonly number[] {
  const seeds = text.split(",").map(Number);
  if (seeds.some((seed) => !Number.isInteger(seed) || seed < 0))
    throw new UsageError(`--seeds takes whole numbers separated by commas, not "${text}"`);
  return seeds;
}

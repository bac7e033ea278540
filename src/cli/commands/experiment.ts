import { existsSync } from "node:fs";
import { mkdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Contour, defaultContour } from "../../base/contour.ts";
import { CONTOURS } from "../../base/contours.ts";
import type { WorldName } from "../../base/records.ts";
import { meanCI } from "../../base/stats.ts";
import { defineCommand, UsageError } from "../args.ts";
import { openJudge } from "../judge.ts";
import { openPolicy } from "../policy.ts";
import { controlled, deviceIn, type RunSummary, runLoop } from "../run-loop.ts";

const ungated = (contour: Contour): Contour => ({ ...contour, gate: { ...contour.gate, on: false } });

/**
 * The arms of the table. Controls run without the gate, so that it cannot hide what their judge does to the model;
 * the default runs with and without it.
 */
const ARMS: Readonly<Record<string, { readonly contour: Contour; readonly what: string }>> = {
  default: { contour: defaultContour, what: "pixels and ONNX judge agree, gate on" },
  ungated: { contour: ungated(defaultContour), what: "the same, gate off" },
  gold: {
    contour: ungated(controlled(defaultContour, "gold")),
    what: "gold labels in place of the judge (upper bound)",
  },
  pixels: { contour: ungated(controlled(defaultContour, "pixels")), what: "pixel judge alone" },
  onnx: { contour: ungated(controlled(defaultContour, "onnx")), what: "ONNX judge alone" },
  self: { contour: ungated(controlled(defaultContour, "self")), what: "the policy's own log-probability alone" },
  majority: { contour: ungated(controlled(defaultContour, "majority")), what: "majority vote" },
  random: { contour: ungated(controlled(defaultContour, "random")), what: "random judge" },
  "supervised-A": { contour: ungated(CONTOURS["supervised-A"] as Contour), what: "supervised steps on world A alone" },
};

/** `autodidact experiment`: arms × seeds, each run resumable, one JSON a run, and the table of what is there. */
export const experiment = defineCommand({
  name: "experiment",
  summary: "the loop and its controls over several seeds; prints the table of all finished runs",
  options: {
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    "judge-model": { type: "text", value: "DIR", help: "folder of the ONNX judge", default: "public/models/judge" },
    arms: {
      type: "text",
      value: "NAMES",
      help: `arms, separated by commas: ${Object.keys(ARMS).join(", ")}`,
      default: Object.keys(ARMS).join(","),
    },
    seeds: { type: "text", value: "N,N,…", help: "seeds", default: "1,2,3,4,5" },
    rounds: { type: "whole", help: "rounds a run", default: 40, min: 1 },
    "eval-every": { type: "whole", help: "rounds between held-out evaluations", default: 8, min: 1 },
    "eval-items": { type: "whole", help: "held-out items a world", default: 600, min: 1 },
    out: { type: "text", value: "DIR", help: "one JSON a finished run", default: "results/describe" },
    table: { type: "flag", help: "print the table and run nothing" },
  },
  example: "autodidact experiment --arms default,random --seeds 1,2",
  async run({ values, out }) {
    const arms = values.arms.split(",");
    for (const arm of arms)
      if (!ARMS[arm]) throw new UsageError(`--arms: there is no arm ${arm}; there are ${Object.keys(ARMS).join(", ")}`);
    const seeds = values.seeds.split(",").map(Number);
    if (seeds.some((seed) => !Number.isSafeInteger(seed) || seed < 0))
      throw new UsageError(`--seeds takes whole numbers separated by commas, not ${values.seeds}`);
    await mkdir(values.out, { recursive: true });
    const file = (arm: string, seed: number) => join(values.out, `${arm}-${seed}.json`);
    const missing = seeds
      .flatMap((seed) => arms.map((arm) => ({ arm, seed })))
      .filter(({ arm, seed }) => !existsSync(file(arm, seed)));
    if (!values.table && missing.length > 0) {
      const policy = await openPolicy(values.model, null);
      let interrupted = false;
      for (const { arm, seed } of missing) {
        if (interrupted) break;
        const { contour } = ARMS[arm] as (typeof ARMS)[string];
        const directory = join("runs", "experiment", `${arm}-${seed}`);
        const resume = existsSync(directory);
        // A run that was interrupted goes on with its own kernels; those that begin now share an engine.
        const own = resume ? await openPolicy(values.model, null, { pinned: await deviceIn(directory) }) : null;
        const { summary, store, finished } = await runLoop({
          engine: (own ?? policy).engine,
          openJudge: () => openJudge(values["judge-model"]),
          contour: {
            ...contour,
            rounds: values.rounds,
            stop: { patience: 0 }, // the same budget for every arm
            evaluate: { ...contour.evaluate, every: values["eval-every"], items: values["eval-items"] },
          },
          seed,
          directory,
          resume,
          onEvent: (event, left) => {
            if (event.type === "evaluated")
              out.note(
                `${arm} seed ${seed} round ${event.round}: ${event.world} ${event.heldOut.greedy.value.toFixed(3)}  ${left} s left`,
              );
            if (event.type === "gated")
              out.note(
                `${arm} seed ${seed} round ${event.round}: ${event.report.decision.kind} after ${event.report.items} items`,
              );
          },
          onInterrupt: () => {
            interrupted = true;
            out.note("stopping after this phase; the same command goes on");
          },
        });
        store.close();
        await own?.close();
        if (!finished) break;
        await writeFile(file(arm, seed), `${JSON.stringify(summary, null, 1)}\n`);
        await rm(directory, { recursive: true });
        policy.engine.keep(new Set());
      }
      await policy.close();
    }
    const done = await readAll(Object.keys(ARMS), seeds, file);
    out.result(done, table(done));
  },
});

type Done = ReadonlyMap<string, readonly RunSummary[]>;

async function readAll(
  arms: readonly string[],
  seeds: readonly number[],
  file: (arm: string, seed: number) => string,
): Promise<Done> {
  const done = new Map<string, RunSummary[]>();
  for (const arm of arms) {
    const runs: RunSummary[] = [];
    for (const seed of seeds)
      if (existsSync(file(arm, seed))) runs.push(JSON.parse(await readFile(file(arm, seed), "utf8")));
    if (runs.length > 0) done.set(arm, runs);
  }
  return done;
}

const points = (value: number): string => `${value >= 0 ? "+" : "−"}${Math.abs(value * 100).toFixed(1)}`;

/** Markdown: one row an arm, mean over seeds with a 95% t-interval of the gain. */
function table(done: Done): string {
  const score = (run: RunSummary, when: "base" | "final", world: WorldName, how: "greedy" | "sampled") =>
    run[when][world]?.[how].value ?? Number.NaN;
  const gains = (runs: readonly RunSummary[], world: WorldName) =>
    runs.map((run) => score(run, "final", world, "greedy") - score(run, "base", world, "greedy"));
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const count = (runs: readonly RunSummary[], kind: string) =>
    runs.reduce((sum, run) => sum + run.rounds.filter((round) => round.decision === kind).length, 0);
  const rows = [...done].map(([arm, runs]) => {
    const B = gains(runs, "B");
    const A = gains(runs, "A");
    const { ci } = meanCI(B);
    const interval = runs.length > 1 ? ` [${points(ci[0])}, ${points(ci[1])}]` : "";
    const level = (when: "base" | "final", world: WorldName, how: "greedy" | "sampled") =>
      mean(runs.map((run) => score(run, when, world, how))).toFixed(3);
    const first = runs.map((run) => run.rounds.find((round) => round.decision === "accepted")?.round ?? "–").join(" ");
    return `| ${ARMS[arm]?.what ?? arm} | ${runs.length} | ${level("base", "B", "greedy")} → ${level("final", "B", "greedy")} | ${points(mean(B))}${interval} | ${points(Math.min(...B))} | ${level("final", "B", "sampled")} | ${points(mean(A))} (${points(Math.min(...A))}) | ${count(runs, "accepted")} / ${count(runs, "rejected")} / ${count(runs, "deferred")} | ${first} | ${Math.round(mean(runs.map((run) => run.labelledGateItems)))} |`;
  });
  return [
    "| arm | seeds | B greedy | gain in B, points | worst seed | B sampled | A, points (worst) | accepted / rejected / deferred | first accepted round | labelled gate items |",
    "|---|---|---|---|---|---|---|---|---|---|",
    ...rows,
  ].join("\n");
}

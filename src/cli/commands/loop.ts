import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Contour, JudgeRule } from "../../base/contour.ts";
import { CONTOURS, parseContour } from "../../base/contours.ts";
import type { LoopEvent } from "../../base/events.ts";
import { parseJson } from "../../base/input.ts";
import type { summarise } from "../../loop/summary.ts";
import { exportRun } from "../../store/archive.ts";
import { decode } from "../../world/vocabulary.ts";
import { defineCommand, UsageError } from "../args.ts";
import { openJudge } from "../judge.ts";
import { seedOption } from "../options.ts";
import { openPolicy } from "../policy.ts";
import { controlled, deviceIn, RULES, runLoop, runName } from "../run-loop.ts";

/** `autodidact loop`: the whole self-improvement loop, headless. Every phase is committed, so it goes on where it stopped. */
export const loop = defineCommand({
  name: "loop",
  summary: "the self-improvement loop: propose, sample, judge, filter, pair, train, gate",
  options: {
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    "judge-model": { type: "text", value: "DIR", help: "folder of the ONNX judge", default: "public/models/judge" },
    contour: {
      type: "text",
      value: "NAME|FILE.json",
      help: `contour: ${Object.keys(CONTOURS).join(", ")}, or a file`,
      default: "default",
    },
    rounds: { type: "whole", help: "rounds (by default the contour's)", min: 1 },
    judge: { type: "text", value: "NAME", help: `who decides: ${RULES.join(", ")} (by default the contour's)` },
    gate: { type: "text", value: "on|off", help: "the gate (by default the contour's)" },
    "eval-every": { type: "whole", help: "rounds between held-out evaluations (by default the contour's)", min: 1 },
    "eval-items": { type: "whole", help: "held-out items a world (by default the contour's)", min: 1 },
    dir: { type: "text", value: "DIR", help: "where the run is kept (by default runs/CONTOUR-JUDGE-SEED)" },
    resume: { type: "flag", help: "go on with the run in --dir at its last commit" },
    out: { type: "text", value: "RUN.zip", help: "write the run archive here at the end" },
    summary: { type: "text", value: "FILE.json", help: "write the summary here as well" },
    ...seedOption,
  },
  example: "autodidact loop --rounds 40 --seed 1 --out run.zip",
  async run({ values, json, out }) {
    const contour = await contourOf(values);
    const directory = values.dir ?? join("runs", runName(contour, values.seed));
    const pinned = values.resume ? await deviceIn(directory) : undefined;
    const policy = await openPolicy(values.model, null, { pinned });
    const { summary, store } = await runLoop({
      engine: policy.engine,
      openJudge: () => openJudge(values["judge-model"]),
      contour,
      seed: values.seed,
      directory,
      resume: values.resume,
      onEvent: (event, left) => {
        const line = json ? lineOf(event, left) : describe(event);
        if (line !== null)
          out.note(json ? JSON.stringify(line) : `round ${event.round}/${contour.rounds}  ${line}  ${left} s left`);
      },
      onInterrupt: () => out.note("stopping after this phase; go on with --resume"),
    });
    if (values.summary) await writeFile(values.summary, `${JSON.stringify(summary, null, 1)}\n`);
    if (values.out) await writeFile(values.out, exportRun(store, { promptText: (ids) => decode(ids) }));
    out.result(summary, headline(summary));
    store.close();
    await policy.close();
  },
});

interface LoopValues {
  readonly contour: string;
  readonly rounds: number | null;
  readonly judge: string | null;
  readonly gate: string | null;
  readonly "eval-every": number | null;
  readonly "eval-items": number | null;
}

async function contourOf(values: LoopValues): Promise<Contour> {
  const named = CONTOURS[values.contour];
  const base = named ?? parseContour(parseJson(await readContour(values.contour), values.contour), values.contour);
  if (values.judge !== null && !RULES.includes(values.judge as JudgeRule))
    throw new UsageError(`--judge is one of ${RULES.join(", ")}, not ${values.judge}`);
  if (values.gate !== null && values.gate !== "on" && values.gate !== "off")
    throw new UsageError(`--gate is on or off, not ${values.gate}`);
  const rule = (values.judge ?? base.judge.rule) as JudgeRule;
  return {
    ...controlled(base, rule),
    rounds: values.rounds ?? base.rounds,
    gate: { ...base.gate, on: values.gate === null ? base.gate.on : values.gate === "on" },
    evaluate: {
      ...base.evaluate,
      every: values["eval-every"] ?? base.evaluate.every,
      items: values["eval-items"] ?? base.evaluate.items,
    },
  };
}

async function readContour(path: string): Promise<string> {
  try {
    return await readFile(path, "utf8");
  } catch {
    throw new UsageError(`--contour: ${path} is neither a file nor one of ${Object.keys(CONTOURS).join(", ")}`);
  }
}

function lineOf(event: LoopEvent, left: number): unknown {
  if (!["evaluated", "gated", "trained", "error"].includes(event.type)) return null;
  const common = { round: event.round, type: event.type, secondsLeft: left };
  if (event.type === "evaluated") return { ...common, world: event.world, heldOut: event.heldOut };
  if (event.type === "gated")
    return { ...common, decision: event.report.decision, tests: event.report.tests, items: event.report.items };
  if (event.type === "trained" && event.outcome.kind === "trained")
    return { ...common, pairs: event.pairs.length, last: event.outcome.steps.at(-1) };
  return common;
}

function describe(event: LoopEvent): string | null {
  if (event.type === "evaluated")
    return `held-out ${event.world} ${event.heldOut.greedy.value.toFixed(3)} (sampled ${event.heldOut.sampled.value.toFixed(3)}, n ${event.heldOut.n})`;
  if (event.type === "gated") return `gate: ${event.report.decision.kind}, ${event.report.decision.detail}`;
  if (event.type === "trained" && event.outcome.kind === "trained")
    return `trained on ${event.pairs.length} pairs, loss ${event.outcome.steps.at(-1)?.loss.toFixed(3)}`;
  if (event.type === "trained") return event.outcome.kind;
  return null;
}

function headline(summary: ReturnType<typeof summarise>): string {
  const world = (name: "A" | "B") =>
    `${name}: ${summary.base[name]?.greedy.value.toFixed(3) ?? "–"} → ${summary.final[name]?.greedy.value.toFixed(3) ?? "–"}`;
  const count = (kind: string) => summary.rounds.filter((round) => round.decision === kind).length;
  return `held-out greedy  ${world("B")}  ${world("A")}   accepted ${count("accepted")}, rejected ${count("rejected")}, deferred ${count("deferred")}, labelled gate items ${summary.labelledGateItems}`;
}

import { existsSync } from "node:fs";
import { appendFile, mkdir, readFile, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { type Contour, defaultContour } from "../../base/contour.ts";
import { sha256Hex } from "../../base/hash.ts";
import type { Task, WorldName } from "../../base/records.ts";
import { wilson } from "../../base/stats.ts";
import { runGate, sealKey } from "../../loop/gate.ts";
import { createSealed } from "../../world/sealed.ts";
import { columns, defineCommand } from "../args.ts";
import { openJudge } from "../judge.ts";
import { type OpenPolicy, openPolicy } from "../policy.ts";
import { controlled, runLoop } from "../run-loop.ts";

/** Where candidates come from. Every round of an ungated run is a candidate against the base. */
const SOURCES: Readonly<
  Record<
    "harm" | "gain",
    readonly { readonly name: string; readonly contour: Contour; readonly rounds: number; readonly from: number }[]
  >
> = (() => {
  const every = (contour: Contour, learningRate: number, replay: number): Contour => ({
    ...contour,
    gate: { ...contour.gate, on: false, period: 1 },
    evaluate: { ...contour.evaluate, every: 1000, items: 60 },
    train: { ...contour.train, learningRate, replayA: { ...contour.train.replayA, perStep: replay } },
  });
  return {
    harm: [
      {
        name: "random judge, learning rate ten times, with replay",
        contour: every(controlled(defaultContour, "random"), 1e-2, defaultContour.train.replayA.perStep),
        rounds: 12,
        from: 2,
      },
      {
        name: "random judge, learning rate tripled, with replay",
        contour: every(controlled(defaultContour, "random"), 3e-3, defaultContour.train.replayA.perStep),
        rounds: 12,
        from: 2,
      },
      {
        name: "random judge, learning rate tripled",
        contour: every(controlled(defaultContour, "random"), 3e-3, 0),
        rounds: 8,
        from: 2,
      },
      {
        name: "majority vote, learning rate tripled",
        contour: every(controlled(defaultContour, "majority"), 3e-3, 0),
        rounds: 8,
        from: 2,
      },
    ],
    gain: [
      {
        name: "default judges",
        contour: every(defaultContour, 1e-3, defaultContour.train.replayA.perStep),
        rounds: 14,
        from: 5,
      },
    ],
  };
})();

const HARM = -0.04;
const GAIN = 0.08;
const TRUTH_KEY = sha256Hex("gate study: independent items");

interface Row {
  readonly source: string;
  readonly seed: number;
  readonly round: number;
  readonly kind: "harm" | "gain";
  /** True change in B and A on independent items. */
  readonly changeB: number;
  readonly changeA: number;
  readonly decision: string;
  readonly items: number;
}

/** `autodidact gate-study`: real candidates with a known true change stand at the gate. */
export const gateStudy = defineCommand({
  name: "gate-study",
  summary: "how often the gate accepts candidates that truly harm, and candidates that truly help",
  options: {
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    "judge-model": { type: "text", value: "DIR", help: "folder of the ONNX judge", default: "public/models/judge" },
    harmful: { type: "whole", help: "candidates with a true change of −4 points or worse", default: 200, min: 0 },
    gains: { type: "whole", help: "candidates with a true gain of 8 points or more", default: 50, min: 0 },
    "first-seed": {
      type: "whole",
      help: "seed to begin with, to share the study between processes",
      default: 1,
      min: 1,
    },
    items: { type: "whole", help: "independent items that tell the true change", default: 5000, min: 100 },
    out: {
      type: "text",
      value: "FILE.jsonl",
      help: "one line a candidate; the study goes on from it",
      default: "results/gate-study.jsonl",
    },
    table: { type: "flag", help: "print the table and run nothing" },
  },
  example: "autodidact gate-study --harmful 20 --gains 5",
  async run({ values, out }) {
    await mkdir(dirname(values.out), { recursive: true });
    const rows: Row[] = existsSync(values.out)
      ? (await readFile(values.out, "utf8"))
          .split("\n")
          .filter(Boolean)
          .map((line) => JSON.parse(line))
      : [];
    if (!values.table) {
      const policy = await openPolicy(values.model, null);
      const exam: Exam = {
        A: await examTasks("A", Math.min(1000, values.items)),
        B: await examTasks("B", values.items),
      };
      const base: Scores = {
        A: await graded(policy, "base", exam, "A", 0),
        B: await graded(policy, "base", exam, "B", 0),
      };
      for (const [kind, wanted] of [
        ["gain", values.gains],
        ["harm", values.harmful],
      ] as const) {
        const enough = () => rows.filter((row) => row.kind === kind).length >= wanted;
        for (let seed = values["first-seed"]; !enough(); seed++)
          for (const source of SOURCES[kind]) {
            if (enough() || rows.some((row) => row.source === source.name && row.seed === seed)) continue;
            for (const { round, adapter } of await candidates(policy, source, seed, values["judge-model"])) {
              if (enough()) break;
              const change = await trueChange(policy, adapter, kind, exam, base);
              if (change === null) continue;
              const key = sha256Hex(`gate study ${source.name} ${seed} ${round}`);
              const report = await runGate(policy.engine, createSealed(), {
                settings: defaultContour.gate,
                world: "B",
                maxNewTokens: defaultContour.sample.maxNewTokens,
                key,
                keyHash: sealKey(key),
                index: 0,
                candidate: adapter,
                incumbent: "base",
                best: "base",
                deferrals: 0,
                alarm: null,
                onItems: () => {},
              });
              const row: Row = {
                source: source.name,
                seed,
                round,
                kind,
                changeB: change.B,
                changeA: change.A,
                decision: report.decision.kind,
                items: report.items,
              };
              rows.push(row);
              await appendFile(values.out, `${JSON.stringify(row)}\n`);
              out.note(
                `${kind} ${rows.filter((one) => one.kind === kind).length}/${wanted}: ${source.name}, seed ${seed}, round ${round}: B ${(change.B * 100).toFixed(1)}, A ${(change.A * 100).toFixed(1)} points: ${row.decision} after ${row.items} items`,
              );
            }
            policy.engine.keep(new Set());
          }
      }
      await policy.close();
    }
    out.result(rows, table(rows));
  },
});

/** The adapters of an ungated run, one a round from `from` on, loaded in the engine. */
async function candidates(
  policy: OpenPolicy,
  { name, contour, rounds, from }: (typeof SOURCES)["harm"][number],
  seed: number,
  judge: string,
): Promise<readonly { round: number; adapter: string }[]> {
  const directory = join("runs", "gate-study", `${name.replace(/[^a-z]+/g, "-")}-${seed}`);
  await rm(directory, { recursive: true, force: true });
  const found: { round: number; adapter: string }[] = [];
  const { store } = await runLoop({
    engine: policy.engine,
    openJudge: () => openJudge(judge),
    contour: { ...contour, rounds },
    seed: 1000 + seed,
    directory,
    resume: false,
    onEvent: (event) => {
      if (event.type === "committed" && event.round >= from) found.push({ round: event.round, adapter: event.adapter });
    },
  });
  store.close();
  await rm(directory, { recursive: true });
  return found;
}

type Examined = Extract<WorldName, "A" | "B">;
/** The independent items, the same for every candidate: drawn once, since drawing costs as much as a third of answering. */
type Exam = Readonly<Record<Examined, readonly Task[]>>;
type Scores = Readonly<Record<Examined, readonly boolean[]>>;

const examTasks = (world: Examined, count: number): Promise<readonly Task[]> =>
  createSealed().items({ key: TRUTH_KEY, world, from: 0, count });

/** Whether the greedy answers to the exam's tasks `from` … `to` − 1 are right. */
async function graded(
  policy: OpenPolicy,
  adapter: string,
  exam: Exam,
  world: Examined,
  from: number,
  to = exam[world].length,
): Promise<boolean[]> {
  const sealed = createSealed();
  const tasks = exam[world].slice(from, to);
  const answers = await policy.engine.greedy(tasks, { adapter, maxNewTokens: defaultContour.sample.maxNewTokens });
  return answers.map((answer, i) => sealed.grade({ key: TRUTH_KEY, world, index: from + i, answer }));
}

const share = (right: readonly boolean[]): number => right.filter(Boolean).length / right.length;

/** The true change against the base, or null if the candidate is neither as harmful nor as helpful as wanted. */
async function trueChange(
  policy: OpenPolicy,
  adapter: string,
  kind: Row["kind"],
  exam: Exam,
  base: Scores,
): Promise<{ A: number; B: number } | null> {
  const wanted = (change: number, slack: number) => (kind === "harm" ? change <= HARM + slack : change >= GAIN - slack);
  const look = Math.min(500, exam.B.length);
  const first = await graded(policy, adapter, exam, "B", 0, look);
  if (!wanted(share(first) - share(base.B.slice(0, look)), 0.03)) return null;
  const rest = await graded(policy, adapter, exam, "B", look);
  const B = share([...first, ...rest]) - share(base.B);
  if (!wanted(B, 0)) return null;
  return { B, A: share(await graded(policy, adapter, exam, "A", 0)) - share(base.A) };
}

function table(rows: readonly Row[]): string {
  const lines = (["harm", "gain"] as const).flatMap((kind): [string, string][] => {
    const own = rows.filter((row) => row.kind === kind);
    if (own.length === 0) return [];
    const count = (decision: string) => own.filter((row) => row.decision === decision).length;
    const [low, high] = wilson(count("accepted"), own.length);
    const mean = own.reduce((sum, row) => sum + row.items, 0) / own.length;
    return [
      [
        kind === "harm" ? "true change ≤ −4 points" : "true gain ≥ 8 points",
        `${own.length} candidates: accepted ${count("accepted")} [${(100 * low).toFixed(1)}%, ${(100 * high).toFixed(1)}%], rejected ${count("rejected")}, deferred ${count("deferred")}; ${Math.round(mean)} labelled items each`,
      ],
    ];
  });
  return columns(lines);
}

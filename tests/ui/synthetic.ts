/**
 * An invented event log for tests of the page: shapes and sizes of a real run, numbers from a seeded generator.
 * It is never shipped; the page's recording is a real run.
 */
import { defaultContour } from "../../src/base/contour.ts";
import type { EventBody, LoopEvent } from "../../src/base/events.ts";
import type {
  Decision,
  FilterVerdict,
  GateReport,
  GateTest,
  HeldOut,
  JudgedCandidate,
  JudgedTask,
  Score,
  StepMetrics,
  Task,
} from "../../src/base/records.ts";
import { type Rng, rngFor } from "../../src/base/rng.ts";
import { answerTokens, promptOf } from "../../src/world/questions.ts";
import { photograph, render } from "../../src/world/render.ts";
import { randomScene, type Scene } from "../../src/world/scene.ts";
import { decode } from "../../src/world/vocabulary.ts";

export interface SyntheticOptions {
  readonly rounds: number;
  readonly seed: number;
  /** Tasks with pictures in each round. */
  readonly preview: number;
}

/** Wilson interval of `correct` in `n`. */
export function score(correct: number, n: number): Score {
  const p = correct / n;
  const z = 1.96;
  const middle = (p + (z * z) / (2 * n)) / (1 + (z * z) / n);
  const half = (z * Math.sqrt((p * (1 - p)) / n + (z * z) / (4 * n * n))) / (1 + (z * z) / n);
  return { n, correct, value: p, ci: [Math.max(0, middle - half), Math.min(1, middle + half)] };
}

export function heldOut(greedy: number, n = 500): HeldOut {
  const exact = score(Math.round(greedy * n), n);
  const sampled = score(Math.round(greedy * 0.86 * n), n);
  const perKind = Object.fromEntries(
    [1, 2, 3, 4, 5, 6].map((size) => [`describe/${size}`, score(Math.round((greedy * n) / 6), Math.round(n / 6))]),
  );
  return { greedy: exact, sampled, n, ci: exact.ci, perKind };
}

export function stepMetrics(step: number, progress: number): StepMetrics {
  return {
    step,
    loss: 0.693 - 0.3 * progress,
    "rewards/chosen": 0.2 * progress,
    "rewards/rejected": -0.6 * progress,
    "rewards/accuracies": 0.5 + 0.45 * progress,
    "rewards/margins": 0.8 * progress,
    "logps/chosen": -6 + progress,
    "logps/rejected": -14 - 3 * progress,
    grad_norm: 1.4 - progress * 0.5,
    learning_rate: 1e-3,
  };
}

const hash = (rng: Rng): string => Array.from({ length: 64 }, () => rng.int(16).toString(16)).join("");

/** The scene with one object changed, dropped or moved: an answer that is nearly right. */
function blur(scene: Scene, rng: Rng, strength: number): Scene {
  return scene
    .filter(() => rng.next() > strength * 0.3)
    .map((object) => (rng.next() < strength ? { ...object, colour: rng.int(4), shape: rng.int(3) } : object));
}

function candidate(scene: Scene, rng: Rng, strength: number): JudgedCandidate {
  const said = blur(scene, rng, strength);
  const broken = said.length === 0 || rng.next() < strength * 0.15;
  const tokens = broken ? [4, 8, 11, 4] : answerTokens({ kind: "scene", scene: said });
  const quality = broken ? -1 : Math.max(0, 1 - strength + 0.1 * rng.normal());
  return {
    tokens,
    text: decode(tokens),
    logprob: -2 - 8 * strength * rng.next(),
    finished: !broken,
    scores: broken
      ? { pixels: -1, "onnx-image": -1, "onnx-text": -1, self: -1 }
      : {
          pixels: Math.min(0.999, 0.8 + 0.2 * quality),
          "onnx-image": 0.3 + 0.6 * quality,
          "onnx-text": 0.2 + 0.6 * quality,
          self: -6 * strength - 1,
        },
    redrawn: broken ? null : render(said),
  };
}

function judgedTask(rng: Rng, round: number, skill: number): JudgedTask {
  const scene = randomScene(1 + rng.int(6), rng);
  const task: Task = {
    id: hash(rng),
    kind: "describe",
    prompt: promptOf({ kind: "describe" }),
    picture: photograph(scene, "B", rng),
    source: "camera:B",
    round,
  };
  const candidates = Array.from({ length: 12 }, () =>
    candidate(scene, rng, Math.min(1, (1 - skill) * 1.6 * rng.next())),
  );
  return { task, candidates };
}

function verdictOf({ candidates }: JudgedTask): FilterVerdict {
  const scores = candidates.map((one) => one.scores.pixels ?? -1);
  const chosen = scores.indexOf(Math.max(...scores));
  const rejected = scores.indexOf(Math.min(...scores));
  const margin = (scores[chosen] as number) - (scores[rejected] as number);
  if (margin < 0.02)
    return { kind: "dropped", reason: "margin", detail: `best and worst differ by ${margin.toFixed(3)}` };
  return { kind: "kept", chosen, rejected, margin };
}

function gateTest(name: GateTest["name"], difference: number, n: number, verdict: GateTest["verdict"]): GateTest {
  const discordant = Math.round(n * 0.15);
  const wins = Math.round((discordant + difference * n) / 2);
  return {
    name,
    against: name === "base-A" ? "base" : "incumbent",
    n,
    wins,
    losses: discordant - wins,
    difference,
    epsilon: 0.03,
    eSafe: verdict === "passed" ? 34.2 : 0.4,
    eHarm: verdict === "failed" ? 27.9 : 0.02,
    verdict,
  };
}

/** A whole run: accepted, rejected and deferred updates, rising on B, one forgetting of A. Deterministic in the seed. */
export function syntheticEvents({ rounds, seed, preview }: SyntheticOptions): LoopEvent[] {
  const rng = rngFor(seed, "synthetic");
  const events: LoopEvent[] = [];
  let at = Date.UTC(2026, 10, 20, 9, 30);
  const push = (round: number, body: EventBody): void => {
    events.push({ ...body, seq: events.length, at, round } as LoopEvent);
    at += 700;
  };
  const base = hash(rng);
  let incumbent = "base";
  let skill = 0.33;
  const contour = { ...defaultContour, rounds };
  push(0, {
    type: "started",
    run: "run-0001",
    contour,
    seed,
    device: {
      vendor: "intel",
      architecture: "gen-12lp",
      description: "Iris Xe",
      fallback: false,
      features: [],
      variants: {},
    },
    base,
    versions: { autodidact: "0.1.0" },
  });
  push(0, { type: "evaluated", adapter: "base", world: "A", heldOut: heldOut(0.984) });
  push(0, { type: "evaluated", adapter: "base", world: "B", heldOut: heldOut(skill) });
  for (let round = 1; round <= rounds; round += 1) {
    const tasks = Array.from({ length: preview }, () => judgedTask(rng, round, skill));
    const kept = 48 + rng.int(10);
    const pairs = Array.from({ length: kept }, () => hash(rng));
    const keyHash = hash(rng);
    push(round, {
      type: "proposed",
      tasks: Array.from({ length: 64 }, () => hash(rng)),
      source: "camera:B",
      preview: tasks.map(({ task }) => task),
    });
    push(round, { type: "sampled", tasks: 64, candidates: 768, finished: 760, distinct: 300 - round });
    push(round, {
      type: "judged",
      tasks: 64,
      meanScore: { pixels: 0.9, "onnx-image": 0.61, "onnx-text": 0.52, self: -4.1 },
      agreement: { "pixels/onnx-image": 0.88, "pixels/onnx-text": 0.81, "pixels/self": 0.63 },
      preview: tasks,
    });
    push(round, {
      type: "filtered",
      kept,
      dropped: { margin: 64 - kept - 3, "judges-disagree": 2, "near-duplicate": 1 },
      verdicts: tasks.map((task) => ({ task: task.task.id, verdict: verdictOf(task) })),
    });
    push(round, { type: "paired", pairs, meanMargin: 0.09, reference: incumbent });
    if (round % 4 === 1) push(round, { type: "sealed", keyHash });
    const steps = Array.from({ length: 4 }, (_, step) =>
      stepMetrics(step, Math.min(1, (((round - 1) % 4) * 4 + step) / 16)),
    );
    push(round, { type: "trained", outcome: { kind: "trained", steps, adapter: hash(rng) }, pairs });
    if (round % 4 !== 0) continue;
    const update = round / 4;
    const adapter = hash(rng);
    const gain = 0.12 * Math.exp(-update / 5);
    const outcome = update === 3 ? "rejected" : update === 5 ? "deferred" : "accepted";
    const harm = outcome === "rejected";
    const tests = [
      gateTest("incumbent-B", gain, 300, "passed"),
      gateTest("best-B", gain, 300, outcome === "deferred" ? "open" : "passed"),
      gateTest("base-A", harm ? -0.062 : -0.006, 450, harm ? "failed" : "passed"),
    ];
    const decision: Decision =
      outcome === "accepted"
        ? { kind: "accepted", adapter, superior: gain > 0.05, detail: "All three tests refuted a loss of 3 points." }
        : outcome === "rejected"
          ? {
              kind: "rejected",
              reason: "forgot-base-world",
              detail: "World A fell by 6.2 points against the base (450 items).",
            }
          : { kind: "deferred", items: 2000, detail: "Undecided after 2000 items." };
    const report: GateReport = {
      decision,
      tests,
      items: 1050,
      candidate: adapter,
      incumbent,
      keyHash,
      key: hash(rng),
      alpha: 0.05,
    };
    push(round, { type: "gated", report });
    if (decision.kind === "accepted") {
      push(round, {
        type: "committed",
        adapter,
        previous: incumbent,
        pairs: kept * 4,
        rounds: [round - 3, round - 2, round - 1, round],
      });
      incumbent = adapter;
      skill += gain;
    } else if (decision.kind === "rejected") {
      push(round, {
        type: "rejected",
        adapter,
        restored: incumbent,
        reason: decision.reason,
        detail: decision.detail,
        pairs: kept * 4,
      });
    } else {
      push(round, { type: "deferred", adapter, items: decision.items, detail: decision.detail });
    }
    push(round, { type: "evaluated", adapter: incumbent, world: "A", heldOut: heldOut(0.984 - 0.004 * update) });
    push(round, { type: "evaluated", adapter: incumbent, world: "B", heldOut: heldOut(skill) });
  }
  push(rounds, { type: "finished", reason: "rounds", detail: `All ${rounds} rounds are done.` });
  return events;
}

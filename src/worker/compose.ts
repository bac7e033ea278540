/** Puts the parts of a run together: the same in the page's workers and headless. */
import type { Contour } from "../base/contour.ts";
import type { LoopEvent, Progress } from "../base/events.ts";
import { createEvaluator } from "../eval/evaluate.ts";
import { createGold } from "../eval/gold.ts";
import { createJury, type OnnxScorer } from "../judge/jury.ts";
import { createLoop, type Loop } from "../loop/cycle.ts";
import { seedFor } from "../loop/keys.ts";
import type { EnginePort, Ports, SealedPort, StorePort } from "../loop/ports.ts";
import { createCamera } from "../world/camera.ts";
import { createSealed } from "../world/sealed.ts";

export interface Parts {
  readonly engine: EnginePort;
  readonly store: StorePort;
  /** Absent: a contour that asks for the judge model fails with a clear error. */
  readonly onnx?: OnnxScorer;
  /** System entropy in the page; left out, keys follow from the run's seed, so that a seed reproduces a run. */
  readonly newKey?: SealedPort["newKey"];
  readonly now: () => number;
  readonly emit: (event: LoopEvent) => void;
  readonly progress: (progress: Progress) => void;
}

/** A loop over these parts. `contour` and `seed` are needed beforehand by the gold control alone. */
export function composeLoop(parts: Parts, options: { contour: Contour; seed: number }): Loop {
  return createLoop(portsOf(parts, options));
}

/** The loop's ports, made of these parts. */
export function portsOf(parts: Parts, { contour, seed }: { contour: Contour; seed: number }): Ports {
  const { engine, onnx } = parts;
  const gold =
    contour.judge.rule === "gold"
      ? {
          gold: createGold({
            world: contour.world,
            count: contour.propose.tasks,
            seedOf: (round) => seedFor(seed, "propose", round),
          }),
        }
      : {};
  return {
    engine,
    source: createCamera(),
    judge: createJury({ engine, ...(onnx ? { onnx } : {}), ...gold }),
    sealed: createSealed(parts.newKey ? { newKey: parts.newKey } : {}),
    evaluator: createEvaluator(),
    store: parts.store,
    now: parts.now,
    emit: parts.emit,
    progress: parts.progress,
  };
}

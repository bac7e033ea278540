/** The judge model on held-out pictures of A and B: the tables of its card. */
import { rngFor } from "../base/rng.ts";
import { render } from "../world/render.ts";
import { type Scene, sameObject } from "../world/scene.ts";
import { anyEdit, captionOf, EDITS, type Edit, type JudgeItem, judgeItems } from "./data.ts";
import type { OnnxScorer } from "./jury.ts";
import {
  auc,
  type Bin,
  type Calibration,
  calibrationError,
  correlation,
  fitCalibration,
  pairwiseAccuracy,
  reliability,
} from "./metrics.ts";
import { pixelScore } from "./pixels.ts";

export const HEADS = ["pixels", "onnx-image", "onnx-text"] as const;
export type Head = (typeof HEADS)[number];

/** One judge in one world, right description against one that is wrong by one object. */
export interface HeadReport {
  /** Right above wrong for the same picture. */
  readonly pairwise: number;
  readonly byEdit: Readonly<Record<Edit, number>>;
  /** Right against wrong over all pictures: is the score comparable between pictures? */
  readonly auc: number;
  /** Expected calibration error of σ(slope · score + intercept), fitted on other pictures of world A. */
  readonly ece: number;
  readonly reliability: readonly Bin[];
  /** Mean F1 of the description that it likes best among 12 with 0–3 edits, of which the best has `oracle`. */
  readonly bestOf12: { readonly chosen: number; readonly oracle: number; readonly mean: number };
}

export interface JudgeReport {
  readonly n: number;
  readonly calibration: Readonly<Record<Head, Calibration>>;
  readonly worlds: Readonly<Record<"A" | "B", Readonly<Record<Head, HeadReport>>>>;
  /** Per world, of the judges' margins (right − wrong) and of their errors (wrong above right); null: no errors. */
  readonly withPixels: Readonly<
    Record<"A" | "B", Readonly<Record<"onnx-image" | "onnx-text", { margins: number | null; errors: number | null }>>>
  >;
}

type Scores = Readonly<Record<Head, { readonly right: readonly number[]; readonly wrong: readonly number[] }>>;

/** Measures all heads on `n` held-out items a world. Deterministic. */
export async function measureJudge(scorer: OnnxScorer, { seed, n }: { seed: number; n: number }): Promise<JudgeReport> {
  const fitted = await scores(scorer, judgeItems(seed, "A", "calibration", n));
  const calibration = eachHead((head) => fitCalibration(fitted[head].right, fitted[head].wrong));
  const world = async (name: "A" | "B") => {
    const items = judgeItems(seed, name, "held-out", n);
    const found = await scores(scorer, items);
    const best = await bestOf12(scorer, seed, name, Math.ceil(n / 5));
    const report = eachHead((head): HeadReport => {
      const { right, wrong } = found[head];
      const bins = reliability(calibration[head], right, wrong);
      return {
        pairwise: pairwiseAccuracy(right, wrong),
        byEdit: byEdit(items, right, wrong),
        auc: auc(right, wrong),
        ece: calibrationError(bins),
        reliability: bins,
        bestOf12: best[head],
      };
    });
    const margin = (head: Head) => found[head].right.map((score, i) => score - (found[head].wrong[i] as number));
    const errors = (head: Head) => margin(head).map((value) => (value > 0 ? 0 : 1));
    const against = (head: Head) => ({
      margins: correlation(margin(head), margin("pixels")),
      errors: correlation(errors(head), errors("pixels")),
    });
    return { report, withPixels: { "onnx-image": against("onnx-image"), "onnx-text": against("onnx-text") } };
  };
  const A = await world("A");
  const B = await world("B");
  return { n, calibration, worlds: { A: A.report, B: B.report }, withPixels: { A: A.withPixels, B: B.withPixels } };
}

function eachHead<T>(make: (head: Head) => T): Record<Head, T> {
  return { pixels: make("pixels"), "onnx-image": make("onnx-image"), "onnx-text": make("onnx-text") };
}

async function scores(scorer: OnnxScorer, items: readonly JudgeItem[]): Promise<Scores> {
  const right = await scenes(
    scorer,
    items.map(({ picture, scene }) => ({ picture, scene })),
  );
  const wrong = await scenes(
    scorer,
    items.map(({ picture, wrong: scene }) => ({ picture, scene })),
  );
  return eachHead((head) => ({ right: right[head], wrong: wrong[head] }));
}

async function scenes(
  scorer: OnnxScorer,
  items: readonly { readonly picture: JudgeItem["picture"]; readonly scene: Scene }[],
): Promise<Record<Head, readonly number[]>> {
  const drawn = items.map(({ picture, scene }) => ({ picture, redrawn: render(scene), tokens: captionOf(scene) }));
  const { image, text } = await scorer.score(drawn);
  const pixels = drawn.map(({ picture, redrawn }) => pixelScore(picture, redrawn));
  return { pixels, "onnx-image": image, "onnx-text": text };
}

function byEdit(items: readonly JudgeItem[], right: readonly number[], wrong: readonly number[]): Record<Edit, number> {
  const share = (edit: Edit) => {
    const rows = items.flatMap((item, i) => (item.edit === edit ? [i] : []));
    return pairwiseAccuracy(
      rows.map((i) => right[i] as number),
      rows.map((i) => wrong[i] as number),
    );
  };
  return Object.fromEntries(EDITS.map((edit) => [edit, share(edit)])) as Record<Edit, number>;
}

/** What the loop asks of a judge: which of 12 descriptions, each with 0–3 random edits, fits best? */
async function bestOf12(
  scorer: OnnxScorer,
  seed: number,
  world: "A" | "B",
  pictures: number,
): Promise<Record<Head, HeadReport["bestOf12"]>> {
  const items = judgeItems(seed, world, "held-out", pictures);
  const groups = items.map(({ picture, scene }, i) => {
    const rng = rngFor(seed, "judge", "best of 12", world, i);
    return Array.from({ length: 12 }, () => {
      let said = scene;
      for (let edits = 1 + rng.int(3); edits > 0; edits--) said = anyEdit(said, world, rng).scene;
      return { picture, scene: rng.int(6) === 0 ? scene : said, f1: 0 };
    }).map((candidate) => ({ ...candidate, f1: f1(scene, candidate.scene) }));
  });
  const found = await scenes(scorer, groups.flat());
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  return eachHead((head) => ({
    chosen: mean(
      groups.map((group, i) => {
        const own = found[head].slice(12 * i, 12 * i + 12);
        return (group[own.indexOf(Math.max(...own))] as { f1: number }).f1;
      }),
    ),
    oracle: mean(groups.map((group) => Math.max(...group.map((candidate) => candidate.f1)))),
    mean: mean(groups.flat().map((candidate) => candidate.f1)),
  }));
}

function f1(truth: Scene, said: Scene): number {
  const hits = said.filter((object) => truth.some((other) => sameObject(object, other))).length;
  return (2 * hits) / (truth.length + said.length);
}

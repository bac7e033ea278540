import { judgesOf } from "../base/contour.ts";
import type { Candidate, JudgedCandidate, JudgedTask, JudgeName, Picture, Task } from "../base/records.ts";
import type { EnginePort, JudgePort } from "../loop/ports.ts";
import { parseAnswer } from "../world/questions.ts";
import { cosine, medianFree, redraw, UNPARSABLE } from "./pixels.ts";

/** The separate judge model: `image` compares seen with redrawn, `text` compares seen with the caption. One number an item. */
export interface OnnxScorer {
  score(
    items: readonly {
      readonly picture: Picture;
      readonly redrawn: Picture | null;
      readonly tokens: readonly number[];
    }[],
  ): Promise<{ readonly image: readonly number[]; readonly text: readonly number[] }>;
}

/** Who sits in the jury; a judge that the contour asks for and that is absent is an error. */
export interface JuryMembers {
  readonly onnx?: OnnxScorer;
  /** For the self-judge: the base's own opinion, LoRA off. */
  readonly engine?: Pick<EnginePort, "logprobs">;
  /** For the upper-bound control only. */
  readonly gold?: (task: Task, tokens: readonly number[]) => number;
}

/** Judges that look at pictures and answers. The vote and the random control need neither: src/loop/judge.ts. */
const JURY: readonly JudgeName[] = ["pixels", "onnx-image", "onnx-text", "self", "gold"];

interface Ballot {
  readonly task: Task;
  readonly candidate: Candidate;
  readonly redrawn: Picture | null;
  readonly parses: boolean;
  readonly scores: Partial<Record<JudgeName, number>>;
}

/**
 * The judges of a contour as one port. Higher is better; an answer that does not parse scores −1 under each of them,
 * and `parses` says so when none of them is asked (majority, random).
 * pixels: cosine of the median-free pictures. onnx-image, onnx-text: the judge model's two heads.
 * self: the answer's probability per token under the base, exp(mean log-probability). gold: the control's F1.
 * pixels and the judge model see descriptions of pictures only; for other questions their scores are absent.
 */
export function createJury(members: JuryMembers): JudgePort {
  return {
    async score(tasks, { contour }) {
      const needed = judgesOf(contour);
      const judges = new Set(JURY.filter((judge) => needed.has(judge)));
      const ballots = tasks.map(({ task, candidates }) => candidates.map((candidate) => ballotOf(task, candidate)));
      const all = ballots.flat();
      const parsed = all.filter((ballot) => ballot.parses);
      if (judges.has("pixels")) for (const group of ballots) scorePixels(group);
      if (judges.has("onnx-image") || judges.has("onnx-text"))
        await scoreOnnx(parsed, required(members.onnx, "onnx", "an ONNX judge model"), judges);
      if (judges.has("self")) await scoreSelf(parsed, required(members.engine, "self", "the engine"));
      if (judges.has("gold")) {
        const gold = required(members.gold, "gold", "the control's gold scorer");
        for (const ballot of parsed) ballot.scores.gold = gold(ballot.task, ballot.candidate.tokens);
      }
      for (const ballot of all) if (!ballot.parses) for (const judge of judges) ballot.scores[judge] = UNPARSABLE;
      return tasks.map(({ task }, i): JudgedTask => ({ task, candidates: (ballots[i] as Ballot[]).map(judged) }));
    },
  };
}

function required<T>(member: T | undefined, judge: string, what: string): T {
  if (member === undefined)
    throw new Error(
      `[jury] the contour asks for the judge "${judge}", which needs ${what}; give it or take the judge out of judge.record and judge.rule`,
    );
  return member;
}

function ballotOf(task: Task, candidate: Candidate): Ballot {
  const parses = parseAnswer(task.kind, candidate.tokens) !== null;
  const redrawn = task.kind === "describe" ? redraw(candidate.tokens) : null;
  return { task, candidate, redrawn, parses, scores: {} };
}

const judged = ({ candidate, scores, redrawn, parses }: Ballot): JudgedCandidate => ({
  ...candidate,
  scores,
  redrawn,
  parses,
});

/** The candidates of one task against its picture. */
function scorePixels(group: readonly Ballot[]): void {
  const picture = group[0]?.task.picture;
  if (!picture) return;
  const seen = medianFree(picture);
  for (const ballot of group) if (ballot.redrawn) ballot.scores.pixels = cosine(seen, medianFree(ballot.redrawn));
}

/** Scores each different (task, tokens) once: K samples repeat themselves a lot. */
function distinct(ballots: readonly Ballot[]): {
  firsts: readonly Ballot[];
  spread: (values: readonly number[], judge: JudgeName) => void;
} {
  const places = new Map<string, number>();
  const firsts: Ballot[] = [];
  const placeOf = ballots.map((ballot) => {
    const key = `${ballot.task.id} ${ballot.candidate.tokens.join(" ")}`;
    const place = places.get(key) ?? firsts.push(ballot) - 1;
    places.set(key, place);
    return place;
  });
  const spread = (values: readonly number[], judge: JudgeName): void => {
    if (values.length !== firsts.length)
      throw new Error(`[jury] ${judge} gave ${values.length} scores for ${firsts.length} answers`);
    ballots.forEach((ballot, i) => {
      const value = values[placeOf[i] as number] as number;
      if (!Number.isFinite(value))
        throw new Error(`[jury] ${judge} gave the score ${value} to "${ballot.candidate.text}"`);
      ballot.scores[judge] = value;
    });
  };
  return { firsts, spread };
}

async function scoreOnnx(parsed: readonly Ballot[], onnx: OnnxScorer, judges: ReadonlySet<JudgeName>): Promise<void> {
  const { firsts, spread } = distinct(
    parsed.filter((ballot) => ballot.task.picture !== null && ballot.redrawn !== null),
  );
  if (firsts.length === 0) return;
  const items = firsts.map(({ task, redrawn, candidate }) => ({
    picture: task.picture as Picture,
    redrawn,
    tokens: candidate.tokens,
  }));
  const { image, text } = await onnx.score(items);
  if (judges.has("onnx-image")) spread(image, "onnx-image");
  if (judges.has("onnx-text")) spread(text, "onnx-text");
}

async function scoreSelf(parsed: readonly Ballot[], engine: Pick<EnginePort, "logprobs">): Promise<void> {
  const { firsts, spread } = distinct(parsed);
  if (firsts.length === 0) return;
  const items = firsts.map(({ task, candidate }) => ({ task, tokens: candidate.tokens }));
  const logprobs = await engine.logprobs(items, { adapter: "base" });
  spread(
    logprobs.map((sum, i) => Math.exp(sum / (items[i] as { tokens: readonly number[] }).tokens.length)),
    "self",
  );
}

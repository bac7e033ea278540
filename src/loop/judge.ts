/** Judge: every judge's score beside every candidate. The port scores; votes and the random control are counted here. */
import { judgesOf } from "../base/contour.ts";
import type { EventBody } from "../base/events.ts";
import type { JudgedCandidate, JudgedTask, JudgeName } from "../base/records.ts";
import { rngFor } from "../base/rng.ts";
import { answerKey, seedFor } from "./keys.ts";
import type { LoopState, Ports } from "./ports.ts";
import { answerClusters, type SampledTask } from "./sample.ts";

/** Judged tasks in an event that a page draws. */
const previewTasks = 2;

/** Throws if the judge loses or reorders a task. */
export async function judge(
  ports: Ports,
  state: LoopState,
  sampled: readonly SampledTask[],
): Promise<readonly JudgedTask[]> {
  const { seed, round, contour } = state;
  ports.progress({ round, stage: "judge", done: 0, total: sampled.length });
  const judged = await ports.judge.score(sampled, { contour, seed: seedFor(seed, "judge", round), round });
  sampled.forEach(({ task, candidates }, i) => {
    const same = judged[i]?.task.id === task.id && judged[i]?.candidates.length === candidates.length;
    if (!same) throw new Error(`[loop] the judge did not return task ${task.id} with its ${candidates.length} answers`);
  });
  const last = judged.at(-1);
  ports.progress({
    round,
    stage: "judge",
    done: judged.length,
    total: sampled.length,
    ...(last ? { preview: last } : {}),
  });
  const needed = judgesOf(contour);
  const voted = needed.has("majority") ? judged.map(withVotes) : judged;
  return needed.has("random") ? voted.map((one) => withDice(one, seed, round)) : voted;
}

/** Score "majority": the share of the K answers that are identical to this one. */
function withVotes({ task, candidates }: JudgedTask): JudgedTask {
  const votes = answerClusters(candidates);
  const share = (candidate: JudgedCandidate): number => (votes.get(answerKey(candidate)) ?? 0) / candidates.length;
  return { task, candidates: candidates.map((one) => ({ ...one, scores: { ...one.scores, majority: share(one) } })) };
}

/** Score "random": uniform in [0, 1), the same for identical answers, from a stream of the task's own. */
function withDice({ task, candidates }: JudgedTask, seed: number, round: number): JudgedTask {
  const rng = rngFor(seed, "random-judge", round, task.id);
  const dice = new Map<string, number>();
  for (const key of answerClusters(candidates).keys()) dice.set(key, rng.next());
  const score = (candidate: JudgedCandidate): number => dice.get(answerKey(candidate)) ?? 0;
  return { task, candidates: candidates.map((one) => ({ ...one, scores: { ...one.scores, random: score(one) } })) };
}

export function judgedEvent(judged: readonly JudgedTask[]): EventBody {
  const names = judgeNames(judged);
  const agreement: Record<string, number> = {};
  names.forEach((a, i) => {
    for (const b of names.slice(i + 1)) {
      const share = orderAgreement(judged, a, b);
      if (share !== null) agreement[`${a}~${b}`] = share;
    }
  });
  return {
    type: "judged",
    tasks: judged.length,
    meanScore: Object.fromEntries(names.map((name) => [name, meanScore(judged, name)])),
    agreement,
    preview: judged.slice(0, previewTasks),
  };
}

function judgeNames(judged: readonly JudgedTask[]): readonly JudgeName[] {
  const names = judged.flatMap((one) => one.candidates.flatMap((candidate) => Object.keys(candidate.scores)));
  return [...new Set(names)].sort() as JudgeName[];
}

function meanScore(judged: readonly JudgedTask[], name: JudgeName): number {
  const scores = judged.flatMap((one) => one.candidates.map((candidate) => candidate.scores[name]));
  const known = scores.filter((score) => score !== undefined);
  return known.reduce((sum, score) => sum + score, 0) / Math.max(known.length, 1);
}

/** Share of candidate pairs of one task that both judges order strictly and alike; null if there is no such pair. */
function orderAgreement(judged: readonly JudgedTask[], a: JudgeName, b: JudgeName): number | null {
  let alike = 0;
  let total = 0;
  for (const { candidates } of judged) {
    candidates.forEach((one, i) => {
      for (const other of candidates.slice(i + 1)) {
        const order = direction(one, other, a) * direction(one, other, b);
        if (order !== 0) total += 1;
        if (order > 0) alike += 1;
      }
    });
  }
  return total === 0 ? null : alike / total;
}

function direction(one: JudgedCandidate, other: JudgedCandidate, name: JudgeName): number {
  return Math.sign((one.scores[name] ?? 0) - (other.scores[name] ?? 0));
}

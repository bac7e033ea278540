import type { JudgedCandidate, JudgeName } from "../../base/records.ts";

const order: readonly JudgeName[] = [
  "pixels",
  "onnx-image",
  "onnx-text",
  "self",
  "majority",
  "random",
  "gold",
  "visitor",
];

/** The judges that scored any of the candidates, always in the same order. */
export function judgesOf(candidates: readonly JudgedCandidate[]): readonly JudgeName[] {
  return order.filter((judge) => candidates.some((candidate) => candidate.scores[judge] !== undefined));
}

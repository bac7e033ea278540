import { type Contour, defaultContour } from "../base/contour.ts";
import type { DeviceSummary, LoopEvent } from "../base/events.ts";
import type { HeldOut, JudgedCandidate, Pair, PairStatus, Picture, Score, Task } from "../base/records.ts";
import type { CandidateState, LoopState } from "../loop/ports.ts";
import type { JournalData, JournalLine } from "./journal.ts";
import {
  boolean,
  bytes,
  like,
  listOf,
  number,
  object,
  oneOf,
  optional,
  orNull,
  recordOf,
  type Shape,
  ShapeError,
  sha,
  text,
  whole,
} from "./shape.ts";

/** The shapes of everything that an archive may bring in. */

const ids: Shape<readonly number[]> = listOf(whole);

export const pictureShape: Shape<Picture> = (value, path) => {
  const picture = object<Picture>({ size: whole, rgb: bytes })(value, path);
  if (picture.rgb.length !== picture.size * picture.size * 3)
    throw new ShapeError(`${path}.rgb`, `${picture.size} × ${picture.size} × 3 bytes`, picture.rgb.length);
  return picture;
};

export const kindShape = oneOf("describe", "count", "exists", "left-of", "sum", "difference");
export const statusShape: Shape<PairStatus> = oneOf("fresh", "trained", "accepted", "quarantined");

const taskShape = object<Task>({
  id: text(),
  kind: kindShape,
  prompt: ids,
  picture: orNull(pictureShape),
  source: text(),
  round: whole,
});

/** `parses` may be absent: only the filter reads it, while the round runs. */
export const candidateShape: Shape<JudgedCandidate> = object<Omit<JudgedCandidate, "parses">>({
  tokens: ids,
  text: text(),
  logprob: number,
  finished: boolean,
  scores: recordOf(number) as Shape<JudgedCandidate["scores"]>,
  redrawn: orNull(pictureShape),
});

export const pairShape = object<Pair>({
  id: text(),
  task: taskShape,
  chosen: candidateShape,
  rejected: candidateShape,
  margin: number,
  reference: object<Pair["reference"]>({ adapter: text(), chosen: number, rejected: number }),
  status: statusShape,
  round: whole,
  seed: number,
});

/** Archives of the first release have no settings of the buffer. */
const { buffer: bufferExample, ...firstContour } = defaultContour;

const contourShape: Shape<Contour> = (value, path) => {
  const contour = like<Contour>(firstContour)(value, path);
  if (contour.buffer !== undefined) like(bufferExample)(contour.buffer, `${path}.buffer`);
  return contour;
};

const deviceShape = object<DeviceSummary>({
  vendor: text(),
  architecture: text(),
  description: text(),
  fallback: boolean,
  features: listOf(text()),
  variants: recordOf(text()),
});

const candidateStateShape: Shape<CandidateState> = (value, path) =>
  object<Pick<CandidateState, "adapter" | "rounds" | "deferrals">>({
    adapter: text(),
    rounds: listOf(whole),
    deferrals: whole,
  })(value, path);

export const stateShape = object<LoopState>({
  run: text(200),
  seed: number,
  contour: contourShape,
  round: whole,
  phase: oneOf("collect", "train", "gate", "evaluate", "finished"),
  seq: whole,
  incumbent: text(),
  best: text(),
  candidate: orNull(candidateStateShape),
  gate: object<LoopState["gate"]>({ index: whole, key: text(), keyHash: text(), used: whole, sinceGain: whole }),
  finished: orNull(text()),
});

const scoreShape = object<Score>({
  n: whole,
  correct: number,
  value: number,
  ci: listOf(number) as unknown as Shape<Score["ci"]>,
});

const heldOutShape = object<HeldOut>({
  greedy: scoreShape,
  sampled: scoreShape,
  n: whole,
  ci: listOf(number) as unknown as Shape<HeldOut["ci"]>,
  perKind: recordOf(scoreShape),
});

const anyObject: Shape<object> = object<object>({});

type Fields = Readonly<Record<string, Shape<unknown>>>;

/** The fields of each type of event that the page or the store reads. */
const eventFields: Readonly<Record<LoopEvent["type"], Fields>> = {
  started: {
    run: text(200),
    contour: contourShape,
    seed: number,
    device: deviceShape,
    base: text(),
    versions: recordOf(text()),
  },
  proposed: { tasks: listOf(text()), source: text(), preview: listOf(taskShape) },
  sampled: { tasks: whole, candidates: whole, finished: number, distinct: number },
  judged: {
    tasks: whole,
    meanScore: recordOf(number),
    agreement: recordOf(number),
    preview: listOf(
      object<{ task: Task; candidates: readonly JudgedCandidate[] }>({
        task: taskShape,
        candidates: listOf(candidateShape),
      }),
    ),
  },
  filtered: {
    kept: whole,
    dropped: recordOf(whole),
    verdicts: listOf(object<{ task: string; verdict: object }>({ task: text(), verdict: anyObject })),
  },
  paired: { pairs: listOf(text()), meanMargin: number, reference: text() },
  trained: { outcome: anyObject, pairs: listOf(text()) },
  sealed: { keyHash: text() },
  gated: {
    report: object<{ decision: object; tests: readonly object[]; key: string; keyHash: string }>({
      decision: anyObject,
      tests: listOf(anyObject),
      key: text(),
      keyHash: text(),
    }),
  },
  committed: { adapter: text(), previous: text(), pairs: whole, rounds: listOf(whole) },
  rejected: { adapter: text(), restored: text(), reason: text(), detail: text(), pairs: whole },
  deferred: { adapter: text(), items: whole, detail: text() },
  evaluated: { adapter: text(), world: text(), heldOut: heldOutShape },
  restored: { adapter: text(), reason: text() },
  corrected: { pair: text(), detail: text() },
  deleted: { pairs: listOf(text()), reason: text(), bytes: whole, detail: text() },
  included: { pairs: listOf(text()), detail: text() },
  finished: { reason: text(), detail: text() },
  error: { code: text(), message: text() },
};

/** An event of a type that is not known here is refused: what it did to the run, nobody here could go on from. */
export const eventShape: Shape<LoopEvent> = (value, path) => {
  const { type } = object<{ seq: number; at: number; round: number; type: string }>({
    seq: whole,
    at: number,
    round: whole,
    type: text(100),
  })(value, path);
  if (!Object.hasOwn(eventFields, type))
    throw new ShapeError(
      `${path}.type`,
      "one that this version of the program knows (a newer one wrote the run: update this one, then try again)",
      type,
    );
  object(eventFields[type as LoopEvent["type"]])(value, `${path} (${type})`);
  return value as LoopEvent;
};

const dataShape = object<JournalData>({
  removed: optional(listOf(text())) as Shape<readonly string[]>,
  pairs: listOf(object<JournalData["pairs"][number]>({ id: text(), digest: sha, status: statusShape })),
  status: listOf(object<JournalData["status"][number]>({ id: text(), status: statusShape })),
  adapters: listOf(object<JournalData["adapters"][number]>({ hash: sha, config: sha, optimizer: sha })),
  state: sha,
});

export const lineShape = object<JournalLine>({
  seq: whole,
  round: whole,
  type: text(100),
  at: number,
  event: sha,
  data: orNull(dataShape),
  content: sha,
  previous: sha,
  hash: sha,
});

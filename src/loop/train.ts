/** Train: a few optimizer steps on the candidate, from the pairs that are fresh. */
import type { EventBody } from "../base/events.ts";
import type { Pair, StepMetrics, TrainOutcome } from "../base/records.ts";
import { rngFor } from "../base/rng.ts";
import { bufferSettings, drawReplay } from "./buffer.ts";
import { seedFor } from "./keys.ts";
import { withReference } from "./pair.ts";
import type { AdapterSnapshot, LoopState, Ports, TrainBatch } from "./ports.ts";

export interface Trained {
  readonly outcome: TrainOutcome;
  /** The candidate after the steps, null if it was not trained or diverged. */
  readonly snapshot: AdapterSnapshot | null;
  /** Fresh pairs that took part. */
  readonly pairs: readonly Pair[];
  /** Pairs whose reference log-probabilities were computed anew, to be stored. */
  readonly rereferenced: readonly Pair[];
  readonly steps: readonly StepMetrics[];
}

/**
 * Trains the candidate (or a new one, from the incumbent) on the fresh pairs: those of this round and those left over
 * from rounds that had too few, or made by a visitor. The adapter to start from must be usable in the engine.
 */
export async function train(ports: Ports, state: LoopState): Promise<Trained> {
  const { seed, round, contour, incumbent } = state;
  const settings = contour.train;
  const fresh = inOrder(await ports.store.pairs({ status: "fresh" }));
  if (fresh.length < settings.minPairs) {
    const detail = `${fresh.length} fresh pairs, wanted at least ${settings.minPairs}`;
    return {
      outcome: { kind: "skipped", reason: "too-few-pairs", detail },
      snapshot: null,
      pairs: [],
      rereferenced: [],
      steps: [],
    };
  }

  const replayed = await replayedPairs(ports, state, fresh.length);
  const before = [...fresh, ...replayed];
  const pairs = await withReference(ports.engine, before, incumbent);
  const rereferenced = pairs.filter((one, i) => one !== before[i]);
  const batches = await makeBatches(ports, state, pairs);

  await ports.engine.begin({
    adapter: state.candidate?.adapter ?? incumbent,
    seed: seedFor(seed, "lora", round),
    loraR: settings.loraR,
    loraAlpha: settings.loraAlpha,
  });
  ports.progress({ round, stage: "train", done: 0, total: batches.length });
  let done = 0;
  const { steps, diverged } = await ports.engine.train({
    batches,
    contour: settings,
    learningRate: settings.learningRate * settings.learningRateDecay ** (round - 1),
    onStep: () => ports.progress({ round, stage: "train", done: ++done, total: batches.length }),
  });
  if (diverged) {
    return { outcome: { kind: "diverged", ...diverged }, snapshot: null, pairs: fresh, rereferenced, steps };
  }
  const snapshot = await ports.engine.snapshot();
  return { outcome: { kind: "trained", steps, adapter: snapshot.hash }, snapshot, pairs: fresh, rereferenced, steps };
}

/** Accepted pairs of earlier rounds, a share `replayPairs` of the fresh ones, drawn from the buffer by (seed, round). */
async function replayedPairs(
  { store }: Ports,
  { seed, round, contour }: LoopState,
  fresh: number,
): Promise<readonly Pair[]> {
  const count = Math.round(contour.train.replayPairs * fresh);
  if (count === 0) return [];
  const items = await store.bufferItems({ over: 0 });
  return inOrder(await store.pairsById(drawReplay(items, count, bufferSettings(contour), { seed, round })));
}

/** The store's order is its own affair; ours is by round, then id. */
function inOrder(pairs: readonly Pair[]): readonly Pair[] {
  return [...pairs].sort((a, b) => a.round - b.round || (a.id < b.id ? -1 : 1));
}

/**
 * Shuffled batches of `batchSize`; the last is filled by wrapping, so 55 pairs make 4 batches of 16.
 * Each batch has its own replayed examples of world A. Under method "sft" the pairs only set the number of steps:
 * the control trains on A alone, for as long as the loop would have trained.
 */
export async function makeBatches(
  ports: Pick<Ports, "source">,
  state: LoopState,
  pairs: readonly Pair[],
): Promise<readonly TrainBatch[]> {
  const { seed, round, contour } = state;
  const { batchSize, method, replayA } = contour.train;
  if (pairs.length === 0) return [];
  const shuffled = rngFor(seed, "batches", round).shuffle(pairs);
  const count = Math.ceil(shuffled.length / batchSize);
  const perStep = method === "sft" ? Math.max(replayA.perStep, batchSize) : replayA.perStep;
  const examples =
    perStep === 0
      ? []
      : await ports.source.replayA({ count: count * perStep, seed: seedFor(seed, "replay-a", round), round });
  return Array.from({ length: count }, (_, b) => ({
    pairs:
      method === "sft"
        ? []
        : Array.from({ length: batchSize }, (_, i) => shuffled[(b * batchSize + i) % shuffled.length] as Pair),
    replay: examples.slice(b * perStep, (b + 1) * perStep),
  }));
}

export function trainedEvent({ outcome, pairs }: Trained): EventBody {
  return { type: "trained", outcome, pairs: pairs.map((one) => one.id) };
}

import { type Contour, defaultContour } from "../../src/base/contour.ts";
import type { DeviceSummary, EventBody, LoopEvent } from "../../src/base/events.ts";
import { sha256Hex } from "../../src/base/hash.ts";
import type { Pair, PairStatus, Picture } from "../../src/base/records.ts";
import { rngFor } from "../../src/base/rng.ts";
import type { AdapterSnapshot, Commit, LoopState } from "../../src/loop/ports.ts";

/** A made-up run: everything follows from the seed, times from `clock`. */

export const device: DeviceSummary = {
  vendor: "test",
  architecture: "none",
  description: "a made-up device",
  fallback: true,
  features: [],
  variants: { matmul: "32x32" },
};

export function picture(label: string, size = 4): Picture {
  const rng = rngFor(1, "picture", label);
  return { size, rgb: Uint8Array.from({ length: size * size * 3 }, () => rng.int(256)) };
}

export function pairOf(label: string, round: number, source = "camera:B"): Pair {
  const shown = picture(label);
  const candidate = (text: string, score: number) => ({
    tokens: [7, text.length, 2],
    text,
    logprob: -1.25 * text.length,
    finished: true,
    scores: { pixels: score, "onnx-image": score / 2 },
    redrawn: picture(`${label} ${text}`),
  });
  return {
    id: sha256Hex("pair", label),
    task: { id: sha256Hex("task", label), kind: "describe", prompt: [1, 5, 9], picture: shown, source, round },
    chosen: candidate("red square", 0.75),
    rejected: { ...candidate("blue", 0.25), redrawn: null },
    margin: 0.5,
    reference: { adapter: "base", chosen: -3.5, rejected: -4.25 },
    status: "fresh",
    round,
    seed: 11,
  };
}

export function adapterOf(label: string, bytes = 256): AdapterSnapshot {
  const rng = rngFor(2, "adapter", label);
  const adapter = Uint8Array.from({ length: bytes }, () => rng.int(256));
  return {
    hash: sha256Hex(adapter),
    adapter,
    config: `{"r": 8, "name": "${label}"}`,
    optimizer: Uint8Array.from({ length: 2 * bytes }, () => rng.int(256)),
  };
}

export interface Change {
  readonly events: readonly EventBody[];
  readonly putPairs?: readonly Pair[];
  readonly setStatus?: readonly { id: string; status: PairStatus }[];
  readonly putAdapters?: readonly AdapterSnapshot[];
  readonly removePairs?: readonly string[];
  readonly state?: Partial<LoopState>;
}

/** Makes commits that continue each other. */
export class Script {
  state: LoopState;
  readonly clock: () => number;

  constructor(run: string, seed = 7, clock: () => number = counter(1_700_000_000_000), contour = defaultContour) {
    this.clock = clock;
    this.state = {
      run,
      seed,
      contour,
      round: 0,
      phase: "collect",
      seq: 0,
      incumbent: "base",
      best: "base",
      candidate: null,
      gate: { index: 0, key: "", keyHash: "", used: 0, sinceGain: 0 },
      finished: null,
    };
  }

  commit(change: Change): Commit {
    const at = this.clock();
    const events: LoopEvent[] = change.events.map((body, i) => ({
      ...body,
      seq: this.state.seq + i,
      at,
      round: this.state.round,
    }));
    this.state = { ...this.state, ...change.state, seq: this.state.seq + events.length };
    return {
      state: this.state,
      events,
      putPairs: change.putPairs ?? [],
      setStatus: change.setStatus ?? [],
      putAdapters: change.putAdapters ?? [],
      ...(change.removePairs ? { removePairs: change.removePairs } : {}),
    };
  }
}

export const counter = (start: number, step = 1000): (() => number) => {
  let time = start - step;
  return () => {
    time += step;
    return time;
  };
};

/** A run of three rounds: pairs, two adapters, a gate that accepts and one that rejects, a visitor's correction. */
export function demoRun(run: string, seed = 7, clock?: () => number, contour: Contour = defaultContour): Commit[] {
  const script = new Script(run, seed, clock, contour);
  const commits: Commit[] = [];
  const key = sha256Hex("key", String(seed));
  const started: EventBody = {
    type: "started",
    run,
    contour,
    seed,
    device,
    base: sha256Hex("base weights"),
    versions: { autodidact: "0.1.0" },
  };
  commits.push(script.commit({ events: [started, { type: "sealed", keyHash: sha256Hex(key) }] }));
  for (const round of [0, 1, 2]) {
    const pairs = [0, 1, 2].map((i) => pairOf(`${seed}/${round}/${i}`, round));
    commits.push(
      script.commit({
        events: [
          {
            type: "proposed",
            tasks: pairs.map((pair) => pair.task.id),
            source: "camera:B",
            preview: pairs.slice(0, 1).map((pair) => pair.task),
          },
          { type: "paired", pairs: pairs.map((pair) => pair.id), meanMargin: 0.5, reference: "base" },
        ],
        putPairs: pairs,
        state: { phase: "train" },
      }),
    );
    const candidate = adapterOf(`${seed}/${round}`);
    commits.push(
      script.commit({
        events: [
          {
            type: "trained",
            outcome: { kind: "trained", steps: [], adapter: candidate.hash },
            pairs: pairs.map((pair) => pair.id),
          },
        ],
        setStatus: pairs.map((pair) => ({ id: pair.id, status: "trained" })),
        putAdapters: [candidate],
        state: { phase: "gate", candidate: { adapter: candidate.hash, rounds: [round], deferrals: 0 } },
      }),
    );
    const accepted = round !== 1;
    const previous = script.state.incumbent;
    const report = {
      tests: [],
      items: 50,
      candidate: candidate.hash,
      incumbent: previous,
      keyHash: sha256Hex(key),
      key,
      alpha: 0.05,
    };
    const events: EventBody[] = accepted
      ? [
          {
            type: "gated",
            report: { ...report, decision: { kind: "accepted", adapter: candidate.hash, superior: true, detail: "" } },
          },
          { type: "committed", adapter: candidate.hash, previous, pairs: 3, rounds: [round] },
        ]
      : [
          {
            type: "gated",
            report: { ...report, decision: { kind: "rejected", reason: "worse-than-incumbent", detail: "" } },
          },
          {
            type: "rejected",
            adapter: candidate.hash,
            restored: previous,
            reason: "worse-than-incumbent",
            detail: "",
            pairs: 3,
          },
        ];
    commits.push(
      script.commit({
        events,
        setStatus: pairs.map((pair) => ({ id: pair.id, status: accepted ? "accepted" : "quarantined" })),
        state: {
          phase: "collect",
          round: round + 1,
          candidate: null,
          ...(accepted ? { incumbent: candidate.hash, best: candidate.hash } : {}),
        },
      }),
    );
  }
  const correction = pairOf(`${seed}/visitor`, 2, "visitor");
  commits.push(
    script.commit({
      events: [{ type: "corrected", pair: correction.id, detail: "drawn by a visitor" }],
      putPairs: [correction],
    }),
  );
  return commits;
}

export const promptText = (ids: readonly number[]): string => ids.map((id) => `w${id}`).join(" ");

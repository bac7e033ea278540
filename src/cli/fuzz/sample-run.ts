/** A made-up run of a few events, as an archive: what the fuzzer changes. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defaultContour } from "../../base/contour.ts";
import type { EventBody, LoopEvent } from "../../base/events.ts";
import { sha256Hex } from "../../base/hash.ts";
import type { Pair } from "../../base/records.ts";
import { rngFor } from "../../base/rng.ts";
import type { AdapterSnapshot, Commit, LoopState } from "../../loop/ports.ts";
import { collect, exportRun } from "../../store/archive.ts";
import { openFolderStore } from "../../store/folder.ts";
import { decode } from "../../world/vocabulary.ts";

const RUN = "sample";
const KEY = sha256Hex("key");

export function samplePair(n: number): Pair {
  const rng = rngFor(n, "fuzz", "pair");
  const picture = { size: 2, rgb: Uint8Array.from({ length: 12 }, () => rng.int(256)) };
  const candidate = (text: string, score: number) => ({
    tokens: [9, 2],
    text,
    logprob: -1.5,
    finished: true,
    scores: { pixels: score },
    redrawn: picture,
  });
  return {
    id: sha256Hex("pair", String(n)),
    task: { id: sha256Hex("task", String(n)), kind: "describe", prompt: [1, 5], picture, source: "camera:B", round: 1 },
    chosen: candidate("red circle b 3", 0.75),
    rejected: { ...candidate("blue", 0.25), redrawn: null },
    margin: 0.5,
    reference: { adapter: "base", chosen: -3.5, rejected: -4.25 },
    status: "fresh",
    round: 1,
    seed: 11,
  };
}

function sampleAdapter(): AdapterSnapshot {
  const adapter = Uint8Array.from({ length: 64 }, (_, i) => i);
  return {
    hash: sha256Hex(adapter),
    adapter,
    config: '{"r": 8}',
    optimizer: Uint8Array.from({ length: 64 }, (_, i) => 64 - i),
  };
}

/** The archive that `loop --out` would write of this run. */
export async function sampleArchive(): Promise<Uint8Array> {
  const directory = mkdtempSync(join(tmpdir(), "autodidact-fuzz-"));
  const store = await openFolderStore(directory, { run: RUN });
  try {
    for (const change of commits()) await store.commit(change);
    return await collect(exportRun(store, { promptText: (ids) => decode(ids) }));
  } finally {
    store.close();
    rmSync(directory, { recursive: true });
  }
}

function commits(): Commit[] {
  let state: LoopState = {
    run: RUN,
    seed: 7,
    contour: defaultContour,
    round: 1,
    phase: "collect",
    seq: 0,
    incumbent: "base",
    best: "base",
    candidate: null,
    gate: { index: 0, key: "", keyHash: "", used: 0, sinceGain: 0 },
    finished: null,
  };
  const commit = (bodies: readonly EventBody[], more: Partial<Commit> & { next?: Partial<LoopState> }): Commit => {
    const { next, ...change } = more;
    const events = bodies.map(
      (body, i): LoopEvent => ({ ...body, seq: state.seq + i, at: 1_700_000_000_000, round: 1 }),
    );
    state = { ...state, ...next, seq: state.seq + events.length };
    return { state, events, putPairs: [], setStatus: [], putAdapters: [], ...change };
  };
  const pairs = [samplePair(1), samplePair(2)];
  const ids = pairs.map(({ id }) => id);
  const adapter = sampleAdapter();
  const device = {
    vendor: "none",
    architecture: "none",
    description: "none",
    fallback: true,
    features: [],
    variants: {},
  };
  const started: EventBody = {
    type: "started",
    run: RUN,
    contour: defaultContour,
    seed: 7,
    device,
    base: sha256Hex("base"),
    versions: {},
  };
  const report = {
    tests: [],
    items: 50,
    candidate: adapter.hash,
    incumbent: "base",
    keyHash: sha256Hex(KEY),
    key: KEY,
    alpha: 0.05,
    decision: { kind: "accepted", adapter: adapter.hash, superior: true, detail: "" },
  } as const;
  return [
    commit([started, { type: "sealed", keyHash: sha256Hex(KEY) }], {}),
    commit([{ type: "paired", pairs: ids, meanMargin: 0.5, reference: "base" }], {
      putPairs: pairs,
      next: { phase: "train" },
    }),
    commit([{ type: "trained", outcome: { kind: "trained", steps: [], adapter: adapter.hash }, pairs: ids }], {
      putAdapters: [adapter],
      setStatus: ids.map((id) => ({ id, status: "trained" })),
      next: { phase: "gate", candidate: { adapter: adapter.hash, rounds: [1], deferrals: 0 } },
    }),
    commit(
      [
        { type: "gated", report },
        { type: "committed", adapter: adapter.hash, previous: "base", pairs: 2, rounds: [1] },
        { type: "finished", reason: "stopped", detail: "a sample" },
      ],
      {
        setStatus: ids.map((id) => ({ id, status: "accepted" })),
        next: { phase: "finished", finished: "stopped", candidate: null, incumbent: adapter.hash, best: adapter.hash },
      },
    ),
  ];
}

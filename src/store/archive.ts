import { canonicalJson } from "../base/canonical.ts";
import { StoreError } from "./errors.ts";
import { pairDigest, sumJournal } from "./journal.ts";
import { inWords, type ManifestFile, writeManifest } from "./manifest.ts";
import { rowOfPair } from "./rows.ts";
import type { RunStore } from "./run.ts";
import { zipWriter } from "./zip.ts";

export interface ExportOptions {
  /** The name a person gave the run; by default the run's own. */
  readonly title?: string;
  /** The text of prompt ids, for readers of replay.jsonl. */
  readonly promptText: (ids: readonly number[]) => string;
}

/** Events, or pairs, held in memory at a time. */
const page = 64;

/**
 * The archive of a run as a stream of pieces of a zip: journal.jsonl, events.jsonl, replay.jsonl,
 * adapters/<hash>/{adapter_config.json, adapter_model.safetensors, optimizer.safetensors} and, last because it lists the
 * others, manifest.json. What is exported is the run as it stood when this began, even if it goes on meanwhile.
 * Throws a StoreError: refused for a run without events, stale if the run replaced data of the export meanwhile, damaged if the store does not hold what its journal says.
 */
export async function* exportRun(store: RunStore, options: ExportOptions): AsyncGenerator<Uint8Array> {
  const { state, lines } = await store.snapshot();
  const [started] = await store.events({ since: 0, limit: 1 });
  const last = lines.at(-1);
  if (state === null || last === undefined || started?.type !== "started")
    throw new StoreError("refused", `The run ${store.run} has not begun, so there is nothing to export.`);
  const sum = sumJournal(lines);
  const zip = zipWriter();
  const files: ManifestFile[] = [];
  const endFile = (path: string): void => void files.push({ path, ...zip.endEntry() });

  zip.entry("journal.jsonl");
  for (const line of lines) zip.write(jsonLine(line));
  endFile("journal.jsonl");
  yield* zip.take();

  zip.entry("events.jsonl");
  for (let since = 0; since <= last.seq; since += page) {
    for (const event of await store.events({ since, limit: Math.min(page, last.seq + 1 - since) }))
      zip.write(jsonLine(event));
    yield* zip.take();
  }
  endFile("events.jsonl");

  zip.entry("replay.jsonl");
  const ids = [...sum.pairs.keys()];
  let visitorPairs = 0;
  for (let i = 0; i < ids.length; i += page) {
    for (const stored of await store.pairsById(ids.slice(i, i + page))) {
      const { digest, status } = sum.pairs.get(stored.id) as { digest: string; status: typeof stored.status };
      if (pairDigest(stored) !== digest) throw await changedMeanwhile(store, last.seq, stored.id);
      if (stored.task.source === "visitor") visitorPairs++;
      zip.write(jsonLine(rowOfPair({ ...stored, status }, options.promptText(stored.task.prompt))));
    }
    yield* zip.take();
  }
  endFile("replay.jsonl");

  for (const hash of sum.adapters.keys()) {
    const snapshot = await store.adapter(hash);
    if (snapshot === null)
      throw new StoreError(
        "damaged",
        `The adapter ${hash} is not in the store, so the run cannot be exported as it was.`,
      );
    const parts = {
      "adapter_config.json": utf8(snapshot.config),
      "adapter_model.safetensors": snapshot.adapter,
      "optimizer.safetensors": snapshot.optimizer,
    };
    for (const [name, bytes] of Object.entries(parts)) {
      const path = `adapters/${hash}/${name}`;
      zip.entry(path, { stored: true }); // floats do not deflate, and the writer keeps the tables of what it has deflated
      zip.write(bytes);
      endFile(path);
      yield* zip.take();
    }
  }

  zip.entry("manifest.json", { stored: true });
  const { contour, seed, device, base, versions } = started;
  const contains = {
    events: lines.length,
    pairs: ids.length,
    visitorPairs,
    adapters: sum.adapters.size,
    deleted: sum.removed.size,
  };
  zip.write(
    writeManifest({
      run: store.run,
      title: options.title ?? store.run,
      seed,
      base,
      versions,
      device,
      contour,
      contains,
      says: inWords(contains),
      head: { seq: last.seq, content: last.content, hash: last.hash },
      state,
      files,
    }),
  );
  zip.endEntry();
  zip.end();
  yield* zip.take();
}

/** Training may put a pair again with a new reference; what it was at the start of the export is then gone. */
async function changedMeanwhile(store: RunStore, seq: number, pair: string): Promise<StoreError> {
  const goneOn = ((await store.state())?.seq ?? 0) > seq + 1;
  return goneOn
    ? new StoreError(
        "stale",
        "The run went on while it was exported, and data of the export was replaced. Pause the run and export it again.",
      )
    : new StoreError(
        "damaged",
        `The stored pair ${pair} is not the one in the journal, so the run cannot be exported as it was.`,
      );
}

/** The pieces of a stream as one array. */
export async function collect(chunks: AsyncIterable<Uint8Array>): Promise<Uint8Array> {
  const parts: Uint8Array[] = [];
  for await (const chunk of chunks) parts.push(chunk);
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const jsonLine = (value: unknown): Uint8Array => utf8(`${canonicalJson(value)}\n`);

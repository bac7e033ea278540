import { canonicalJson, parseCanonical } from "../base/canonical.ts";
import type { LoopEvent } from "../base/events.ts";
import { sha256Hex } from "../base/hash.ts";
import type { Pair } from "../base/records.ts";
import type { AdapterSnapshot } from "../loop/ports.ts";
import { StoreError } from "./errors.ts";
import {
  adapterDigests,
  eventDigest,
  type JournalLine,
  pairDigest,
  stateDigest,
  sumJournal,
  verifyJournal,
} from "./journal.ts";
import { inWords, type Manifest, readManifest } from "./manifest.ts";
import { pairOfRow } from "./rows.ts";
import type { RunContents, RunStore } from "./run.ts";
import { eventShape, lineShape } from "./shapes.ts";
import { defaultLimits, readZip, type ZipEntry, ZipError, type ZipLimits } from "./zip.ts";

/** One thing that is wrong with an archive. `where` names the file, and the line if there is one. */
export interface ArchiveProblem {
  readonly where: string;
  readonly message: string;
}

export type ArchiveVerdict =
  | {
      readonly ok: true;
      readonly run: string;
      /** Journal lines, and how many pairs and adapters match it. */
      readonly lines: number;
      readonly pairs: number;
      readonly adapters: number;
      /** Last hash of the journal: compare it with one that you noted elsewhere to know that the whole was not made anew. */
      readonly head: string;
      /** False if another tool has packed the archive again: its contents are as exported, its container is not. */
      readonly sealed: boolean;
      /** What it contains, in plain words. */
      readonly says: string;
    }
  | { readonly ok: false; readonly problems: readonly ArchiveProblem[] };

/**
 * Checks a run archive against itself: container, manifest, the journal's chains, each event, pair and adapter against the
 * journal, each gate's key against its seal; nothing may be changed, missing or additional. Never throws on bad bytes.
 */
export function verifyArchive(bytes: Uint8Array, limits: ZipLimits = defaultLimits): ArchiveVerdict {
  const read = readArchive(bytes, limits);
  if (!read.ok) return read;
  const { contents, sealed, head, says } = read;
  return {
    ok: true,
    run: contents.state.run,
    lines: contents.lines.length,
    pairs: contents.pairs.length,
    adapters: contents.adapters.length,
    head,
    sealed,
    says,
  };
}

/** Where an archive enters: the store of its run. */
type Entry = Pick<RunStore, "restore">;

/**
 * Imports an archive: checks everything, and only then fills the (empty) store of that run in one transaction.
 * `open` gives the store of a run by name. Throws a StoreError (refused) that says what is wrong, or that the run is already there.
 */
export async function importRun(
  bytes: Uint8Array,
  open: (run: string) => Entry | Promise<Entry>,
  limits: ZipLimits = defaultLimits,
): Promise<RunContents> {
  const read = readArchive(bytes, limits);
  if (!read.ok) {
    const [first, ...others] = read.problems;
    const more = others.length === 0 ? "" : ` (and ${others.length} more problems)`;
    throw new StoreError("refused", `The archive was not imported. ${first?.where}: ${first?.message}${more}`);
  }
  const store = await open(read.contents.state.run);
  await store.restore(read.contents);
  return read.contents;
}

/** Everything of an archive that is in order, or what is wrong with it. */
export type Read =
  | {
      readonly ok: true;
      readonly contents: RunContents;
      readonly sealed: boolean;
      readonly head: string;
      readonly says: string;
    }
  | { readonly ok: false; readonly problems: readonly ArchiveProblem[] };

/** More problems than this are not listed: the file is not what it says. */
const maxProblems = 50;
const logFiles = ["journal.jsonl", "events.jsonl", "replay.jsonl"] as const;
const adapterFiles = ["adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"] as const;

/** Reads an archive with all the checks of verifyArchive. Never throws on bad bytes. */
export function readArchive(bytes: Uint8Array, limits: ZipLimits = defaultLimits): Read {
  const problems: ArchiveProblem[] = [];
  const report = (where: string, message: string): void => {
    if (problems.length < maxProblems) problems.push({ where, message });
  };
  const failed = (): Read => ({ ok: false, problems });

  const container = openContainer(bytes, limits, report);
  if (container === null) return failed();
  const { entries, sealed } = container;
  const manifest = openManifest(entries, report);
  if (manifest === null) return failed();
  const files = checkFiles(entries, manifest, report);
  if (problems.length > 0) return failed();

  const lines = readLines(files, "journal.jsonl", (value) => lineShape(value, "line"), report);
  const events = readLines(files, "events.jsonl", (value) => eventShape(value, "event"), report);
  const pairs = readLines(files, "replay.jsonl", pairOfRow, report);
  if (problems.length > 0) return failed();

  const verdict = verifyJournal(lines, { run: manifest.run, head: manifest.head });
  if (!verdict.ok) for (const { message } of verdict.problems) report("journal.jsonl", message);
  checkEvents(events, lines, manifest, report);
  checkSeals(events, report);
  checkTombstones(events, lines, report);
  const adapters = checkData(files, lines, pairs, manifest, report);
  if (problems.length > 0) return failed();
  const contents = { title: manifest.title, state: manifest.state, lines, events, pairs, adapters };
  return { ok: true, contents, sealed, head: manifest.head.hash, says: inWords(manifest.contains) };
}

type Report = (where: string, message: string) => void;

function openContainer(
  bytes: Uint8Array,
  limits: ZipLimits,
  report: Report,
): { entries: Map<string, ZipEntry>; sealed: boolean } | null {
  try {
    const { entries, sealed } = readZip(bytes, limits);
    for (const { path } of entries) if (!isExpected(path)) report(shown(path), whyUnexpected(path));
    return { entries: new Map(entries.map((entry) => [entry.path, entry])), sealed };
  } catch (error) {
    if (!(error instanceof ZipError)) throw error;
    report("archive", error.message);
    return null;
  }
}

const isExpected = (path: string): boolean =>
  path === "manifest.json" ||
  logFiles.includes(path as (typeof logFiles)[number]) ||
  new RegExp(`^adapters/[0-9a-f]{64}/(${adapterFiles.join("|").replaceAll(".", "\\.")})$`).test(path);

function whyUnexpected(path: string): string {
  if (/(^|[/\\])\.\.([/\\]|$)|^[/\\]|^[A-Za-z]:/.test(path) || path.includes("\0"))
    return "the name leads out of the archive; such a file is refused.";
  return "this file does not belong to a run archive.";
}

function openManifest(entries: ReadonlyMap<string, ZipEntry>, report: Report): Manifest | null {
  const entry = entries.get("manifest.json");
  if (entry === undefined) {
    report("manifest.json", "it is missing: this is not a run archive.");
    return null;
  }
  try {
    return readManifest(entry.read());
  } catch (error) {
    report("manifest.json", (error as Error).message);
    return null;
  }
}

/** Unpacks every file and checks it against the manifest: exactly those files, those sizes, those hashes. */
function checkFiles(
  entries: ReadonlyMap<string, ZipEntry>,
  manifest: Manifest,
  report: Report,
): Map<string, Uint8Array> {
  const files = new Map<string, Uint8Array>();
  const listed = new Set(manifest.files.map((file) => file.path));
  if (listed.size !== manifest.files.length) report("manifest.json", "it lists a file twice.");
  for (const path of logFiles) if (!listed.has(path)) report(path, "the manifest does not list it.");
  for (const path of entries.keys())
    if (path !== "manifest.json" && !listed.has(path))
      report(shown(path), "it was added: the manifest does not list it.");
  for (const { path, bytes: size, sha256 } of manifest.files) {
    const entry = entries.get(path);
    if (entry === undefined) {
      report(shown(path), "it is missing, but the manifest lists it.");
      continue;
    }
    try {
      const bytes = entry.read();
      if (bytes.length !== size || sha256Hex(bytes) !== sha256)
        report(shown(path), "it was changed: it does not match the SHA-256 in the manifest.");
      files.set(path, bytes);
    } catch (error) {
      if (!(error instanceof ZipError)) throw error;
      report(shown(path), error.message);
    }
  }
  return files;
}

/** The values of a JSON-lines file, each line canonical and of the right shape. */
function readLines<T>(
  files: ReadonlyMap<string, Uint8Array>,
  path: string,
  read: (value: unknown) => T,
  report: Report,
): T[] {
  const values: T[] = [];
  const bytes = files.get(path) ?? new Uint8Array(0);
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  for (let start = 0, n = 1; start < bytes.length; n++) {
    const feed = bytes.indexOf(10, start);
    const where = `${path}, line ${n}`;
    if (feed < 0) {
      report(where, "the line is cut off.");
      break;
    }
    try {
      values.push(read(parseCanonical(decoder.decode(bytes.subarray(start, feed)))));
    } catch (error) {
      report(where, (error as Error).message);
    }
    start = feed + 1;
  }
  return values;
}

function checkEvents(
  events: readonly LoopEvent[],
  lines: readonly JournalLine[],
  manifest: Manifest,
  report: Report,
): void {
  const name = "events.jsonl";
  for (let i = 0; i < Math.max(events.length, lines.length); i++) {
    const [event, line] = [events[i], lines[i]];
    const where = `${name}, line ${i + 1}`;
    if (event === undefined) report(where, `event ${line?.seq} is missing.`);
    else if (line === undefined) report(where, `event ${event.seq} was added: the journal has no line for it.`);
    else if (
      event.seq !== line.seq ||
      event.round !== line.round ||
      event.type !== line.type ||
      event.at !== line.at ||
      eventDigest(event) !== line.event
    )
      report(where, `event ${event.seq} was changed: it does not match its journal line.`);
  }
  const started = events[0];
  if (started?.type !== "started") {
    report(name, "the first event should be the run's start.");
    return;
  }
  if (started.run !== manifest.run) report(name, "the run started under another name than the manifest says.");
  for (const key of ["seed", "base", "versions", "device", "contour"] as const) {
    if (canonicalJson(started[key]) !== canonicalJson(manifest[key] ?? null))
      report("manifest.json", `its ${key} is not that of the run's first event.`);
  }
}

/** A gate's key, shown after its decision, must be the one whose hash was sealed before. */
function checkSeals(events: readonly LoopEvent[], report: Report): void {
  const sealed = new Set<string>();
  events.forEach((event, i) => {
    if (event.type === "sealed") sealed.add(event.keyHash);
    if (event.type !== "gated" || event.report.key === "") return;
    const { key, keyHash } = event.report;
    if (sha256Hex(key) !== keyHash) report(`events.jsonl, line ${i + 1}`, "the gate's key does not match its hash.");
    if (!sealed.has(keyHash)) report(`events.jsonl, line ${i + 1}`, "the gate's key was not sealed before the gate.");
  });
}

/** Every deletion in the journal is told by an event of its commit, and the other way round. */
function checkTombstones(events: readonly LoopEvent[], lines: readonly JournalLine[], report: Report): void {
  let told: string[] = [];
  lines.forEach(({ seq, data }, i) => {
    const event = events[i];
    if (event?.type === "deleted") told.push(...event.pairs);
    if (data === null) return;
    if (canonicalJson(data.removed ?? []) !== canonicalJson(told))
      report(`journal.jsonl, line ${i + 1}`, `event ${seq} deletes other pairs than the run's events say.`);
    told = [];
  });
}

/** Pairs, adapters and state must be exactly what the journal says. Returns the adapters. */
function checkData(
  files: ReadonlyMap<string, Uint8Array>,
  lines: readonly JournalLine[],
  pairs: readonly Pair[],
  manifest: Manifest,
  report: Report,
): AdapterSnapshot[] {
  let sum: ReturnType<typeof sumJournal>;
  try {
    sum = sumJournal(lines);
  } catch (error) {
    report("journal.jsonl", (error as Error).message);
    return [];
  }
  const order = [...sum.pairs.keys()];
  pairs.forEach((pair, i) => {
    const where = `replay.jsonl, line ${i + 1}`;
    const known = sum.pairs.get(pair.id);
    if (known === undefined) report(where, `the pair ${shown(pair.id)} was added: the journal does not know it.`);
    else if (pairDigest(pair) !== known.digest)
      report(where, `the pair ${shown(pair.id)} was changed: it does not match the journal.`);
    else if (pair.status !== known.status)
      report(where, `the pair ${shown(pair.id)} is ${pair.status} here, but ${known.status} in the journal.`);
    else if (order[i] !== pair.id) report(where, `the pair ${shown(pair.id)} is not in its place, or stands twice.`);
  });
  const found = new Set(pairs.map((pair) => pair.id));
  for (const id of order) if (!found.has(id)) report("replay.jsonl", `the pair ${shown(id)} is missing.`);

  if (
    stateDigest(manifest.state) !== sum.state ||
    manifest.state.run !== manifest.run ||
    manifest.state.seq !== manifest.head.seq + 1
  )
    report("manifest.json", "its state is not the one in the journal.");
  const visitorPairs = pairs.filter((pair) => pair.task.source === "visitor").length;
  const contains = {
    events: lines.length,
    pairs: pairs.length,
    visitorPairs,
    adapters: sum.adapters.size,
    ...(manifest.version === 1 ? {} : { deleted: sum.removed.size }),
  };
  const says = manifest.version === 1 ? undefined : inWords(contains);
  if (canonicalJson(contains) !== canonicalJson(manifest.contains) || says !== manifest.says)
    report("manifest.json", "it says that it contains something else than it does.");

  const adapters = readAdapters(files, sum.adapters, report);
  for (const hash of new Set([
    manifest.state.incumbent,
    manifest.state.best,
    manifest.state.candidate?.adapter ?? "base",
  ])) {
    if (hash !== "base" && !sum.adapters.has(hash))
      report("adapters", `the run stands on the adapter ${shown(hash)}, which is not in the archive.`);
  }
  return adapters;
}

function readAdapters(
  files: ReadonlyMap<string, Uint8Array>,
  expected: ReadonlyMap<string, { config: string; optimizer: string }>,
  report: Report,
): AdapterSnapshot[] {
  const adapters: AdapterSnapshot[] = [];
  for (const [hash, digests] of expected) {
    const [config, adapter, optimizer] = adapterFiles.map((name) => files.get(`adapters/${hash}/${name}`));
    if (config === undefined || adapter === undefined || optimizer === undefined) {
      report(`adapters/${hash}`, "the adapter is missing, or not whole.");
      continue;
    }
    const snapshot: AdapterSnapshot = {
      hash,
      adapter,
      config: new TextDecoder("utf-8", { ignoreBOM: true }).decode(config),
      optimizer,
    };
    const found = adapterDigests(snapshot);
    if (found.hash !== hash || found.config !== digests.config || found.optimizer !== digests.optimizer)
      report(`adapters/${hash}`, "the adapter was changed: it does not match the journal.");
    adapters.push(snapshot);
  }
  for (const path of files.keys()) {
    const hash = /^adapters\/([0-9a-f]{64})\//.exec(path)?.[1];
    if (hash !== undefined && !expected.has(hash))
      report(path, "it was added: the journal does not know this adapter.");
  }
  return adapters;
}

/** A text from outside, short and without control characters. */
const shown = (text: string): string => (/^[\w./:-]{1,160}$/.test(text) ? text : JSON.stringify(text.slice(0, 80)));

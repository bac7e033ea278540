import { sha256 } from "@noble/hashes/sha2.js";
import { bytesToHex } from "@noble/hashes/utils.js";
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
import { listed, type RunContents, type RunStore } from "./run.ts";
import { eventShape, lineShape } from "./shapes.ts";
import { type ByteInput, defaultLimits, readZip, type ZipEntry, ZipError, type ZipLimits } from "./zip.ts";

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
export async function verifyArchive(input: ByteInput, limits: ZipLimits = defaultLimits): Promise<ArchiveVerdict> {
  const read = await readArchive(input, limits);
  if (!read.ok) return read;
  const { contents, sealed, head, says, counts } = read;
  return {
    ok: true,
    run: contents.state.run,
    lines: contents.lines.length,
    pairs: counts.pairs,
    adapters: counts.adapters,
    head,
    sealed,
    says,
  };
}

/** Where an archive enters: the store of its run. */
type Entry = Pick<RunStore, "restore">;

/**
 * Imports an archive: checks everything, and only then fills the (empty) store of that run. The archive is read several
 * times, slice by slice, and never held whole. `open` gives the store of a run by name. Throws a StoreError (refused)
 * that says what is wrong, or that the run is already there.
 */
export async function importRun(
  input: ByteInput,
  open: (run: string) => Entry | Promise<Entry>,
  limits: ZipLimits = defaultLimits,
): Promise<RunContents> {
  const read = await readArchive(input, limits);
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
      readonly counts: { readonly pairs: number; readonly adapters: number };
    }
  | { readonly ok: false; readonly problems: readonly ArchiveProblem[] };

/** More problems than this are not listed: the file is not what it says. */
const maxProblems = 50;
const logFiles = ["journal.jsonl", "events.jsonl", "replay.jsonl"] as const;
const adapterFiles = ["adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors"] as const;

/** A manifest is held whole. */
const maxManifestBytes = 2 ** 25;
/** So is a line: an imported run's has the digests of all its pairs, 200 bytes each. */
const maxLineBytes = 2 ** 26;

/**
 * Reads an archive with all the checks of verifyArchive: first every file against the manifest, then what is in them
 * against the journal. Held in memory are manifest and journal, and of the rest one line or adapter at a time. Never
 * throws on bad bytes.
 */
export async function readArchive(input: ByteInput, limits: ZipLimits = defaultLimits): Promise<Read> {
  const problems: ArchiveProblem[] = [];
  const report = (where: string, message: string): void => {
    if (problems.length < maxProblems) problems.push({ where, message });
  };
  const failed = (): Read => ({ ok: false, problems });

  const container = await openContainer(input, limits, report);
  if (container === null) return failed();
  const { entries, sealed } = container;
  const manifest = await openManifest(entries, report);
  if (manifest === null) return failed();
  const files = await checkFiles(entries, manifest, report);
  if (problems.length > 0) return failed();

  const lines = await listed(readLines(files, "journal.jsonl", (value) => lineShape(value, "line"), report));
  if (problems.length > 0) return failed();
  const verdict = verifyJournal(lines, { run: manifest.run, head: manifest.head });
  if (!verdict.ok) for (const { message } of verdict.problems) report("journal.jsonl", message);
  await checkEvents(readLines(files, "events.jsonl", readEvent, report), lines, manifest, report);
  const counts = await checkData(files, lines, manifest, report);
  if (problems.length > 0) return failed();

  const { title, state } = manifest;
  const contents: RunContents = {
    title,
    state,
    lines,
    events: () => readLines(files, "events.jsonl", readEvent, changedMeanwhile),
    pairs: () => readLines(files, "replay.jsonl", pairOfRow, changedMeanwhile),
    adapters: () => readAdapters(files, sumJournal(lines).adapters, changedMeanwhile),
  };
  return { ok: true, contents, sealed, head: manifest.head.hash, says: inWords(manifest.contains), counts };
}

/** Where something that has been checked is not the same any more. */
function changedMeanwhile(where: string, message: string): never {
  throw new StoreError("refused", `The archive changed while it was read. ${where}: ${message}`);
}

const readEvent = (value: unknown): LoopEvent => eventShape(value, "event");

type Report = (where: string, message: string) => void;

async function openContainer(
  input: ByteInput,
  limits: ZipLimits,
  report: Report,
): Promise<{ entries: Map<string, ZipEntry>; sealed: boolean } | null> {
  try {
    const { entries, sealed } = await readZip(input, limits);
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

async function openManifest(entries: ReadonlyMap<string, ZipEntry>, report: Report): Promise<Manifest | null> {
  const entry = entries.get("manifest.json");
  if (entry === undefined) {
    report("manifest.json", "it is missing: this is not a run archive.");
    return null;
  }
  if (entry.bytes > maxManifestBytes) {
    report("manifest.json", `it would unpack to ${entry.bytes} bytes; at most ${maxManifestBytes} are accepted.`);
    return null;
  }
  try {
    return readManifest(await entry.read());
  } catch (error) {
    report("manifest.json", (error as Error).message);
    return null;
  }
}

/** A file of the archive and the SHA-256 that it must have. */
interface ListedFile {
  readonly entry: ZipEntry;
  readonly sha256: string;
}

/** Unpacks every file, piece by piece, and checks it against the manifest: exactly those files, those sizes, those hashes. */
async function checkFiles(
  entries: ReadonlyMap<string, ZipEntry>,
  manifest: Manifest,
  report: Report,
): Promise<Map<string, ListedFile>> {
  const files = new Map<string, ListedFile>();
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
    if (entry.bytes !== size) report(shown(path), fileChanged);
    const file = { entry, sha256 };
    for await (const _ of checkedChunks(shown(path), file, report));
    files.set(path, file);
  }
  return files;
}

const fileChanged = "it was changed: it does not match the SHA-256 in the manifest.";

/** The pieces of a file; what is wrong with its packing, or with its hash in the end, is reported. */
async function* checkedChunks(path: string, file: ListedFile, report: Report): AsyncGenerator<Uint8Array> {
  const hash = sha256.create();
  try {
    for await (const chunk of file.entry.chunks()) {
      hash.update(chunk);
      yield chunk;
    }
  } catch (error) {
    if (!(error instanceof ZipError)) throw error;
    report(path, error.message);
    return;
  }
  if (bytesToHex(hash.digest()) !== file.sha256) report(path, fileChanged);
}

/** The values of a JSON-lines file, each line canonical and of the right shape; what is wrong is reported and left out. */
async function* readLines<T>(
  files: ReadonlyMap<string, ListedFile>,
  path: (typeof logFiles)[number],
  read: (value: unknown) => T,
  report: Report,
): AsyncGenerator<T> {
  const file = files.get(path);
  if (file === undefined) return;
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let n = 1;
  const parsed = (line: Uint8Array): { readonly value: T } | null => {
    try {
      return { value: read(parseCanonical(decoder.decode(line))) };
    } catch (error) {
      report(`${path}, line ${n}`, (error as Error).message);
      return null;
    }
  };
  let parts: Uint8Array[] = []; // of the line that goes on in the next chunk
  let held = 0;
  for await (const chunk of checkedChunks(path, file, report)) {
    let start = 0;
    for (let feed = chunk.indexOf(10); feed >= 0; feed = chunk.indexOf(10, start)) {
      const line = parsed(joined([...parts, chunk.subarray(start, feed)]));
      if (line !== null) yield line.value;
      [parts, held, start] = [[], 0, feed + 1];
      n++;
    }
    if (start === chunk.length) continue;
    parts.push(chunk.slice(start));
    held += chunk.length - start;
    if (held <= maxLineBytes) continue;
    report(`${path}, line ${n}`, `the line has more than ${maxLineBytes} bytes.`);
    return;
  }
  if (held > 0) report(`${path}, line ${n}`, "the line is cut off.");
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  const [first] = parts;
  if (parts.length === 1 && first !== undefined) return first;
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

/** Each event against its journal line, the first against the manifest, each gate's key against its seal, each deletion against its tombstone. */
async function checkEvents(
  events: AsyncIterable<LoopEvent>,
  lines: readonly JournalLine[],
  manifest: Manifest,
  report: Report,
): Promise<void> {
  const name = "events.jsonl";
  const checks = [sealCheck(report), tombstoneCheck(lines, report)];
  let count = 0;
  for await (const event of events) {
    const i = count++;
    const line = lines[i];
    const where = `${name}, line ${i + 1}`;
    if (i === 0) checkStart(event, manifest, report);
    if (line === undefined) report(where, `event ${event.seq} was added: the journal has no line for it.`);
    else if (
      event.seq !== line.seq ||
      event.round !== line.round ||
      event.type !== line.type ||
      event.at !== line.at ||
      eventDigest(event) !== line.event
    )
      report(where, `event ${event.seq} was changed: it does not match its journal line.`);
    for (const check of checks) check(event, i);
  }
  for (const { seq } of lines.slice(count)) report(`${name}, line ${seq + 1}`, `event ${seq} is missing.`);
  if (count === 0) report(name, "the first event should be the run's start.");
}

function checkStart(started: LoopEvent, manifest: Manifest, report: Report): void {
  if (started.type !== "started") {
    report("events.jsonl", "the first event should be the run's start.");
    return;
  }
  if (started.run !== manifest.run)
    report("events.jsonl", "the run started under another name than the manifest says.");
  for (const key of ["seed", "base", "versions", "device", "contour"] as const) {
    if (canonicalJson(started[key]) !== canonicalJson(manifest[key] ?? null))
      report("manifest.json", `its ${key} is not that of the run's first event.`);
  }
}

/** A gate's key, shown after its decision, must be the one whose hash was sealed before. */
function sealCheck(report: Report): (event: LoopEvent, i: number) => void {
  const sealed = new Set<string>();
  return (event, i) => {
    if (event.type === "sealed") sealed.add(event.keyHash);
    if (event.type !== "gated" || event.report.key === "") return;
    const { key, keyHash } = event.report;
    if (sha256Hex(key) !== keyHash) report(`events.jsonl, line ${i + 1}`, "the gate's key does not match its hash.");
    if (!sealed.has(keyHash)) report(`events.jsonl, line ${i + 1}`, "the gate's key was not sealed before the gate.");
  };
}

/** Every deletion in the journal is told by an event of its commit, and the other way round. */
function tombstoneCheck(lines: readonly JournalLine[], report: Report): (event: LoopEvent, i: number) => void {
  let told: string[] = [];
  return (event, i) => {
    if (event.type === "deleted") told.push(...event.pairs);
    const line = lines[i];
    if (line === undefined || line.data === null) return;
    if (canonicalJson(line.data.removed ?? []) !== canonicalJson(told))
      report(`journal.jsonl, line ${i + 1}`, `event ${line.seq} deletes other pairs than the run's events say.`);
    told = [];
  };
}

/** Pairs, adapters and state must be exactly what the journal says. Returns how many pairs and adapters there are. */
async function checkData(
  files: ReadonlyMap<string, ListedFile>,
  lines: readonly JournalLine[],
  manifest: Manifest,
  report: Report,
): Promise<{ pairs: number; adapters: number }> {
  let sum: ReturnType<typeof sumJournal>;
  try {
    sum = sumJournal(lines);
  } catch (error) {
    report("journal.jsonl", (error as Error).message);
    return { pairs: 0, adapters: 0 };
  }
  const { pairs, visitorPairs } = await checkPairs(readLines(files, "replay.jsonl", pairOfRow, report), sum, report);
  if (
    stateDigest(manifest.state) !== sum.state ||
    manifest.state.run !== manifest.run ||
    manifest.state.seq !== manifest.head.seq + 1
  )
    report("manifest.json", "its state is not the one in the journal.");
  const contains = {
    events: lines.length,
    pairs,
    visitorPairs,
    adapters: sum.adapters.size,
    ...(manifest.version === 1 ? {} : { deleted: sum.removed.size }),
  };
  const says = manifest.version === 1 ? undefined : inWords(contains);
  if (canonicalJson(contains) !== canonicalJson(manifest.contains) || says !== manifest.says)
    report("manifest.json", "it says that it contains something else than it does.");

  let adapters = 0;
  for await (const _ of readAdapters(files, sum.adapters, report)) adapters++;
  for (const path of files.keys()) {
    const hash = /^adapters\/([0-9a-f]{64})\//.exec(path)?.[1];
    if (hash !== undefined && !sum.adapters.has(hash))
      report(path, "it was added: the journal does not know this adapter.");
  }
  for (const hash of new Set([
    manifest.state.incumbent,
    manifest.state.best,
    manifest.state.candidate?.adapter ?? "base",
  ])) {
    if (hash !== "base" && !sum.adapters.has(hash))
      report("adapters", `the run stands on the adapter ${shown(hash)}, which is not in the archive.`);
  }
  return { pairs, adapters };
}

async function checkPairs(
  pairs: AsyncIterable<Pair>,
  sum: ReturnType<typeof sumJournal>,
  report: Report,
): Promise<{ pairs: number; visitorPairs: number }> {
  const order = [...sum.pairs.keys()];
  const found = new Set<string>();
  let [count, visitorPairs] = [0, 0];
  for await (const pair of pairs) {
    const i = count++;
    const where = `replay.jsonl, line ${i + 1}`;
    const known = sum.pairs.get(pair.id);
    if (known === undefined) report(where, `the pair ${shown(pair.id)} was added: the journal does not know it.`);
    else if (pairDigest(pair) !== known.digest)
      report(where, `the pair ${shown(pair.id)} was changed: it does not match the journal.`);
    else if (pair.status !== known.status)
      report(where, `the pair ${shown(pair.id)} is ${pair.status} here, but ${known.status} in the journal.`);
    else if (order[i] !== pair.id) report(where, `the pair ${shown(pair.id)} is not in its place, or stands twice.`);
    found.add(pair.id);
    if (pair.task.source === "visitor") visitorPairs++;
  }
  for (const id of order) if (!found.has(id)) report("replay.jsonl", `the pair ${shown(id)} is missing.`);
  return { pairs: count, visitorPairs };
}

/** The adapters that the journal has, one after the other; what is missing or changed is reported. */
async function* readAdapters(
  files: ReadonlyMap<string, ListedFile>,
  expected: ReadonlyMap<string, { config: string; optimizer: string }>,
  report: Report,
): AsyncGenerator<AdapterSnapshot> {
  for (const [hash, digests] of expected) {
    const [config, adapter, optimizer] = adapterFiles.map((name) => files.get(`adapters/${hash}/${name}`));
    if (config === undefined || adapter === undefined || optimizer === undefined) {
      report(`adapters/${hash}`, "the adapter is missing, or not whole.");
      continue;
    }
    let snapshot: AdapterSnapshot;
    try {
      snapshot = {
        hash,
        adapter: await adapter.entry.read(),
        config: new TextDecoder("utf-8", { ignoreBOM: true }).decode(await config.entry.read()),
        optimizer: await optimizer.entry.read(),
      };
    } catch (error) {
      if (!(error instanceof ZipError)) throw error;
      report(`adapters/${hash}`, error.message);
      continue;
    }
    const found = adapterDigests(snapshot);
    if (found.hash !== hash || found.config !== digests.config || found.optimizer !== digests.optimizer)
      report(`adapters/${hash}`, "the adapter was changed: it does not match the journal.");
    yield snapshot;
  }
}

/** A text from outside, short and without control characters. */
const shown = (text: string): string => (/^[\w./:-]{1,160}$/.test(text) ? text : JSON.stringify(text.slice(0, 80)));

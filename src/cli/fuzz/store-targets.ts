/** Run archives: the container, what is in it, and its lines one by one. */
import { unzipSync, type Zippable, zipSync } from "fflate";
import { canonicalJson, parseCanonical } from "../../base/canonical.ts";
import { sha256Hex } from "../../base/hash.ts";
import type { Rng } from "../../base/rng.ts";
import { type JournalLine, verifyJournal } from "../../store/journal.ts";
import { readManifest, writeManifest } from "../../store/manifest.ts";
import { pairOfRow, rowOfPair } from "../../store/rows.ts";
import { eventShape, lineShape } from "../../store/shapes.ts";
import { verifyArchive } from "../../store/verify.ts";
import { readZip, zipWriter } from "../../store/zip.ts";
import { Refused, type Target, WrongRead } from "./fuzz.ts";
import { mutateBytes, mutateJson, mutateLines, mutateText } from "./mutate.ts";
import { same, text, utf8 } from "./same.ts";
import { sampleArchive, samplePair } from "./sample-run.ts";

const SEAL = "autodidact sha256 ";

/** The seal made anew, so that what lies under it is reached. */
function resealed(file: Uint8Array): Uint8Array {
  const start = file.length - SEAL.length - 64;
  if (start < 0) return file;
  const whole = file.slice();
  whole.set(utf8(SEAL + sha256Hex(whole.subarray(0, start))), start);
  return whole;
}

/** Small limits, so that a bomb need not be large to be one. */
const LIMITS = { entries: 100, bytes: 2 ** 24, ratio: 100 };

const zip: Target = {
  name: "zip",
  what: "the zip container of archives",
  async prepare() {
    const writer = zipWriter();
    for (const [path, stored] of [
      ["a.txt", false],
      ["b/c.bin", true],
      ["d.json", false],
    ] as const) {
      writer.entry(path, { stored });
      writer.write(utf8("hello hello hello hello ".repeat(path.length)));
      writer.endEntry();
    }
    writer.end();
    const ours = joinAll(writer.take());
    const theirs = zipSync({ "a.txt": utf8("hello hello hello"), "e.bin": [utf8("raw"), { level: 0 }] });
    const unpacked = async (file: Uint8Array) => {
      const contents: { path: string; bytes: Uint8Array }[] = [];
      for (const entry of (await readZip(file, LIMITS)).entries)
        contents.push({ path: entry.path, bytes: await entry.read() });
      return contents;
    };
    return async (rng) => {
      const sample = rng.pick([ours, theirs]);
      const changed = mutateBytes(sample, rng.pick([ours, theirs]), rng);
      const contents = await unpacked(rng.next() < 0.7 ? resealed(changed) : changed);
      const again = zipWriter();
      for (const { path, bytes } of contents) {
        again.entry(path);
        again.write(bytes);
        again.endEntry();
      }
      again.end();
      same(await unpacked(joinAll(again.take())), contents, "the zip file");
    };
  },
};

const archive: Target = {
  name: "archive",
  what: "a whole run archive, its manifest made to fit the change",
  async prepare() {
    const bytes = await sampleArchive();
    const files = unzipSync(bytes);
    const original = await verifyArchive(bytes);
    return async (rng) => {
      const verdict = await verifyArchive(forged(files, rng), LIMITS);
      if (!verdict.ok) throw new Refused(verdict.problems.map(({ where, message }) => `${where}: ${message}`));
      // What the journal does not cover: the title, and how the container is packed.
      same({ ...verdict, sealed: true }, original, "an archive that was changed and yet verifies");
    };
  },
};

/** A file of the archive changed by its structure; the manifest then lists the new hashes. */
function forged(files: Readonly<Record<string, Uint8Array>>, rng: Rng): Uint8Array {
  const changed: Record<string, Uint8Array> = { ...files };
  const name = rng.pick([
    "manifest.json",
    "journal.jsonl",
    "events.jsonl",
    "replay.jsonl",
    rng.pick(Object.keys(files)),
  ]);
  const file = files[name] as Uint8Array;
  if (name.endsWith(".jsonl")) changed[name] = utf8(mutateLines(text(file), rng, canonical));
  else if (name === "manifest.json") changed[name] = utf8(mutateJson(text(file), rng, canonical));
  else changed[rng.pick([name, name, "../evil", "adapters/x/adapter_config.json"])] = mutateBytes(file, file, rng);
  if (name !== "manifest.json" || rng.next() < 0.7) refit(changed, rng);
  return zipSync(changed as Zippable, { level: 0 });
}

/** A manifest whose list of files and own digest fit, if it can still be read. */
function refit(files: Record<string, Uint8Array>, rng: Rng): void {
  try {
    const { sha256: _, ...manifest } = JSON.parse(text(files["manifest.json"] as Uint8Array));
    const listed = Object.entries(files).filter(([path]) => path !== "manifest.json");
    const entries = listed.map(([path, bytes]) => ({ path, bytes: bytes.length, sha256: sha256Hex(bytes) }));
    files["manifest.json"] = writeManifest({ ...manifest, files: rng.next() < 0.9 ? entries : manifest.files });
  } catch {
    // Changed beyond that: it stays as it is.
  }
}

/** Canonical JSON where the value allows it, else plain JSON. */
function canonical(value: unknown): string {
  try {
    return canonicalJson(parseBytes(value));
  } catch {
    return JSON.stringify(value);
  }
}

/** Bytes stand as {"$bytes": …} in a text that was parsed as plain JSON, and canonical JSON reserves that key. */
const parseBytes = (value: unknown): unknown => parseCanonical(sorted(value));

/** JSON with sorted keys. */
function sorted(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(sorted).join(",")}]`;
  if (typeof value !== "object" || value === null) return JSON.stringify(value);
  const fields = Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1));
  return `{${fields.map(([key, field]) => `${JSON.stringify(key)}:${sorted(field)}`).join(",")}}`;
}

const journal: Target = {
  name: "journal",
  what: "journal and event lines, and the hash chain",
  async prepare() {
    const files = unzipSync(await sampleArchive());
    const { run, head } = readManifest(files["manifest.json"] as Uint8Array);
    const [lines, events] = [text(files["journal.jsonl"] as Uint8Array), text(files["events.jsonl"] as Uint8Array)];
    return (rng) => {
      if (rng.next() < 0.3) {
        for (const line of mutateLines(events, rng, canonical).trimEnd().split("\n")) {
          const event = eventShape(parseCanonical(line), "event");
          same(parseCanonical(canonicalJson(event)), event, "the event");
        }
        return;
      }
      const changed = mutateLines(lines, rng, canonical);
      const read: JournalLine[] = changed
        .trimEnd()
        .split("\n")
        .map((line) => lineShape(parseCanonical(line), "line"));
      const verdict = verifyJournal(read, { run, head });
      if (verdict.ok && changed !== lines) throw new WrongRead("a changed journal verifies");
      if (!verdict.ok) throw new Refused(verdict.problems.map(({ message }) => message));
    };
  },
};

const replay: Target = {
  name: "replay",
  what: "rows of the replay buffer, as TRL has them",
  async prepare() {
    const row = canonicalJson(rowOfPair(samplePair(1), "<bos> describe"));
    return (rng) => {
      const line = rng.next() < 0.1 ? mutateText(row, rng) : mutateJson(row, rng, canonical);
      const pair = pairOfRow(parseCanonical(line));
      same(pairOfRow(parseCanonical(canonicalJson(rowOfPair(pair, "again")))), pair, "the pair");
    };
  },
};

function joinAll(parts: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

export const STORE_TARGETS: readonly Target[] = [zip, archive, journal, replay];

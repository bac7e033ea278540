import { canonicalDigest, canonicalJson, parseCanonical } from "../base/canonical.ts";
import type { Contour } from "../base/contour.ts";
import type { DeviceSummary } from "../base/events.ts";
import type { LoopState } from "../loop/ports.ts";
import { like, listOf, object, optional, type Shape, ShapeError, sha, text, whole } from "./shape.ts";
import { stateShape } from "./shapes.ts";

/** First entry of every question about a run archive: what it is, what it contains, and the SHA-256 of each of its files. */
export interface Manifest {
  readonly format: "autodidact-run";
  /** 2 since pairs can be deleted: a reader of version 1 would miss them. */
  readonly version: 1 | 2;
  readonly run: string;
  readonly title: string;
  readonly seed: number;
  /** SHA-256 of the base weights that every adapter belongs to. */
  readonly base: string;
  readonly versions: Readonly<Record<string, string>>;
  readonly device: DeviceSummary;
  readonly contour: Contour;
  /** What a reader may want to know before passing it on: visitors' own pictures and texts are counted apart. */
  readonly contains: {
    readonly events: number;
    readonly pairs: number;
    readonly visitorPairs: number;
    readonly adapters: number;
    /** Deleted pairs, of which the journal keeps a tombstone; absent in version 1. */
    readonly deleted?: number;
  };
  /** The same in plain words; absent in version 1. */
  readonly says?: string;
  /** The last line of the journal. */
  readonly head: { readonly seq: number; readonly content: string; readonly hash: string };
  /** What the loop needs to go on. */
  readonly state: LoopState;
  readonly files: readonly ManifestFile[];
  /** Digest of everything above. */
  readonly sha256: string;
}

export interface ManifestFile {
  readonly path: string;
  readonly bytes: number;
  readonly sha256: string;
}

const format = "autodidact-run";
const manifestVersion = 2;
/** Older versions that are still read. */
const readable: readonly unknown[] = [1, manifestVersion];

/** What an archive contains, for people who are about to pass it on. */
export function inWords({ events, pairs, visitorPairs, adapters, deleted = 0 }: Manifest["contains"]): string {
  const own =
    visitorPairs === 0 ? "none of them a visitor's own" : `${visitorPairs} of them a visitor's own pictures and words`;
  const gone =
    deleted === 0 ? "" : ` ${plural(deleted, "deleted pair")} left a tombstone in the journal and nothing else.`;
  return `${plural(events, "event")} with times, settings and the name of the GPU; ${plural(pairs, "preference pair")} with pictures and texts, ${own}; ${plural(adapters, "adapter")} with optimizer states.${gone} The base weights are not in it.`;
}

const plural = (count: number, what: string): string => `${count} ${what}${count === 1 ? "" : "s"}`;

const manifestShape: Shape<Manifest> = (value, path) => {
  object<Omit<Manifest, "device" | "contour" | "versions" | "base" | "seed" | "says">>({
    format: like<"autodidact-run">(format),
    version: like<1 | 2>(1),
    run: text(200),
    title: text(1000),
    contains: object<Manifest["contains"]>({
      events: whole,
      pairs: whole,
      visitorPairs: whole,
      adapters: whole,
      deleted: optional(whole) as Shape<number>,
    }),
    head: object<Manifest["head"]>({ seq: whole, content: sha, hash: sha }),
    state: stateShape,
    files: listOf(object<ManifestFile>({ path: text(200), bytes: whole, sha256: sha })),
    sha256: sha,
  })(value, path);
  return value as Manifest;
};

/** The manifest's file: canonical JSON and a line feed. */
export function writeManifest(given: Omit<Manifest, "sha256" | "format" | "version">): Uint8Array {
  const manifest = { format, version: manifestVersion, ...given };
  return new TextEncoder().encode(`${canonicalJson({ ...manifest, sha256: canonicalDigest(manifest) })}\n`);
}

/** Reads a manifest's file. Throws an Error that says what is wrong: no JSON, another format, a newer version, changed. */
export function readManifest(bytes: Uint8Array): Manifest {
  let value: unknown;
  try {
    value = parseCanonical(new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes).replace(/\n$/, ""));
  } catch (error) {
    throw new Error(
      `manifest.json cannot be read (${error instanceof Error ? error.message : String(error)}). Export the run again.`,
    );
  }
  const { format: name, version } = (value ?? {}) as { format?: unknown; version?: unknown };
  if (name !== format) throw new Error("manifest.json is not that of a run archive of this program.");
  if (!readable.includes(version))
    throw new Error(
      `The archive has format version ${typeof version === "number" ? version : "unknown"}; this program reads versions ${readable.join(" and ")}. Use the program that wrote it, or a newer one.`,
    );
  let manifest: Manifest;
  try {
    manifest = manifestShape(value, "manifest.json");
  } catch (error) {
    if (error instanceof ShapeError) throw new Error(`${error.message}. Export the run again.`);
    throw error;
  }
  const { sha256, ...rest } = manifest;
  if (canonicalDigest(rest) !== sha256)
    throw new Error("manifest.json was changed: it does not match its own SHA-256.");
  return manifest;
}

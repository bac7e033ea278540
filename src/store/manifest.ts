import { canonicalDigest, canonicalJson, parseCanonical } from "../base/canonical.ts";
import type { Contour } from "../base/contour.ts";
import type { DeviceSummary } from "../base/events.ts";
import type { LoopState } from "../loop/ports.ts";
import { like, listOf, object, type Shape, ShapeError, sha, text, whole } from "./shape.ts";
import { stateShape } from "./shapes.ts";

/** First entry of every question about a run archive: what it is, what it contains, and the SHA-256 of each of its files. */
export interface Manifest {
  readonly format: "autodidact-run";
  readonly version: 1;
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
  };
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
export const manifestVersion = 1;

const manifestShape: Shape<Manifest> = (value, path) => {
  object<Omit<Manifest, "device" | "contour" | "versions" | "base" | "seed">>({
    format: like<"autodidact-run">(format),
    version: like<1>(1),
    run: text(200),
    title: text(1000),
    contains: object<Manifest["contains"]>({ events: whole, pairs: whole, visitorPairs: whole, adapters: whole }),
    head: object<Manifest["head"]>({ seq: whole, content: sha, hash: sha }),
    state: stateShape,
    files: listOf(object<ManifestFile>({ path: text(200), bytes: whole, sha256: sha })),
    sha256: sha,
  })(value, path);
  return value as Manifest;
};

/** The manifest's file: canonical JSON and a line feed. */
export function writeManifest(manifest: Omit<Manifest, "sha256">): Uint8Array {
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
  if (version !== manifestVersion)
    throw new Error(
      `The archive has format version ${typeof version === "number" ? version : "unknown"}; this program reads version ${manifestVersion}. Use the program that wrote it, or a newer one.`,
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

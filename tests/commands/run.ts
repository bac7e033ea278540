/** Runs command lines in this process, with folders of their own. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll } from "vitest";
import { main } from "../../src/cli/main.ts";

export interface Ran {
  readonly code: number;
  readonly out: string;
  readonly err: string;
  /** Lines of stdout as JSON. */
  readonly lines: () => Record<string, unknown>[];
}

export async function run(...words: readonly (string | number)[]): Promise<Ran> {
  let out = "";
  let err = "";
  const streams = {
    out: (text: string) => {
      out += text;
    },
    err: (text: string) => {
      err += text;
    },
    debug: false,
  };
  const code = await main(words.map(String), streams);
  return { code, out, err, lines: () => jsonLines(out) };
}

export const jsonLines = (text: string): Record<string, unknown>[] =>
  text
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** A contour small enough for a test. */
export const SMALL = {
  name: "small",
  propose: { tasks: 12 },
  sample: { k: 6 },
  train: { minPairs: 2, batchSize: 4, replayA: { perStep: 4 } },
  evaluate: { every: 10, items: 12 },
} as const;

const made: string[] = [];
afterAll(() => Promise.all(made.map((path) => rm(path, { recursive: true, force: true }))));

/** A folder that goes away after the tests of the file. */
export async function temporary(): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), "autodidact-"));
  made.push(path);
  return path;
}

/** A file of JSON lines in a folder of its own. */
export async function jsonl(...rows: readonly unknown[]): Promise<string> {
  const path = join(await temporary(), "rows.jsonl");
  await writeFile(path, rows.map((row) => (typeof row === "string" ? row : JSON.stringify(row))).join("\n"));
  return path;
}

export const readLines = async (path: string): Promise<Record<string, unknown>[]> =>
  jsonLines(await readFile(path, "utf8"));

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { folder } from "../../src/cli/files.ts";
import type { Files } from "../../src/model/hf.ts";

/** Folders that tests/golden/make_golden.py writes. */
export const GOLDEN = ["llama-tied", "llama-untied"] as const;

export const goldenPath = (path: string): string => fileURLToPath(new URL(`../golden/${path}`, import.meta.url));

export const golden = (path: string): Files => folder(goldenPath(path));

export const goldenBytes = (path: string): Uint8Array => new Uint8Array(readFileSync(goldenPath(path)));

export const goldenText = (path: string): string => readFileSync(goldenPath(path), "utf8");

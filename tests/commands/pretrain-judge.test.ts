import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { sha256Hex } from "../../src/base/hash.ts";
import { CONFIG_FILE, IMAGE_FILE, openJudge, TEXT_FILE } from "../../src/judge/model.ts";
import { run, temporary } from "./run.ts";

test("writes a judge that opens, with a card that tells how to make it again; the same seed gives the same bytes", async () => {
  const [first, second] = [await temporary(), await temporary()];
  const words = ["--steps", 2, "--items", 10, "--seed", 5, "--json"];
  const made = await run("pretrain-judge", "--out", first, ...words);
  expect(made.code, made.err).toBe(0);
  expect(made.err).toContain("step 2/2  loss ");
  const hashes = made.lines().at(-1)?.files as Record<string, string>;

  const again = await run("pretrain-judge", "--out", second, ...words);
  for (const name of [IMAGE_FILE, TEXT_FILE, CONFIG_FILE, "README.md"]) {
    const bytes = await readFile(join(first, name));
    expect((await readFile(join(second, name))).equals(bytes), name).toBe(true);
    if (name.endsWith(".onnx")) expect(sha256Hex(bytes)).toBe(hashes[name]);
  }
  expect(again.lines().at(-1)?.files).toEqual(hashes);

  const judge = await openJudge((name) => readFile(join(first, name)));
  expect(judge.config).toMatchObject({ model_type: "autodidact-judge", steps: 2, seed: 5, files: hashes });
  await judge.release();

  const card = await readFile(join(first, "README.md"), "utf8");
  expect(card).toContain("npx autodidact pretrain-judge --out DIR --steps 2 --seed 5");
  expect(card).toContain(hashes[IMAGE_FILE]);
  const rows = card.split("\n").filter((line) => /^\| [AB] \| (pixels|onnx-image|onnx-text) \| [\d.]+ \|/.test(line));
  expect(rows.length).toBeGreaterThanOrEqual(6);
});

test("wrong usage and a folder that cannot be made are said before anything is trained", async () => {
  const none = await run("pretrain-judge");
  expect(none.code).toBe(2);
  expect(none.err).toContain("--out is missing");
  const zero = await run("pretrain-judge", "--out", await temporary(), "--steps", 0);
  expect(zero.code).toBe(2);
  const file = join(await temporary(), "file");
  await writeFile(file, "");
  const blocked = await run("pretrain-judge", "--out", join(file, "below"), "--steps", 1);
  expect(blocked.code).toBe(1);
  expect(blocked.err).not.toContain("step 1/1");
});

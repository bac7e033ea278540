import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { type AnyCommand, defineCommand } from "../../src/cli/args.ts";
import { COMMANDS } from "../../src/cli/commands.ts";
import { main } from "../../src/cli/main.ts";
import {
  dataOptions,
  modelOptions,
  preferenceOptions,
  samplingOptions,
  trainingOptions,
} from "../../src/cli/options.ts";
import { collect, exportRun } from "../../src/store/archive.ts";
import { openFolderStore } from "../../src/store/folder.ts";
import { demoRun, promptText } from "../store/fixtures.ts";

const golden = (path: string): string => fileURLToPath(new URL(`../golden/${path}`, import.meta.url));

/** A command that prints what it was given. */
const echo = defineCommand({
  name: "echo",
  summary: "prints its options",
  options: { ...modelOptions, ...dataOptions, ...samplingOptions, ...trainingOptions, ...preferenceOptions },
  example: "autodidact echo",
  async run({ values, json, out }) {
    out.note("a remark");
    out.result({ ...values, json });
  },
});

async function run(
  words: readonly string[],
  commands: readonly AnyCommand[] = [...COMMANDS, echo],
): Promise<{ code: number; out: string; err: string }> {
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
  const code = await main(words, streams, commands);
  return { code, out, err };
}

const needed = ["--model", "m", "--data", "d", "--out", "o", "--max-new", "3"];

describe("the dispatcher", () => {
  test("lists its commands; without a command that is a wrong use", async () => {
    expect(await run(["--help"])).toMatchObject({ code: 0, err: "" });
    const bare = await run([]);
    expect(bare.code).toBe(2);
    const lines = bare.err.split("\n").map((line) => line.trim().replace(/ {2,}/, "  "));
    for (const { name, summary } of COMMANDS) expect(lines).toContain(`${name}  ${summary}`);
  });

  test("every command explains itself: usage, each option, an example", async () => {
    for (const command of COMMANDS) {
      const { code, out } = await run([command.name, "--help"]);
      expect(code).toBe(0);
      expect(out).toContain(`Usage: autodidact ${command.name}`);
      expect(out).toContain(`Example: autodidact ${command.name}`);
      for (const name of [...Object.keys(command.options), "json", "help"]) expect(out).toContain(`--${name}`);
    }
  });

  test("--help shows defaults, choices and what is required", async () => {
    const { out } = await run(["echo", "-h"]);
    expect(out).toMatch(/--model DIR +model folder in Hugging Face's layout \(required\)/);
    expect(out).toMatch(/--beta N +inverse temperature of the preference model \(default 0\.1\)/);
    expect(out).toMatch(/--reference WHICH .*: adapter, base \(default adapter\)/);
  });

  test("defaults are those of docs/FORMATS.md, null where there is none; stdout and stderr stay apart", async () => {
    const { code, out, err } = await run(["echo", ...needed]);
    expect(code).toBe(0);
    expect(err).toBe("a remark\n");
    expect(JSON.parse(out)).toMatchObject({
      adapter: null,
      "loss-type": "sigmoid",
      beta: 0.1,
      "learning-rate": 1e-4,
      "batch-size": 8,
      steps: null,
      "lora-r": 8,
      "lora-alpha": 16,
      "target-modules": "all-linear",
      "weight-decay": 0,
      "max-grad-norm": 1,
      seed: 0,
      metrics: null,
      shuffle: false,
      "dry-run": false,
      reference: "adapter",
      temperature: 0,
      "min-p": 0,
      json: false,
    });
  });

  test("values are read as numbers and flags", async () => {
    const { out } = await run([
      "echo",
      ...needed,
      "--learning-rate=1e-3",
      "--steps",
      "6",
      "--shuffle",
      "--json",
      "--loss-type",
      "ipo",
    ]);
    expect(JSON.parse(out)).toMatchObject({
      "learning-rate": 0.001,
      steps: 6,
      shuffle: true,
      json: true,
      "loss-type": "ipo",
    });
  });

  test.each<[string, string[], RegExp]>([
    ["an unknown command", ["dop"], /there is no command "dop"; there are info, logprobs, generate, dpo, sft, /],
    ["an unknown option", ["echo", "--betta", "1"], /unknown option '--betta'/],
    ["a missing option", ["echo", "--data", "d"], /--model is missing: model folder/],
    ["a missing value", ["echo", "--model"], /--model/],
    ["a word too many", ["echo", ...needed, "more"], /unexpected "more"/],
    ["a flag with a value", ["echo", ...needed, "--shuffle=yes"], /'--shuffle' does not take an argument/],
    ["no number", ["echo", ...needed, "--beta", "big"], /--beta must be a number from 0, found "big"/],
    ["an empty number", ["echo", ...needed, "--beta", ""], /--beta must be a number from 0, found ""/],
    ["a fraction", ["echo", ...needed, "--steps", "1.5"], /--steps must be a whole number from 1, found "1\.5"/],
    [
      "a number out of range",
      ["echo", ...needed, "--top-p", "2"],
      /--top-p must be a number from 0 up to 1, found "2"/,
    ],
    ["an unknown choice", ["echo", ...needed, "--loss-type", "dpo"], /--loss-type must be one of sigmoid, ipo, hinge/],
    ["no archive", ["verify"], /RUN\.zip is missing/],
  ])("exit code 2 names %s", async (_, words, message) => {
    const { code, out, err } = await run(words);
    expect(code).toBe(2);
    expect(out).toBe("");
    expect(err).toMatch(message);
  });
});

describe("info", () => {
  test("says what a model folder holds, as text and as one JSON line", async () => {
    const text = await run(["info", "--model", golden("llama-untied")]);
    expect(text.code).toBe(0);
    expect(text.out).toMatch(/architecture +LlamaForCausalLM/);
    expect(text.out).toMatch(/GPU memory +[\d,]+ bytes as float32, [\d,]+ bytes as float16/);
    expect(text.out).toMatch(/attention +3 heads of 16, 1 for keys and values/);
    const { out } = await run([
      "info",
      "--model",
      golden("llama-tied"),
      "--adapter",
      golden("llama-tied/adapter"),
      "--json",
    ]);
    expect(out.trimEnd().split("\n").length).toBe(1);
    expect(JSON.parse(out)).toMatchObject({
      architecture: "LlamaForCausalLM",
      parameters: 18624,
      dtypes: ["F32"],
      weight_bytes: { float32: expect.any(Number), float16: expect.any(Number) },
      vocabulary: 97,
      adapter: { r: 4, alpha: 8, scaling: 2, parameters: 3712 },
    });
  });

  test("exit code 1 and the reason on stderr for a folder that holds none", async () => {
    expect(await run(["info", "--model", "/nowhere"])).toEqual({
      code: 1,
      out: "",
      err: "autodidact info: /nowhere has no config.json (the folder is empty or does not exist)\n",
    });
    const { code, err } = await run([
      "info",
      "--model",
      golden("llama-untied"),
      "--adapter",
      golden("llama-tied/adapter"),
    ]);
    expect(code).toBe(1);
    expect(err).toContain(
      "[shape] base_model.model.model.layers.0.self_attn.q_proj.lora_B.weight: want (48, 4), got (32, 4)",
    );
  });
});

describe("verify", () => {
  let directory: string;
  beforeAll(async () => {
    directory = await mkdtemp(join(tmpdir(), "autodidact-"));
  });
  afterAll(() => rm(directory, { recursive: true }));

  test("accepts a run's archive, and rejects it with a byte changed in any file", async () => {
    const store = openFolderStore(join(directory, "run"), { run: "demo" });
    for (const change of demoRun("demo")) await store.commit(change);
    const bytes = await collect(exportRun(store, { promptText }));
    const path = join(directory, "good.zip");
    await writeFile(path, bytes);
    const good = await run(["verify", path]);
    expect(good).toMatchObject({ code: 0, err: "" });
    expect(good.out).toContain(`${path} is whole: run demo,`);
    for (const at of [100, bytes.length >> 1, bytes.length - 200]) {
      const changed = bytes.slice();
      changed[at] = (changed[at] as number) ^ 1;
      await writeFile(path, changed);
      const bad = await run(["verify", path]);
      expect(bad.code, `byte ${at}`).toBe(1);
      expect(bad.out.length).toBeGreaterThan(0);
    }
  });

  test("exit code 1 for a file that is no archive, with the problems as JSON where asked", async () => {
    const path = join(directory, "run.zip");
    await writeFile(path, "not a zip");
    const { code, out, err } = await run(["verify", path, "--json"]);
    expect(code).toBe(1);
    expect(JSON.parse(out)).toMatchObject({ ok: false, problems: [{ where: "archive" }] });
    expect(err).toContain(`${path} is rejected: 1 problem`);
    const missing = await run(["verify", join(directory, "none.zip")]);
    expect(missing.code).toBe(1);
    expect(missing.err).toMatch(/there is no file .*none\.zip/);
  });
});

test.each([
  [["faults", "--runs", "1000", "--out"], "faults"],
  [["bench", "--scaling", "--write"], "bench:scaling"],
  [["bench", "--peers", "--write"], "bench:peers"],
])(
  "%j: a document that is not there, or has no place for the table, is refused before anything is run",
  async (words, block) => {
    const { code, out, err } = await run([...words, golden("llama-tied/config.json")]);
    expect({ code, out }).toEqual({ code: 1, out: "" });
    expect(err).toContain(`no place for the table: <!-- ${block}:begin -->`);
    expect((await run([...words, golden("none.md")])).err).toMatch(/there is no file .*none\.md/);
  },
);

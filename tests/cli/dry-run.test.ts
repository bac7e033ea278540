import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test, vi } from "vitest";
import { PROJECTIONS } from "../../src/model/config.ts";
import { loadModel } from "../../src/model/hf.ts";
import type { PackedRow } from "../../src/model/packing.ts";
import type { Group } from "../../src/train/groups.ts";
import { type MemoryRequest, trainingMemory } from "../../src/train/memory.ts";
import { jsonl, run, temporary } from "../commands/run.ts";
import { golden, goldenPath } from "../model/golden.ts";

/** A GPU that has limits and no more: whoever asks it for memory or work fails. */
const limits = { maxBufferSize: 2 ** 28, maxStorageBufferBindingSize: 2 ** 27 };
const variants = { matmul: "plain" } as const;
const destroyed = vi.fn();
vi.mock("../../src/cli/runtime.ts", () => ({
  openNodeRuntime: async () => ({ gpu: { destroy: destroyed }, runtime: { device: { limits }, variants } }),
}));

const model = goldenPath("llama-tied");

/** The command's --dry-run of some rows. Nothing may be written. */
async function dryRun(command: string, rows: readonly object[], ...words: readonly (string | number)[]) {
  const folder = await temporary();
  const written = ["--out", join(folder, "adapter"), "--metrics", join(folder, "metrics.jsonl")];
  const data = await jsonl(...rows);
  const ran = await run(command, "--model", model, "--data", data, ...written, "--dry-run", ...words);
  expect(await readdir(folder)).toEqual([]);
  return ran;
}

const ids = (length: number): number[] => Array.from({ length }, (_, i) => 3 + i);
const row = (prompt: number, ...answers: readonly number[]): PackedRow => ({
  picture: null,
  prompt: ids(prompt),
  answers: answers.map(ids),
});

/** What `trainingMemory` says of a step of such groups. */
async function memory(groups: readonly Group[], more: Partial<MemoryRequest> = {}) {
  const { config } = await loadModel(golden("llama-tied"));
  const lora = { r: 8, scaling: 2, targets: PROJECTIONS };
  return trainingMemory({ config, variants, limits, lora, groups, ...more });
}

const likelihood = (...rows: readonly PackedRow[]): Group => ({ rows, pairs: 0, reference: [], sft: [] });

describe("--dry-run says what `trainingMemory` says of the largest step, and makes and writes nothing", () => {
  const completions = [3, 9, 20, 4].map((n) => ({ prompt_ids: ids(n), completion_ids: ids(n + 1) }));

  test("sft: the largest of the steps, with every option that changes the memory", async () => {
    const { code, out, err } = await dryRun("sft", completions, "--batch-size", 2, "--json");
    expect({ code, err }).toEqual({ code: 0, err: "" });
    const bytes = await memory([likelihood(row(20, 21), row(4, 5))]);
    expect(JSON.parse(out)).toEqual({ steps: 2, shapes: 2, bytes });
    expect(bytes.total).toBeGreaterThan((await memory([likelihood(row(3, 4), row(9, 10))])).total);
    const options = ["--gradient-checkpointing", "--padding-free", "--dtype", "float16", "--lora-r", 2];
    const words = [...options, "--target-modules", "q_proj", "--batch-size", 2, "--gradient-accumulation-steps", 2];
    const other = await dryRun("sft", completions, ...words, "--steps", 3, "--json");
    expect(JSON.parse(other.out)).toEqual({
      steps: 3,
      shapes: 2,
      bytes: await memory([likelihood(row(20, 21), row(4, 5))], {
        checkpointing: true,
        paddingFree: true,
        dtype: "float16",
        lora: { r: 2, scaling: 8, targets: ["q_proj"] },
      }),
    });
  });

  test("an adapter that is given; the text", async () => {
    const [one] = completions;
    const words = ["--adapter", goldenPath("llama-tied/adapter"), "--batch-size", 1] as const;
    const bytes = await memory([likelihood(row(3, 4))], { lora: { r: 4, scaling: 2, targets: PROJECTIONS } });
    const { out } = await dryRun("sft", [one as object], ...words);
    const said = (value: number) => `${value.toLocaleString("en")} bytes`;
    expect(out.split("\n").map((line) => line.trim().split(/ {2,}/))).toEqual([
      ["steps", "1, of 1 shape"],
      ["model", `${said(bytes.weights)} as float32`],
      ["adapter", `${said(bytes.training)} with gradients and moments`],
      ["plan", `${said(bytes.plan)} for the largest step: activations, inputs, read-back`],
      ["total", said(bytes.total)],
      [""],
    ]);
    const several = await dryRun("sft", completions, "--batch-size", 1);
    expect(several.out).toMatch(/steps +4, of \d shapes; while the plan of one is made/);
  });

  test("dpo: pairs", async () => {
    const pairs = [5, 6].map((n) => ({ prompt_ids: ids(n), chosen_ids: ids(4), rejected_ids: ids(2) }));
    const { out } = await dryRun("dpo", pairs, "--batch-size", 2, "--json");
    const group: Group = { rows: [row(5, 4, 2), row(6, 4, 2)], pairs: 2, reference: [], sft: [] };
    expect(JSON.parse(out)).toEqual({ steps: 1, shapes: 1, bytes: await memory([group]) });
  });

  test("kto: the answers, and those to the rows before for the divergence", async () => {
    const judged = [true, false].map((label, i) => ({ prompt_ids: ids(5 + i), completion_ids: ids(9 * i + 3), label }));
    const { out, err } = await dryRun("kto", judged, "--batch-size", 2, "--json");
    expect(err).toBe("the plan of the reference, forward only, comes on top\n");
    const groups: Group[] = [
      { kind: "kto-divergence", rows: [row(5, 12), row(6, 3)], reference: [], weight: 1 },
      { kind: "kto", rows: [row(5, 3), row(6, 12)], label: [], reference: [], weight: [], beta: 1 },
    ];
    expect(JSON.parse(out)).toEqual({ steps: 1, shapes: 1, bytes: await memory(groups) });
  });

  test("grpo: groups of answers", async () => {
    const answers = [{ prompt_ids: ids(5), completion_ids: [ids(3), ids(7), ids(2)], rewards: [1, 0, 2] }];
    const { out } = await dryRun("grpo", answers, "--batch-size", 1, "--json");
    const numbers = { advantage: [], weight: [], old: null, reference: null, beta: 0, low: 0, high: 0 };
    const bytes = await memory([{ kind: "grpo", rows: [row(5, 3, 7, 2)], ...numbers }]);
    expect(JSON.parse(out)).toEqual({ steps: 1, shapes: 1, bytes });
  });

  test("rows that the model cannot take are named, and the GPU is let go", async () => {
    destroyed.mockClear();
    const long = { prompt_ids: ids(60), completion_ids: ids(9) };
    const { code, err } = await dryRun("sft", [...completions, long]);
    expect(code).toBe(1);
    expect(err).toMatch(/rows\.jsonl:5: 69 tokens exceed the model's 64 positions/);
    expect(destroyed).toHaveBeenCalledOnce();
  });
});

/**
 * Chooses the matrix product's kernels for an adapter by measuring them. A candidate's result is first compared with the
 * plain loop of matmul_any: what differs by more than 10⁻⁶ K (operands are uniform in ±1) cannot win, however fast. The
 * rest run in turns, so that a busy machine slows all of them alike; the least median wins, if it beats the default by
 * more than 3%.
 *
 * Never call it inside a run: another kernel rounds differently. A run pins what it found in the store when it began.
 */
import { sha256Hex } from "../base/hash.ts";
import { rngFor } from "../base/rng.ts";
import { Graph, type Tensor } from "../gpu/graph.ts";
import type { Pipelines } from "../gpu/pipelines.ts";
import { compile, type Plan } from "../gpu/plan.ts";
import type { Product, ProductShape, Variants } from "./context.ts";
import { anyProduct, productOf } from "./matmul.ts";
import { shaderFiles } from "./shaders.ts";
import { type Choice, choiceName, chooseKernel, fits, kernelsOf, parseChoice, shapeKey } from "./variants.ts";

/** Where tables of tuned choices are kept: IndexedDB in a page, files in Node. Values are JSON. */
export interface TuningStore {
  get(key: string): Promise<string | null>;
  put(key: string, value: string): Promise<void>;
}

export type Trial =
  | { readonly kind: "measured"; readonly choice: string; readonly ms: number; readonly gflops: number }
  | { readonly kind: "wrong"; readonly choice: string; readonly error: number }
  | { readonly kind: "refused"; readonly choice: string; readonly detail: string };

export interface Tuned {
  readonly shape: ProductShape;
  readonly key: string;
  readonly standard: string;
  readonly winner: string;
  readonly trials: readonly Trial[];
}

export interface TuningDevice {
  readonly device: GPUDevice;
  readonly pipelines: Pipelines;
  readonly variants: Variants;
  readonly subgroupMinSize: number;
}

/** All that the kernels of products are made of: their files, with every branch, and the constants that they are loaded with. */
export const kernelTexts = (): string[] => [
  ...shaderFiles(/^(matmul|transpose)/),
  ...(["nn", "nt", "tn"] as const).map((product) => JSON.stringify(kernelsOf(product))),
];

/** Name of an adapter's table: adapter, driver and the kernels, so that none of them can change unseen. */
export function tuningKey(
  adapter: { readonly vendor: string; readonly architecture: string; readonly description: string },
  kernels: readonly string[] = kernelTexts(),
): string {
  return [adapter.vendor, adapter.architecture, adapter.description, sha256Hex(...kernels)].join("|");
}

/** What an adapter can run: lanes of its smallest subgroups (0: none), threads of a workgroup. */
export interface Abilities {
  readonly lanes: number;
  readonly threads: number;
}

export function abilitiesOf(device: GPUDevice, subgroupMinSize: number): Abilities {
  const lanes = device.features.has("subgroups") ? subgroupMinSize : 0;
  return { lanes, threads: device.limits.maxComputeInvocationsPerWorkgroup };
}

/** Parts of a sum that a table may ask for. */
const MOST_PARTS = 64;

/**
 * The choices of an adapter's table, {} if there is none or it is no table. Entries that this version cannot read, or
 * this adapter cannot run, are left out.
 */
export async function loadTuned(
  store: TuningStore,
  key: string,
  can: Abilities,
): Promise<Readonly<Record<string, string>>> {
  const text = await store.get(key);
  return runnable(tableOf(text ?? "{}"), can);
}

/** The entries of a table, whoever wrote it, that this version can read and an adapter can run. */
export function runnable(table: Readonly<Record<string, unknown>>, can: Abilities): Readonly<Record<string, string>> {
  const entries = Object.entries(table).filter(([shape, choice]) => {
    const [, product] = /^(nn|nt|tn) \d+x\d+x\d+$/.exec(shape) ?? [];
    const known = typeof choice === "string" ? choiceOf(product as Product | undefined, choice) : null;
    return known !== null && runs(known, can);
  });
  return Object.fromEntries(entries) as Record<string, string>;
}

function tableOf(text: string): Record<string, unknown> {
  try {
    const table: unknown = JSON.parse(text);
    return typeof table === "object" && table !== null ? (table as Record<string, unknown>) : {};
  } catch {
    return {};
  }
}

function choiceOf(product: Product | undefined, choice: string): Choice | null {
  try {
    return product === undefined ? null : parseChoice(product, choice);
  } catch {
    return null;
  }
}

const runs = ({ kernel, Z }: Pick<Choice, "kernel" | "Z">, { lanes, threads }: Abilities): boolean =>
  kernel.lanes <= lanes && kernel.threads <= threads && Z <= MOST_PARTS;

/** Kernels that this device can run for a shape, each whole and, where it leaves a device idle, in parts; default first. */
export function candidates(
  { device, variants, subgroupMinSize }: Pick<TuningDevice, "device" | "variants" | "subgroupMinSize">,
  shape: ProductShape,
): string[] {
  const { product } = shape;
  const { rows, K, N } = sizesOf(shape);
  const standard = chooseKernel({ matmul: variants.matmul }, product, "", { rows, K, N });
  const names = new Set([choiceName(standard)]);
  const can = abilitiesOf(device, subgroupMinSize);
  for (const [name, kernel] of Object.entries(kernelsOf(product))) {
    if (!runs({ kernel, Z: 1 }, can) || !fits(kernel, product, { rows, K, N })) continue;
    if (name.startsWith("gemv") && rows > 16) continue;
    if (kernel.rows >= 4 * rows || kernel.columns * 4 >= 4 * N) continue; // mostly outside of y
    const groups = Math.ceil(rows / kernel.rows) * Math.ceil(N / 4 / kernel.columns);
    for (const Z of [1, 4, 16]) if (Z === 1 || (groups * Z <= 256 && K / Z >= 64)) names.add(choiceName({ name, Z }));
  }
  return [...names];
}

/** Of y: rows, columns N; K is summed. */
const sizesOf = ({ product, R, K, N }: ProductShape) => (product === "tn" ? { rows: K, K: R, N } : { rows: R, K, N });

const median = (values: readonly number[]): number =>
  [...values].sort((a, b) => a - b)[Math.floor(values.length / 2)] as number;

/** Milliseconds after which tuning stops, on a clock that is handed in. */
export interface Budget {
  readonly now: () => number;
  readonly until: number;
  readonly rounds?: number;
  /** Called between any two measurements, of a few milliseconds each; false ends the tuning. */
  readonly goOn?: () => Promise<boolean>;
}

/** Ends a shape half-way: what was measured of it says nothing yet. */
class Ended extends Error {}

/**
 * Tunes shape by shape until the time is up; at least the default of each shape that it begins is measured. A shape that
 * `goOn` ends is not among the results.
 */
export async function tune(
  target: TuningDevice,
  shapes: readonly ProductShape[],
  budget: Budget,
  onTuned: (tuned: Tuned) => void = () => {},
): Promise<readonly Tuned[]> {
  const results: Tuned[] = [];
  for (const shape of shapes) {
    if (budget.now() >= budget.until) break;
    const tuned = await tuneShape(target, shape, budget).catch((error: unknown) => {
      if (error instanceof Ended) return null;
      throw error;
    });
    if (tuned === null) break;
    results.push(tuned);
    onTuned(tuned);
  }
  return results;
}

/** Merges new choices into the adapter's table. */
export async function saveTuned(
  store: TuningStore,
  key: string,
  can: Abilities,
  tuned: readonly Tuned[],
): Promise<void> {
  const table = { ...(await loadTuned(store, key, can)), ...Object.fromEntries(tuned.map((t) => [t.key, t.winner])) };
  await store.put(key, JSON.stringify(table));
}

async function tuneShape(target: TuningDevice, shape: ProductShape, budget: Budget): Promise<Tuned> {
  const { device } = target;
  const choices = candidates(target, shape);
  const standard = choices[0] as string;
  const operands = makeOperands(device, shape);
  const plans = new Map<string, { plan: Plan; times: number[] }>();
  const trials: Trial[] = [];
  const breathe = async () => {
    if (budget.goOn && !(await budget.goOn())) throw new Ended();
  };
  try {
    const want = await operands.reference(target);
    for (const choice of choices) {
      if (plans.size > 0 && budget.now() >= budget.until) break;
      await breathe();
      try {
        const { plan, error } = await operands.candidate(target, choice, want);
        if (error <= 1e-6 * sizesOf(shape).K) plans.set(choice, { plan, times: [] });
        else {
          plan.destroy();
          trials.push({ kind: "wrong", choice, error });
        }
      } catch (error) {
        trials.push({ kind: "refused", choice, detail: error instanceof Error ? error.message : String(error) });
      }
    }
    for (let round = 0; round < (budget.rounds ?? 5); round++) {
      if (round > 0 && budget.now() >= budget.until) break;
      for (const { plan, times } of plans.values()) {
        await breathe();
        const { dispatches } = await plan.profile(1);
        times.push(dispatches.reduce((sum, { ms }) => sum + ms, 0));
      }
    }
    const flops = 2 * shape.R * shape.K * shape.N;
    for (const [choice, { times }] of plans) {
      const ms = median(times);
      trials.push({ kind: "measured", choice, ms, gflops: flops / Math.max(ms, 1e-6) / 1e6 });
    }
  } finally {
    for (const { plan } of plans.values()) plan.destroy();
    operands.destroy();
  }
  return {
    shape,
    key: shapeKey(shape.product, shape.R, shape.K, shape.N),
    standard,
    winner: best(trials, standard),
    trials,
  };
}

function best(trials: readonly Trial[], standard: string): string {
  const measured = trials.flatMap((trial) => (trial.kind === "measured" ? [trial] : []));
  const fastest = measured.reduce<(typeof measured)[number] | null>((a, b) => (a && a.ms <= b.ms ? a : b), null);
  const before = measured.find(({ choice }) => choice === standard);
  if (!fastest || (before && fastest.ms > 0.97 * before.ms)) return standard;
  return fastest.choice;
}

/** Rows of y that the reference computes: the last ones, edge included. Its plain loop is slow. */
const CHECKED = 64;

/** Buffers of one shape, filled with numbers uniform in ±1, and the graphs on them. */
function makeOperands(device: GPUDevice, shape: ProductShape) {
  const { product, R, K, N } = shape;
  const sizes = sizesOf(shape);
  const rng = rngFor(0, "tune", product, R, K, N);
  const buffer = (elements: number, fill: boolean) => {
    const made = device.createBuffer({ label: "tune", size: Math.ceil(elements / 64) * 256, usage: 0x80 | 0x8 | 0x4 });
    if (fill)
      device.queue.writeBuffer(
        made,
        0,
        Float32Array.from({ length: elements }, () => 2 * rng.next() - 1),
      );
    return made;
  };
  const rowsB = product === "nn" ? K : product === "nt" ? N : R;
  const columnsB = product === "nt" ? K : N;
  const [a, b, y] = [buffer(R * K, true), buffer(rowsB * columnsB, true), buffer(sizes.rows * N, false)];
  // An offset of 64 rows is a multiple of 256 bytes. The rows of aᵀ b lie in columns of a: there all are computed.
  const from = product === "tn" ? 0 : Math.floor(Math.max(0, R - CHECKED) / 64) * 64;
  const tail = async (plan: Plan, tensor: Tensor) =>
    ((await plan.read(tensor))[0] as Float32Array).subarray(tensor.size - (sizes.rows - from) * N);
  return {
    async reference({ pipelines, variants }: TuningDevice): Promise<Float32Array> {
      const g = new Graph();
      const rows = sizes.rows - from;
      const left = g.bound("a", product === "tn" ? [R, K] : [rows, K], a, from * K * 4);
      const result = g.output("want", [rows, N]);
      const operands = { a: left, b: g.bound("b", [rowsB, columnsB], b), y: result, options: {} };
      anyProduct({ g, variants }, product, { R: rows, K: sizes.K, N, plusRows: 0 }, operands);
      const plan = await compile("tune reference", g, device, pipelines);
      try {
        await plan.run();
        return await tail(plan, result);
      } finally {
        plan.destroy();
      }
    },
    async candidate({ pipelines, variants }: TuningDevice, choice: string, want: Float32Array) {
      const g = new Graph();
      const result = g.bound("y", [sizes.rows, N], y);
      const operands = { a: g.bound("a", [R, K], a), b: g.bound("b", [rowsB, columnsB], b), y: result, options: {} };
      productOf({ g, variants }, parseChoice(product, choice), product, operands);
      const plan = await compile(`tune ${choice}`, g, device, pipelines);
      // Nothing of the candidate before may pass for this one's work.
      const encoder = device.createCommandEncoder();
      encoder.clearBuffer(y);
      device.queue.submit([encoder.finish()]);
      await plan.run();
      const got = await tail(plan, result);
      // Not a number is the worst of all.
      const error = got.reduce((worst, v, i) => {
        const off = Math.abs(v - (want[i] as number));
        return off <= worst ? worst : Number.isNaN(off) ? Number.POSITIVE_INFINITY : off;
      }, 0);
      return { plan, error };
    },
    destroy: () => {
      for (const one of [a, b, y]) one.destroy();
    },
  };
}

/** `autodidact bench --tune`: measures every matmul kernel on the shapes that matter, and keeps the winners. */
import type { ProductShape } from "../ops/context.ts";
import { measurePeak, type Peak } from "../ops/peak.ts";
import { abilitiesOf, saveTuned, type Tuned, tune, tuningKey } from "../ops/tune.ts";
import type { NodeRuntime } from "./runtime.ts";
import { fileTuningStore } from "./tuning-file.ts";

const nn = (R: number, K: number, N: number): ProductShape => ({ product: "nn", R, K, N });
const tn = (R: number, K: number, N: number): ProductShape => ({ product: "tn", R, K, N });

/** Training and decoding of the bundled model (width 64, inner width 176), a larger one, and squares. */
const SHAPES: readonly ProductShape[] = [
  nn(2048, 64, 64),
  nn(2048, 64, 176),
  nn(2048, 176, 64),
  tn(2048, 64, 64),
  tn(2048, 64, 176),
  tn(2048, 176, 64),
  nn(128, 64, 64),
  nn(128, 64, 176),
  nn(128, 176, 64),
  nn(2048, 64, 8),
  { product: "nt", R: 2048, K: 64, N: 8 },
  tn(2048, 64, 8),
  nn(256, 256, 256),
  nn(256, 256, 688),
  nn(1, 256, 688),
  nn(512, 512, 512),
  nn(1024, 1024, 1024),
];

export interface TuneReport {
  readonly adapter: string;
  readonly peak: Peak;
  readonly shapes: readonly Tuned[];
}

/** Tunes for at most `seconds`, shape by shape; what was measured is kept in the user's cache folder. */
export async function benchTune(
  { gpu, runtime }: NodeRuntime,
  seconds: number,
  note: (text: string) => void,
): Promise<TuneReport> {
  const now = () => performance.now();
  const peak = await measurePeak(runtime);
  const target = { ...runtime, subgroupMinSize: gpu.subgroupMinSize };
  const shapes = await tune(target, SHAPES, { now, until: now() + 1000 * seconds }, (tuned) => note(tuned.key));
  const can = abilitiesOf(gpu.device, gpu.subgroupMinSize);
  await saveTuned(fileTuningStore(), tuningKey(gpu.summary), can, shapes);
  return { adapter: gpu.summary.description, peak, shapes };
}

/** One line a candidate, the fastest first: rate, share of the peak, what became of it. */
export function tuneRows({ shapes, peak }: TuneReport): [string, string][] {
  return shapes.flatMap(({ key, winner, standard, trials }) =>
    [...trials]
      .sort((a, b) => (b.kind === "measured" ? b.gflops : 0) - (a.kind === "measured" ? a.gflops : 0))
      .map((trial, i): [string, string] => {
        const marks = [trial.choice === winner ? "winner" : "", trial.choice === standard ? "default" : ""];
        const text =
          trial.kind === "measured"
            ? `${trial.gflops.toFixed(1)} GFLOP/s  ${((100 * trial.gflops) / peak.gflops).toFixed(0)}%`
            : trial.kind === "wrong"
              ? `refused: off by ${trial.error.toExponential(1)}`
              : `refused: ${trial.detail}`;
        return [i === 0 ? key : "", `${trial.choice.padEnd(16)}${text}  ${marks.filter(Boolean).join(", ")}`];
      }),
  );
}

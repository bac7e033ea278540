/** Operating characteristics of the gate on planted candidates: how often it accepts what, and on how many items. */
import { rngFor } from "../base/rng.ts";
import { decideGate, type GateSettings, type Grader } from "./gate.ts";

/** True mean paired change and share of items on which the two differ; |change| ≤ discordance ≤ 1. */
export interface Planted {
  readonly change: number;
  readonly discordance: number;
}

export interface Characteristics {
  readonly accepted: number;
  readonly rejected: number;
  readonly deferred: number;
  /** Share accepted with superiority shown. */
  readonly superior: number;
  /** Labelled items a gate uses, mean over the runs. */
  readonly meanItems: number;
}

/**
 * Lets `runs` planted candidates stand at the gate once each (incumbent = best, as at a first gate) and returns shares.
 * `shifted` is the candidate against the incumbent, `clean` the candidate against the base on world A.
 */
export async function simulateGate(options: {
  readonly settings: GateSettings;
  readonly shifted: Planted;
  readonly clean: Planted;
  readonly runs: number;
  readonly seed: number;
}): Promise<Characteristics> {
  const { settings, shifted, clean, runs, seed } = options;
  const tally = { passed: 0, failed: 0, open: 0 };
  let superior = 0;
  let items = 0;
  for (let run = 0; run < runs; run++) {
    const verdict = await decideGate(settings, plantedGrader(shifted, clean, seed, run), {
      incumbent: "incumbent",
      best: "incumbent",
    });
    tally[verdict.outcome] += 1;
    if (verdict.outcome === "passed" && verdict.superiority.shown) superior += 1;
    items += verdict.items;
  }
  return {
    accepted: tally.passed / runs,
    rejected: tally.failed / runs,
    deferred: tally.open / runs,
    superior: superior / runs,
    meanItems: items / runs,
  };
}

function plantedGrader(shifted: Planted, clean: Planted, seed: number, run: number): Grader {
  const b = outcomes(shifted, seed, "shifted", run);
  const a = outcomes(clean, seed, "clean", run);
  return {
    shifted: async (_from, count) => {
      const { ours, theirs } = b(count);
      return { candidate: ours, incumbent: theirs, best: theirs };
    },
    clean: async (_from, count) => {
      const { ours, theirs } = a(count);
      return { candidate: ours, base: theirs };
    },
  };
}

/** Paired outcomes with P(win) = (discordance + change)/2 and P(loss) = (discordance − change)/2; the rest are ties. */
function outcomes({ change, discordance }: Planted, seed: number, world: string, run: number) {
  if (Math.abs(change) > discordance || discordance > 1) {
    throw new RangeError(
      `[gate] a change of ${change} needs a discordance between ${Math.abs(change)} and 1, got ${discordance}`,
    );
  }
  const rng = rngFor(seed, "simulate-gate", world, run, change, discordance);
  const win = (discordance + change) / 2;
  return (count: number) => {
    const ours: boolean[] = [];
    const theirs: boolean[] = [];
    for (let i = 0; i < count; i++) {
      const u = rng.next();
      ours.push(u < win || u >= discordance);
      theirs.push(u >= win);
    }
    return { ours, theirs };
  };
}

/**
 * The gate: may the candidate replace the incumbent? Three non-inferiority tests on fresh sealed items,
 * looked at after every batch; all must pass, one shown harm rejects. See docs/GATE.md.
 */
import type { Contour } from "../base/contour.ts";
import { sha256Hex } from "../base/hash.ts";
import type { Decision, GateReport, GateTest, GateTestName, WorldName } from "../base/records.ts";
import { type Counts, countPairs, eHarm, eSafe, noCounts } from "./eprocess.ts";
import type { EnginePort, SealedPort } from "./ports.ts";

export type GateSettings = Contour["gate"];

/** Right or wrong, item by item, for `count` fresh items from `from` on. Arrays have length `count`. */
export interface Grader {
  /** World of the fresh pictures ("B" in the names of the tests). */
  shifted(
    from: number,
    count: number,
  ): Promise<{
    readonly candidate: readonly boolean[];
    readonly incumbent: readonly boolean[];
    readonly best: readonly boolean[];
  }>;
  /** World A, which the base knows. */
  clean(
    from: number,
    count: number,
  ): Promise<{ readonly candidate: readonly boolean[]; readonly base: readonly boolean[] }>;
}

export interface Verdict {
  readonly outcome: "passed" | "failed" | "open";
  readonly tests: readonly GateTest[];
  /** Labelled items used, both worlds together. */
  readonly items: number;
  /** Evidence that the candidate is better than the best so far (epsilon 0), on all items of the shifted world. */
  readonly superiority: Counts & { readonly e: number; readonly shown: boolean };
}

/** After an acceptance, items go on up to this number to learn whether the candidate is better than the best so far. */
const superiorityItems = 400;

interface OpenTest {
  readonly name: GateTestName;
  readonly against: string;
  readonly epsilon: number;
  counts: Counts;
  verdict: GateTest["verdict"];
}

/**
 * The sequential decision, without engine or keys. A test is frozen at the look that decides it.
 * Chance to pass a candidate that truly is at −epsilon or worse on any of the three tests: at most alpha.
 */
export async function decideGate(
  settings: GateSettings,
  grade: Grader,
  against: { readonly incumbent: string; readonly best: string },
): Promise<Verdict> {
  const incumbentB = newTest("incumbent-B", against.incumbent, settings.epsilonB);
  const bestB = newTest("best-B", against.best, settings.epsilonB);
  const baseA = newTest("base-A", "base", settings.epsilonA);
  const tests = [incumbentB, bestB, baseA];
  let versusBest = noCounts;
  let usedB = 0;
  let usedA = 0;

  const drawB = async (limit: number): Promise<void> => {
    const count = Math.min(settings.batch, limit - usedB);
    const right = await grade.shifted(usedB, count);
    look(incumbentB, right.candidate, right.incumbent, settings.alpha);
    look(bestB, right.candidate, right.best, settings.alpha);
    versusBest = countPairs(versusBest, right.candidate, right.best);
    usedB += count;
  };
  const drawA = async (): Promise<void> => {
    const count = Math.min(settings.batch, settings.maxItems - usedA);
    const right = await grade.clean(usedA, count);
    look(baseA, right.candidate, right.base, settings.alpha);
    usedA += count;
  };
  const failed = (): boolean => tests.some((test) => test.verdict === "failed");
  const passed = (): boolean => tests.every((test) => test.verdict === "passed");

  for (;;) {
    const wantsB = (incumbentB.verdict === "open" || bestB.verdict === "open") && usedB < settings.maxItems;
    const wantsA = baseA.verdict === "open" && usedA < settings.maxItems;
    if (failed() || (!wantsA && !wantsB)) break;
    if (wantsB) await drawB(settings.maxItems);
    if (wantsA && !failed()) await drawA();
  }

  // Superiority is looked at after every batch too; the extra items can no longer change the acceptance.
  const better = (): number => eSafe(versusBest, 0);
  const limit = Math.min(superiorityItems, settings.maxItems);
  while (passed() && better() < 1 / settings.alpha && usedB < limit) await drawB(limit);

  return {
    outcome: failed() ? "failed" : passed() ? "passed" : "open",
    tests: tests.map(report),
    items: usedA + usedB,
    superiority: { ...versusBest, e: better(), shown: better() >= 1 / settings.alpha },
  };
}

function newTest(name: GateTestName, against: string, epsilon: number): OpenTest {
  return { name, against, epsilon, counts: noCounts, verdict: "open" };
}

/** One look. Shown harm goes before shown safety, though both at once cannot be expected. */
function look(test: OpenTest, ours: readonly boolean[], theirs: readonly boolean[], alpha: number): void {
  if (test.verdict !== "open") return;
  test.counts = countPairs(test.counts, ours, theirs);
  if (eHarm(test.counts, test.epsilon) >= 1 / alpha) test.verdict = "failed";
  else if (eSafe(test.counts, test.epsilon) >= 1 / alpha) test.verdict = "passed";
}

function report({ name, against, epsilon, counts, verdict }: OpenTest): GateTest {
  const { n, wins, losses } = counts;
  return {
    name,
    against,
    n,
    wins,
    losses,
    difference: n === 0 ? 0 : (wins - losses) / n,
    epsilon,
    eSafe: eSafe(counts, epsilon),
    eHarm: eHarm(counts, epsilon),
    verdict,
  };
}

/** SHA-256 of the key's hexadecimal text (UTF-8): journalled before training, checked by `verify` after the decision. */
export function sealKey(key: string): string {
  return sha256Hex(key);
}

export interface GateInput {
  readonly settings: GateSettings;
  readonly world: WorldName;
  readonly maxNewTokens: number;
  readonly key: string;
  readonly keyHash: string;
  /** Gates before this one, for the expected number of false accepts. */
  readonly index: number;
  readonly candidate: string;
  readonly incumbent: string;
  readonly best: string;
  readonly deferrals: number;
  /** What the drift monitor saw, or null. An alarmed candidate passes or is rejected; it is never deferred. */
  readonly alarm: string | null;
  readonly onItems: (used: number) => void;
}

/** Lets the candidate stand at the gate. Adapters must be usable in the engine already. */
export async function runGate(engine: EnginePort, sealed: SealedPort, input: GateInput): Promise<GateReport> {
  if (sealKey(input.key) !== input.keyHash) {
    throw new Error("[gate] the gate's key does not match the hash journalled before training; the run cannot go on");
  }
  const verdict = await decideGate(input.settings, sealedGrader(engine, sealed, input), input);
  return {
    decision: decisionOf(verdict, input),
    tests: verdict.tests,
    items: verdict.items,
    candidate: input.candidate,
    incumbent: input.incumbent,
    keyHash: input.keyHash,
    key: input.key,
    alpha: input.settings.alpha,
  };
}

/** The report of a loop without a gate: every candidate is committed, nothing is tested. */
export function ungatedReport(input: {
  readonly candidate: string;
  readonly incumbent: string;
  readonly alpha: number;
}): GateReport {
  const decision: Decision = {
    kind: "accepted",
    adapter: input.candidate,
    superior: false,
    detail: "the gate is off: committed without a test",
  };
  return {
    decision,
    tests: [],
    items: 0,
    candidate: input.candidate,
    incumbent: input.incumbent,
    keyHash: "",
    key: "",
    alpha: input.alpha,
  };
}

/** Greedy answers of every adapter involved to the same sealed items, each adapter once. */
function sealedGrader(engine: EnginePort, sealed: SealedPort, input: GateInput): Grader {
  const { key, maxNewTokens } = input;
  let used = 0;
  const grade = async (world: WorldName, from: number, count: number, adapters: readonly string[]) => {
    const tasks = await sealed.items({ key, world, from, count });
    const right = new Map<string, readonly boolean[]>();
    for (const adapter of new Set(adapters)) {
      const answers = await engine.greedy(tasks, { adapter, maxNewTokens });
      right.set(
        adapter,
        answers.map((answer, i) => sealed.grade({ key, world, index: from + i, answer })),
      );
    }
    used += count;
    input.onItems(used);
    return (adapter: string): readonly boolean[] => right.get(adapter) ?? [];
  };
  return {
    shifted: async (from, count) => {
      const of = await grade(input.world, from, count, [input.candidate, input.incumbent, input.best]);
      return { candidate: of(input.candidate), incumbent: of(input.incumbent), best: of(input.best) };
    },
    clean: async (from, count) => {
      const of = await grade("A", from, count, [input.candidate, "base"]);
      return { candidate: of(input.candidate), base: of("base") };
    },
  };
}

const reasons = {
  "incumbent-B": "worse-than-incumbent",
  "best-B": "worse-than-best",
  "base-A": "forgot-base-world",
} as const;

function decisionOf(verdict: Verdict, input: GateInput): Decision {
  const numbers = verdict.tests.map(describe).join("; ");
  const falseAccepts = ((input.index + 1) * input.settings.alpha).toFixed(2);
  if (verdict.outcome === "passed") {
    const { shown, e, n } = verdict.superiority;
    const better = shown
      ? `better than the best so far is shown (e ${e.toFixed(1)}, ${n} items)`
      : "better than the best so far is not shown";
    const detail = `${numbers}; ${better}; at most ${falseAccepts} false accepts expected in gates 1–${input.index + 1}`;
    return { kind: "accepted", adapter: input.candidate, superior: shown, detail };
  }
  const harm = verdict.tests.find((test) => test.verdict === "failed");
  if (harm) return { kind: "rejected", reason: reasons[harm.name], detail: numbers };
  if (input.alarm !== null)
    return { kind: "rejected", reason: "drift", detail: `${input.alarm}; not shown safe: ${numbers}` };
  if (input.deferrals >= input.settings.maxDeferrals) {
    return {
      kind: "rejected",
      reason: "undecided-too-often",
      detail: `undecided ${input.deferrals + 1} times; ${numbers}`,
    };
  }
  return { kind: "deferred", items: verdict.items, detail: numbers };
}

function describe(test: GateTest): string {
  const points = `${test.difference >= 0 ? "+" : "−"}${Math.abs(100 * test.difference).toFixed(1)} points`;
  return `${test.name} ${test.verdict} (${points} on ${test.n} items, +${test.wins} −${test.losses}, e ${test.eSafe.toFixed(1)} safe, ${test.eHarm.toFixed(1)} harm)`;
}

/** Plays one run with one fault to its end: process after process on one memory, as a person would go on with it. */
import type { LoopEvent } from "../../base/events.ts";
import { problemsOf } from "./invariants.ts";
import { full, type MemoryKind, openMemory } from "./memory.ts";
import type { Preset } from "./preset.ts";
import { FaultyProcess, Killed, type Machine, type Rest } from "./process.ts";
import type { Counts, Scenario } from "./scenario.ts";
import { type Strike, Tap } from "./tap.ts";

/** Where runs are played. */
export interface Rig {
  /** The device that all runs share. */
  readonly shared: Machine;
  /** A device of one's own, which may be destroyed. */
  fresh(): Promise<Machine>;
}

export interface Played {
  /** The last hash of the journal's content chain: covers events, pairs, adapters, moments and state, not times. */
  readonly content: string;
  readonly counts: Counts;
  /** What is stored and belongs to no commit. */
  readonly leftovers: readonly string[];
  /** Types of the run's events. */
  readonly events: readonly LoopEvent["type"][];
  /** Processes that it took. */
  readonly processes: number;
  /** What went wrong, in plain words. */
  readonly problems: readonly string[];
}

/** A run that is still in the air after this long hangs, in ms. */
const PATIENCE_MS = 600_000;
const START = 1_700_000_000_000;
/** More beginnings than any one fault needs. */
const ATTEMPTS = 6;

/** An undisturbed run. */
export function undisturbed(rig: Rig, preset: Preset, memory: MemoryKind): Promise<Played> {
  return playRun(rig, preset, memory, null);
}

/** A run with a fault; the result must be that of the undisturbed one, and nothing may lie around that does not there. */
export async function play(rig: Rig, scenario: Scenario, plain: Played): Promise<Played> {
  const played = await playRun(rig, scenario.preset, scenario.memory, scenario);
  const problems = [...played.problems];
  if (played.content !== plain.content) problems.push("the result is not that of the undisturbed run");
  const orphans = played.leftovers.filter((name) => !plain.leftovers.includes(name));
  if (orphans.length > 0) problems.push(`orphans: ${orphans.join(", ")}`);
  return { ...played, problems };
}

async function playRun(rig: Rig, preset: Preset, kind: MemoryKind, scenario: Scenario | null): Promise<Played> {
  const problems: string[] = [];
  const tap = new Tap();
  const page: LoopEvent[] = [];
  let clock = START;
  let isFull = false;
  let processes = 0;
  let run: string | null = null;
  let process: FaultyProcess | null = null;
  let own: Machine | null = scenario?.fault === "device destroyed" ? await rig.fresh() : null;
  const doomed = own?.runtime.device;

  const memory = await openMemory(kind, (scene) => {
    if (isFull) throw full[kind]();
    process?.write(scene);
  });
  if (scenario) {
    const strike = strikes(scenario, {
      process: () => process as FaultyProcess,
      fill: () => {
        isFull = true;
      },
      destroy: () => {
        doomed?.destroy();
        own = null;
      },
      jump: () => {
        clock += scenario.hours * 3_600_000;
      },
    });
    tap.arm(scenario.point, scenario.index, strike);
  }
  const born = (): FaultyProcess => {
    processes++;
    return new FaultyProcess({
      machine: async () => own ?? rig.shared,
      preset,
      tap,
      now: () => clock++,
      open: (name) => {
        run = name;
        return memory.open(name);
      },
      emit: (event) => {
        if (event.seq !== page.length)
          problems.push(`the page has ${page.length} events and was told event ${event.seq}`);
        page.push(event);
      },
      known: () => page.length,
    });
  };
  const stored = async (): Promise<string | null> => {
    if (run === null) return null;
    try {
      return (await memory.open(run).state()) === null ? null : run;
    } catch (error) {
      if (isFull) return null; // its first file cannot be written: there is no run yet
      throw error;
    }
  };

  try {
    let rest: Rest | null = null;
    let refused = 0;
    for (let attempt = 0; rest?.status !== "finished" && attempt < ATTEMPTS; attempt++) {
      const going: string | null = await stored();
      if (going === null) clock = START; // a run that was never stored begins again under its own name
      process ??= born();
      rest = await patiently(process.go(going));
      if (rest === null) {
        problems.push("the run hangs");
        break;
      }
      if (rest.status === "killed") {
        await process.end();
        process = null;
        if (scenario?.fault === "process killed") await memory.reopen();
      } else if (rest.status !== "finished") {
        problems.push(...silent(rest, isFull));
        if (isFull && ++refused > 1) isFull = false; // somebody has made room, after one attempt in vain
      }
    }
    if (rest?.status !== "finished")
      problems.push(`the run ended ${rest?.status}: ${rest?.failures.at(-1)?.message ?? "without a word"}`);
    if (tap.waiting) problems.push("the fault did not strike");
    if (process) problems.push(...(await leaks(process)));
    const name = await stored();
    const common = { counts: tap.counts, processes, problems, events: page.map((event) => event.type) };
    if (name === null) {
      problems.push("nothing is stored");
      return { ...common, content: "", leftovers: [] };
    }
    const store = memory.open(name);
    problems.push(...(await problemsOf(store)));
    const { lines } = await store.snapshot();
    if (page.length !== lines.length) problems.push(`the page was told ${page.length} of ${lines.length} events`);
    return { ...common, content: lines.at(-1)?.content ?? "", leftovers: await memory.leftovers(name) };
  } finally {
    await memory.close();
  }
}

interface Levers {
  readonly process: () => FaultyProcess;
  readonly fill: () => void;
  readonly destroy: () => void;
  readonly jump: () => void;
}

/** What the scenario's fault does when its moment comes. */
function strikes({ fault, memory, point, partly, refusals }: Scenario, levers: Levers): Strike {
  return (scene) => {
    switch (fault) {
      case "exception":
        throw new Error("injected: this call failed");
      case "abort":
        if (memory === "indexeddb") return scene.abort?.();
        if (partly) scene.partly?.();
        throw Object.assign(new Error("EIO: injected: the disk does not answer"), { code: "EIO" });
      case "full":
        if (partly) scene.partly?.();
        levers.fill();
        throw full[memory]();
      case "device lost":
        levers.process().refusals = refusals;
        return levers.process().device?.lose("injected");
      case "device destroyed":
        return levers.destroy();
      case "worker killed":
        // The store lives in another worker and goes on with what it has been told.
        return levers.process().kill();
      case "process killed":
        if (partly) scene.partly?.();
        scene.freeze?.();
        levers.process().kill();
        if (point.startsWith("write in ")) throw new Killed();
        return;
      case "asleep":
        levers.jump();
        if (partly) levers.process().device?.lose("injected: asleep");
        return;
    }
  };
}

/** A run that rests must say why, and a full disk must be called that. */
function silent({ status, failures }: Rest, isFull: boolean): readonly string[] {
  const last = failures.at(-1);
  if (last === undefined || last.message === "") return [`the run is ${status} and does not say why`];
  if (isFull && last.code !== "quota")
    return [`the disk is full, but the failure's code is ${last.code}: ${last.message}`];
  return [];
}

async function leaks(process: FaultyProcess): Promise<readonly string[]> {
  await process.end();
  return process.devices.flatMap(({ buffers }) =>
    buffers.size === 0
      ? []
      : [`${buffers.size} GPU buffers were never destroyed: ${[...buffers].slice(0, 3).map((one) => one.label)}`],
  );
}

async function patiently<T>(work: Promise<T>): Promise<T | null> {
  let timer: NodeJS.Timeout | undefined;
  const hangs = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), PATIENCE_MS);
  });
  try {
    return await Promise.race([work, hangs]);
  } finally {
    clearTimeout(timer);
  }
}

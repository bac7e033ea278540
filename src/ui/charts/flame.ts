/** Round → phases → plans → kernels as blocks of a flame chart: who contains whom, from when to when. */
import type { LoopEvent } from "../../base/events.ts";
import type { PlanSpan } from "../../base/spans.ts";

export type BlockKind = "round" | "phase" | "plan" | "kernel";
export const blockKinds: readonly BlockKind[] = ["round", "phase", "plan", "kernel"];

export interface Block {
  readonly id: number;
  /** Id of the block above; null for a round, and for plans outside of any phase. */
  readonly parent: number | null;
  readonly kind: BlockKind;
  /** Round number, event type, label of a plan or name of a shader. */
  readonly name: string;
  /** Milliseconds since the epoch. */
  readonly start: number;
  readonly end: number;
  /** Time spent: of a kernel all its dispatches, which may be less than it is wide. */
  readonly ms: number;
  /** Runs of a plan, dispatches of a kernel. */
  readonly count: number;
}

/** A phase lasts from the commit before it to its own. Only what overlaps the recorded spans is drawn. */
function phasesOf(events: readonly LoopEvent[], from: number, to: number) {
  return events.flatMap((event, i) => {
    const before = events[i - 1];
    if (!before || event.at <= from || before.at >= to || event.at <= before.at) return [];
    return [{ name: event.type, round: event.round, start: before.at, end: event.at }];
  });
}

interface Merged {
  readonly label: string;
  readonly start: number;
  readonly end: number;
  readonly runs: number;
  readonly kernels: ReadonlyMap<string, { readonly count: number; readonly ms: number }>;
}

/** Runs of the same plan one after the other become one; a plan that was submitted early begins when the one before ends. */
function mergePlans(spans: readonly PlanSpan[], phaseAt: (time: number) => unknown): Merged[] {
  const merged: Merged[] = [];
  for (const span of [...spans].sort((a, b) => a.end - b.end)) {
    const last = merged.at(-1);
    const start = Math.max(span.start, last?.end ?? span.start);
    const same = last?.label === span.label && phaseAt(last.start) === phaseAt(span.end);
    const kernels = new Map(same ? last.kernels : []);
    for (const { shader, count, ms } of span.kernels) {
      const row = kernels.get(shader) ?? { count: 0, ms: 0 };
      kernels.set(shader, { count: row.count + count, ms: row.ms + ms });
    }
    const runs = same ? last.runs + 1 : 1;
    if (same) merged.pop();
    merged.push({ label: span.label, start: same ? last.start : start, end: span.end, runs, kernels });
  }
  return merged;
}

/** All blocks, parents before their children. */
export function flame(events: readonly LoopEvent[], spans: readonly PlanSpan[]): readonly Block[] {
  const blocks: Block[] = [];
  const add = (block: Omit<Block, "id">): number => blocks.push({ ...block, id: blocks.length }) - 1;
  if (spans.length === 0) return blocks;
  const [from, to] = recordedTime(spans);
  const phases = phasesOf(events, from, to);
  const placed: { id: number; start: number; end: number }[] = [];
  for (const round of new Set(phases.map((phase) => phase.round))) {
    const own = phases.filter((phase) => phase.round === round);
    const [start, end] = [Math.min(...own.map((p) => p.start)), Math.max(...own.map((p) => p.end))];
    const parent = add({ parent: null, kind: "round", name: String(round), start, end, ms: end - start, count: 1 });
    for (const phase of own)
      placed.push({
        ...phase,
        id: add({
          parent,
          kind: "phase",
          name: phase.name,
          start: phase.start,
          end: phase.end,
          ms: phase.end - phase.start,
          count: 1,
        }),
      });
  }
  const phaseAt = (time: number): number | null =>
    placed.find(({ start, end }) => start <= time && time <= end)?.id ?? null;
  for (const { label, start, end, runs, kernels } of mergePlans(spans, phaseAt)) {
    const above = phaseAt((start + end) / 2);
    const parent = add({ parent: above, kind: "plan", name: label, start, end, ms: end - start, count: runs });
    const total = [...kernels.values()].reduce((sum, { ms }) => sum + ms, 0);
    const scale = total > end - start ? (end - start) / total : 1;
    let at = start;
    for (const [shader, { count, ms }] of kernels) {
      add({ parent, kind: "kernel", name: shader, start: at, end: at + ms * scale, ms, count });
      at += ms * scale;
    }
  }
  return blocks;
}

/** The time that was recorded, from the first plan's start to the last one's end. */
export function recordedTime(spans: readonly PlanSpan[]): readonly [number, number] {
  return [Math.min(...spans.map(({ start }) => start)), Math.max(...spans.map(({ end }) => end))];
}

export interface KernelTime {
  readonly name: string;
  /** Dispatches, and their time in milliseconds. */
  readonly count: number;
  readonly ms: number;
  /** Of the time of all kernels. */
  readonly share: number;
}

/** Every kernel of the spans, the one with the most time first. */
export function kernelTimes(spans: readonly PlanSpan[]): readonly KernelTime[] {
  const rows = new Map<string, { count: number; ms: number }>();
  for (const { shader, count, ms } of spans.flatMap(({ kernels }) => kernels)) {
    const row = rows.get(shader) ?? { count: 0, ms: 0 };
    rows.set(shader, { count: row.count + count, ms: row.ms + ms });
  }
  const total = [...rows.values()].reduce((sum, { ms }) => sum + ms, 0);
  return [...rows]
    .map(([name, row]) => ({ name, ...row, share: total > 0 ? row.ms / total : 0 }))
    .sort((a, b) => b.ms - a.ms);
}

/** What a window of time shows: blocks that overlap it and are at least a pixel or so wide of `pixels`. */
export function visible(blocks: readonly Block[], from: number, to: number, pixels: number): readonly Block[] {
  const least = (to - from) / pixels;
  return blocks.filter(({ start, end }) => start < to && end > from && end - start >= least);
}

/** Where an arrow key leads: the block above, the first one below, or the neighbour of the same kind. */
export function neighbour(
  shown: readonly Block[],
  current: Block,
  key: "ArrowUp" | "ArrowDown" | "ArrowLeft" | "ArrowRight",
): Block {
  if (key === "ArrowUp") return shown.find(({ id }) => id === current.parent) ?? current;
  if (key === "ArrowDown") return shown.find(({ parent }) => parent === current.id) ?? current;
  const row = shown.filter(({ kind }) => kind === current.kind).sort((a, b) => a.start - b.start);
  const at = row.findIndex(({ id }) => id === current.id);
  return row[at + (key === "ArrowRight" ? 1 : -1)] ?? current;
}

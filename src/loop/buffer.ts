/**
 * The replay buffer's policy: which pairs are deleted when it is full, and which old ones are drawn for training.
 * Pure and deterministic: the outcome follows from the seed and from what the buffer holds, in whatever order it lists it.
 */
import { type BufferItem, bufferItem } from "../base/buffer.ts";
import { type BufferSettings, type Contour, defaultContour } from "../base/contour.ts";
import type { EventBody } from "../base/events.ts";
import type { Pair } from "../base/records.ts";
import { rngFor } from "../base/rng.ts";
import type { StorePort } from "./ports.ts";

interface When {
  readonly seed: number;
  readonly round: number;
}

/** The contour's settings; runs that were stored before the buffer had any keep everything. */
export const bufferSettings = (contour: Contour): BufferSettings =>
  contour.buffer ?? { ...(defaultContour.buffer as BufferSettings), capacity: 0 };

/**
 * How much a pair is worth keeping or training on again, by id:
 * margin · min(margin, 1) + age · 2^(−rounds since / halfLife) + novelty / (pairs with the same chosen answer).
 */
export function priorities(
  items: readonly BufferItem[],
  { priority }: BufferSettings,
  round: number,
): ReadonlyMap<string, number> {
  const same = new Map<string, number>();
  for (const { answer } of items) same.set(answer, (same.get(answer) ?? 0) + 1);
  return new Map(
    items.map((item) => [
      item.id,
      priority.margin * Math.min(item.margin, 1) +
        priority.age * 2 ** (-(round - item.round) / priority.halfLife) +
        priority.novelty / (same.get(item.answer) as number),
    ]),
  );
}

/** Pairs that an accepted update was trained on, and visitors' corrections: what the reservoir is for. */
const isReal = ({ status, source }: BufferItem): boolean => status === "accepted" || source === "visitor";

/** Pairs that the candidate at hand trains on, or was trained on, are never deleted for want of room. */
const isInUse = ({ status }: BufferItem): boolean => status === "fresh" || status === "trained";

/**
 * The pairs to delete so that the rest fits the capacity, in the order of their deletion; none if all fit.
 * A share of the capacity is a reservoir: a uniform sample of all real pairs that ever came, so that old ones accumulate
 * instead of being replaced by new ones. Every real pair draws a number once, from (seed, id), and those with the smallest
 * stay: a bottom-k sketch (Cohen and Kaplan 2007), which is reservoir sampling without a memory of what is gone.
 * What is not in the reservoir goes by priority, lowest first; the reservoir itself only when nothing else is left.
 */
export function evictions(
  items: readonly BufferItem[],
  settings: BufferSettings,
  { seed, round }: When,
): readonly BufferItem[] {
  const { capacity } = settings;
  let bytes = bytesOf(items);
  if (capacity === 0 || bytes <= capacity) return [];
  const { inside, outside } = reservoir(
    items.filter((item) => !isInUse(item)),
    settings.reservoir * capacity,
    seed,
  );
  const worth = priorities(items, settings, round);
  const byWorth = [...outside].sort(
    (a, b) => (worth.get(a.id) as number) - (worth.get(b.id) as number) || (a.id < b.id ? -1 : 1),
  );
  const deleted: BufferItem[] = [];
  for (const item of [...byWorth, ...inside.reverse()]) {
    if (bytes <= capacity) break;
    deleted.push(item);
    bytes -= item.bytes;
  }
  return deleted;
}

/** `inside` is in the order of the numbers drawn. It ends before the first pair that does not fit: what once left never comes back. */
function reservoir(
  items: readonly BufferItem[],
  room: number,
  seed: number,
): { inside: BufferItem[]; outside: BufferItem[] } {
  const drawn = items
    .filter(isReal)
    .map((item) => ({ item, key: rngFor(seed, "reservoir", item.id).next() }))
    .sort((a, b) => a.key - b.key || (a.item.id < b.item.id ? -1 : 1))
    .map(({ item }) => item);
  const inside: BufferItem[] = [];
  let bytes = 0;
  for (const item of drawn) {
    bytes += item.bytes;
    if (bytes > room) break;
    inside.push(item);
  }
  const chosen = new Set(inside.map(({ id }) => id));
  return { inside, outside: items.filter(({ id }) => !chosen.has(id)) };
}

/**
 * Ids of `count` accepted pairs, drawn without replacement and each time with a chance proportional to its priority
 * (Efraimidis and Spirakis 2006: the largest ln(u) / weight). All of them if there are no more.
 */
export function drawReplay(
  items: readonly BufferItem[],
  count: number,
  settings: BufferSettings,
  { seed, round }: When,
): readonly string[] {
  const worth = priorities(items, settings, round);
  return items
    .filter(({ status }) => status === "accepted")
    .map(({ id }) => {
      const u = 1 - rngFor(seed, "replay-pairs", round, id).next(); // in (0, 1]
      return { id, key: Math.log(u) / Math.max(worth.get(id) as number, 1e-9) };
    })
    .sort((a, b) => b.key - a.key || (a.id < b.id ? -1 : 1))
    .slice(0, count)
    .map(({ id }) => id);
}

/** What must leave the buffer when `fresh` come into it. Their commit deletes it and carries the event. */
export async function makeRoom(
  store: StorePort,
  contour: Contour,
  fresh: readonly Pair[],
  when: When,
): Promise<{ readonly removePairs: readonly string[]; readonly events: readonly EventBody[] }> {
  const settings = bufferSettings(contour);
  const coming = fresh.map(bufferItem);
  const ids = new Set(coming.map(({ id }) => id));
  const stored = settings.capacity === 0 ? [] : await store.bufferItems({ over: settings.capacity - bytesOf(coming) });
  const items = [...stored.filter(({ id }) => !ids.has(id)), ...coming];
  const deleted = evictions(items, settings, when);
  const detail = `${deleted.length} of ${items.length} pairs, so that the others fit ${settings.capacity} bytes`;
  return deletion(deleted, "capacity", detail);
}

/** The deletion of these pairs and its event, none for none. */
export function deletion(
  items: readonly BufferItem[],
  reason: "capacity" | "request",
  detail: string,
): { readonly removePairs: readonly string[]; readonly events: readonly EventBody[] } {
  const pairs = items.map(({ id }) => id);
  if (pairs.length === 0) return { removePairs: [], events: [] };
  return { removePairs: pairs, events: [{ type: "deleted", pairs, reason, bytes: bytesOf(items), detail }] };
}

const bytesOf = (items: readonly BufferItem[]): number => items.reduce((sum, { bytes }) => sum + bytes, 0);

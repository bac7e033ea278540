import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { BufferItem } from "../../src/base/buffer.ts";
import { type BufferSettings, type Contour, defaultContour } from "../../src/base/contour.ts";
import { rngFor } from "../../src/base/rng.ts";
import { bufferSettings, drawReplay, evictions, priorities } from "../../src/loop/buffer.ts";
import { createLoop } from "../../src/loop/cycle.ts";
import { type FakePorts, fakeContour, fakePorts, only } from "./fakes.ts";

const settings = (change: Partial<BufferSettings> = {}): BufferSettings => ({
  ...bufferSettings(defaultContour),
  capacity: 1000,
  ...change,
});
const item = (id: string, change: Partial<BufferItem> = {}): BufferItem => ({
  id,
  status: "accepted",
  round: 1,
  source: "camera:B",
  kind: "describe",
  margin: 0.5,
  answer: id,
  bytes: 100,
  ...change,
});
const many = (count: number, change: (i: number) => Partial<BufferItem> = () => ({})): BufferItem[] =>
  Array.from({ length: count }, (_, i) => item(`p${i}`, change(i)));
const ids = (items: readonly BufferItem[]): string[] => items.map(({ id }) => id);
const when = { seed: 3, round: 10 };

describe("what makes a pair worth keeping", () => {
  test("margin, age and novelty, each by its weight", () => {
    const only = (key: "margin" | "age" | "novelty"): BufferSettings =>
      settings({ priority: { margin: 0, age: 0, novelty: 0, halfLife: 4, [key]: 2 } });
    const items = [
      item("a", { margin: 0.25, round: 2, answer: "x" }),
      item("b", { margin: 3, round: 10, answer: "x" }),
    ];
    expect([...priorities(items, only("margin"), 10).values()]).toEqual([0.5, 2]);
    expect([...priorities(items, only("age"), 10).values()]).toEqual([0.5, 2]); // two half-lives: 2 · 2⁻²
    expect([...priorities(items, only("novelty"), 10).values()]).toEqual([1, 1]); // two pairs with one answer
  });
});

describe("a full buffer", () => {
  test("deletes nothing while all fits, and nothing ever without a capacity", () => {
    expect(evictions(many(10), settings(), when)).toEqual([]);
    expect(evictions(many(99), settings({ capacity: 0 }), when)).toEqual([]);
  });

  test("deletes the least worthy first, as many as it must, and never what the candidate needs", () => {
    const status = (i: number) => (i < 3 ? "fresh" : i < 5 ? "trained" : "quarantined");
    const items = many(14, (i) => ({ status: status(i), margin: i < 5 ? 0 : i / 20 }));
    expect(ids(evictions(items, settings(), when))).toEqual(["p5", "p6", "p7", "p8"]);
    const needed = many(14, () => ({ status: "fresh" }));
    expect(evictions(needed, settings(), when)).toEqual([]);
  });

  test("keeps the reservoir of accepted pairs and corrections although others are worth more", () => {
    const items = [
      ...many(4, () => ({ margin: 0, round: 1 })),
      item("drawn", { source: "visitor", status: "quarantined", margin: 0 }),
      ...Array.from({ length: 12 }, (_, i) => item(`q${i}`, { status: "quarantined", margin: 1, round: 10 })),
    ];
    expect(ids(evictions(items, settings(), when)).every((id) => id.startsWith("q"))).toBe(true);
    const none = ids(evictions(items, settings({ reservoir: 0 }), when));
    expect(none).toEqual(expect.arrayContaining(["p0", "p1", "p2", "p3", "drawn"]));
  });

  test("does not depend on the order in which the store lists the pairs", () => {
    const kinds = ["fresh", "trained", "accepted", "quarantined"] as const;
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 1, max: 40 }), (seed, count) => {
        const rng = rngFor(seed, "items");
        const items = many(count, () => ({
          status: rng.pick(kinds),
          margin: rng.next(),
          round: rng.int(10),
          bytes: 50 + rng.int(200),
          answer: String(rng.int(5)),
        }));
        const deleted = evictions(items, settings(), { seed, round: 10 });
        expect(ids(evictions(rng.shuffle(items), settings(), { seed, round: 10 }))).toEqual(ids(deleted));
        // No more than needed: without the last deletion it would not fit.
        const bytes = items.reduce((sum, one) => sum + one.bytes, 0);
        const freed = deleted.reduce((sum, one) => sum + one.bytes, 0);
        expect(deleted.length === 0 || bytes - freed + (deleted.at(-1)?.bytes ?? 0) > 1000).toBe(true);
        expect(deleted.every(({ status }) => status === "accepted" || status === "quarantined")).toBe(true);
      }),
      { numRuns: 100, seed: 2 },
    );
  });

  test("lets old data accumulate: after 80 rounds every round is as likely to be in the reservoir", () => {
    const rounds = 80;
    const made = (round: number): BufferItem[] =>
      many(10, (i) => ({ id: `${round}/${i}`, answer: `${round}/${i}`, round }));
    const half = settings({ capacity: 24_000, reservoir: 0.5 }); // 240 pairs, 120 of them in the reservoir
    let held: BufferItem[] = [];
    for (let round = 1; round <= rounds; round++) {
      held.push(...made(round));
      const gone = new Set(ids(evictions(held, half, { seed: 3, round })));
      held = held.filter(({ id }) => !gone.has(id));
    }
    expect(held.length).toBe(240);
    // 60 of the reservoir's 120 come from the first half, σ = √(120/4); the other 120 are the newest twelve rounds.
    const fromFirst = held.filter(({ round }) => round <= rounds / 2).length;
    expect(Math.abs(fromFirst - 60)).toBeLessThan(4 * Math.sqrt(120 / 4));
    // Replaced by priority alone, nothing of it would be left.
    const all = Array.from({ length: rounds }, (_, i) => made(i + 1)).flat();
    const replaced = evictions(all, { ...half, reservoir: 0 }, { seed: 3, round: rounds });
    expect(replaced.filter(({ round }) => round <= rounds / 2).length).toBe(400);
  });
});

describe("old pairs for training", () => {
  test("are accepted ones, without repetition, the same for the same seed and round, whatever the order", () => {
    const items = many(50, (i) => ({ status: i % 2 === 0 ? "accepted" : "quarantined" }));
    const drawn = drawReplay(items, 10, settings(), when);
    expect(new Set(drawn).size).toBe(10);
    expect(drawn.every((id) => Number(id.slice(1)) % 2 === 0)).toBe(true);
    expect(drawReplay(rngFor(1).shuffle(items), 10, settings(), when)).toEqual(drawn);
    expect(drawReplay(items, 10, settings(), { seed: 4, round: 10 })).not.toEqual(drawn);
    expect(drawReplay(items, 10, settings(), { seed: 3, round: 11 })).not.toEqual(drawn);
    expect(drawReplay(items, 99, settings(), when)).toHaveLength(25);
  });

  test("come as often as their priority says: one of weight 3 and one of weight 1", () => {
    const items = [item("a", { margin: 1 }), item("b", { margin: 1 / 3 })];
    const weights = settings({ priority: { margin: 1, age: 0, novelty: 0, halfLife: 8 } });
    const rounds = 2000;
    const first = Array.from({ length: rounds }, (_, round) => drawReplay(items, 1, weights, { seed: 3, round })[0]);
    const share = first.filter((id) => id === "a").length / rounds;
    expect(Math.abs(share - 0.75)).toBeLessThan(4 * Math.sqrt((0.75 * 0.25) / rounds));
  });
});

describe("the buffer in a run", () => {
  const play = async (contour: Contour): Promise<FakePorts> => {
    const ports = fakePorts();
    const loop = createLoop(ports);
    await loop.start({ run: "r", contour, seed: 7 });
    await loop.run();
    return ports;
  };
  /** Of this contour's pairs of three bytes a picture, about 1,050 bytes each. */
  const bounded = (capacity: number): Contour => ({
    ...fakeContour,
    buffer: settings({ capacity }),
    train: { ...fakeContour.train, replayPairs: 0.5 },
  });

  test("stays within its capacity, each deletion in the commit of the pairs that needed the room", async () => {
    const free = await play(bounded(0));
    expect(only(free.emitted, "deleted")).toEqual([]);
    const ports = await play(bounded(60_000));
    const deleted = only(ports.emitted, "deleted");
    expect(deleted.length).toBeGreaterThan(0);
    for (const commit of ports.store.commits) {
      const told = commit.events.flatMap((event) => (event.type === "deleted" ? event.pairs : []));
      expect(commit.removePairs).toEqual(told);
      if (told.length > 0) expect(commit.putPairs.length).toBeGreaterThan(0);
    }
    const left = await ports.store.bufferItems({ over: 0 });
    expect(left.reduce((sum, { bytes }) => sum + bytes, 0)).toBeLessThanOrEqual(60_000);
    for (const id of deleted.flatMap(({ pairs }) => pairs)) expect(ids(left)).not.toContain(id);
  });

  test("with room enough changes nothing: the default's training is that of a run without settings", async () => {
    const { buffer: _, ...first } = fakeContour;
    const [now, before] = [await play(fakeContour), await play(first)];
    const content = (ports: FakePorts) =>
      ports.emitted.filter(({ type }) => type !== "started").map((event) => ({ ...event, at: 0 }));
    expect(content(now)).toEqual(content(before));
    expect(await now.store.pairs({})).toEqual(await before.store.pairs({}));
  });

  test("forgets pairs on request, with a tombstone, and not those that it does not have", async () => {
    const ports = fakePorts();
    const loop = createLoop(ports);
    await loop.start({ run: "r", contour: fakeContour, seed: 7 });
    await loop.advance();
    const [first] = await ports.store.pairs({});
    const id = first?.id ?? "";
    await loop.forget({ pairs: [id], detail: "my own picture" });
    expect(await ports.store.hasPair(id)).toBe(false);
    expect(only(ports.emitted, "deleted")).toMatchObject([
      { pairs: [id], reason: "request", detail: "my own picture" },
    ]);
    await loop.run();
    expect(only(ports.emitted, "trained").flatMap(({ pairs }) => pairs)).not.toContain(id);
  });
});

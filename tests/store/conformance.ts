import fc from "fast-check";
import { afterEach, describe, expect, it } from "vitest";
import { type BufferItem, bufferItem } from "../../src/base/buffer.ts";
import { canonicalJson } from "../../src/base/canonical.ts";
import type { Pair, PairStatus } from "../../src/base/records.ts";
import { StoreError } from "../../src/store/errors.ts";
import { sumJournal, verifyJournal } from "../../src/store/journal.ts";
import { listed, type PairFilter, type PairPage, type RunContents, type RunStore } from "../../src/store/run.ts";
import { adapterOf, type Change, counter, demoRun, pairOf, Script } from "./fixtures.ts";

/** How the suite opens the stores under test. `open` of one run may be called several times: several handles on one memory. */
export interface Harness {
  open(run: string): Promise<RunStore>;
  /** Closes everything and forgets it. */
  clear(): Promise<void>;
}

/** Everything that a store holds, as one comparable text. */
export async function dump(store: RunStore): Promise<string> {
  const { state, lines } = await store.snapshot();
  const sum = sumJournal(lines);
  const adapters = await Promise.all([...sum.adapters.keys()].map((hash) => store.adapter(hash)));
  return canonicalJson({
    state,
    lines,
    events: await store.events({ since: 0 }),
    pairs: await store.pairs({}),
    adapters,
  });
}

/** What both stores must do alike. */
export function conformance(name: string, make: () => Harness): void {
  describe(`${name}: the same as every store`, () => {
    const harness = make();
    afterEach(() => harness.clear());
    const event = { type: "error", code: "x", message: "" } as const;

    it("is empty before the first commit", async () => {
      const store = await harness.open("r");
      expect(await store.state()).toBeNull();
      expect(await store.pairs({})).toEqual([]);
      expect(await store.events({ since: 0 })).toEqual([]);
      expect(await store.adapter(adapterOf("a").hash)).toBeNull();
      expect(await store.hasPair("x")).toBe(false);
    });

    it("gives back what was committed, from another handle too", async () => {
      const store = await harness.open("r");
      const commits = demoRun("r");
      for (const change of commits) await store.commit(change);
      for (const handle of [store, await harness.open("r")]) {
        expect(await handle.state()).toEqual(commits.at(-1)?.state);
        expect(await handle.events({ since: 0 })).toEqual(commits.flatMap((change) => change.events));
        expect((await handle.events({ since: 5 })).map((event) => event.seq)).toEqual([
          5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17,
        ]);
        expect((await handle.events({ since: 4, limit: 2 })).map((event) => event.seq)).toEqual([4, 5]);
        expect(await handle.events({ since: 99 })).toEqual([]);
        const adapter = adapterOf("7/1");
        expect(await handle.adapter(adapter.hash)).toEqual(adapter);
        const { lines } = await handle.snapshot();
        expect(verifyJournal(lines, { run: "r" }).ok).toBe(true);
      }
    });

    it("finds pairs by status and round, in the order in which they came", async () => {
      const store = await harness.open("r");
      for (const change of demoRun("r")) await store.commit(change);
      const of = (round: number): Pair[] => [0, 1, 2].map((i) => pairOf(`7/${round}/${i}`, round));
      const as = (status: PairStatus, pairs: readonly Pair[]): Pair[] => pairs.map((pair) => ({ ...pair, status }));
      const visitor = pairOf("7/visitor", 2, "visitor");
      expect(await store.pairs({ status: "accepted" })).toEqual(as("accepted", [...of(0), ...of(2)]));
      expect(await store.pairs({ status: "quarantined" })).toEqual(as("quarantined", of(1)));
      expect(await store.pairs({ round: 2 })).toEqual([...as("accepted", of(2)), visitor]);
      expect(await store.pairs({ round: 2, status: "fresh" })).toEqual([visitor]);
      expect(await store.pairs({ status: "accepted", limit: 4 })).toEqual(
        as("accepted", [...of(0), ...of(2).slice(0, 1)]),
      );
      expect(await store.pairs({ status: "accepted", round: 2, limit: 2 })).toEqual(as("accepted", of(2).slice(0, 2)));
      expect((await store.pairs({})).length).toBe(10);
      expect(await store.hasPair(visitor.id)).toBe(true);
      expect(await store.pairsById([visitor.id, (of(0)[1] as Pair).id])).toEqual([
        visitor,
        ...as("accepted", of(0).slice(1, 2)),
      ]);
      await expect(store.pairsById(["nobody"])).rejects.toMatchObject({ code: "damaged" });
    });

    it("replaces a pair that is put again, and lists it last", async () => {
      const store = await harness.open("r");
      const script = new Script("r");
      const [a, b] = [pairOf("a", 0), pairOf("b", 0)];
      await store.commit(script.commit({ events: [{ type: "error", code: "x", message: "" }], putPairs: [a, b] }));
      await store.commit(
        script.commit({ events: [{ type: "error", code: "x", message: "" }], putPairs: [{ ...a, margin: 0.9 }] }),
      );
      expect(await store.pairs({})).toEqual([b, { ...a, margin: 0.9 }]);
      expect([...sumJournal((await store.snapshot()).lines).pairs.keys()]).toEqual([b.id, a.id]);
    });

    it("lists pairs page by page under every filter, in both directions, as a plain search would", async () => {
      const store = await harness.open("r");
      const script = new Script("r");
      const kinds = ["describe", "count"] as const;
      const all: BufferItem[] = [];
      for (let round = 0; round < 4; round++) {
        const putPairs = Array.from({ length: 6 }, (_, i): Pair => {
          const pair = pairOf(`${round}/${i}`, round, i % 3 === 0 ? "visitor" : "camera:B");
          const kind = kinds[i % 2] as Pair["task"]["kind"];
          return { ...pair, task: { ...pair.task, kind }, status: i < round ? "accepted" : "fresh" };
        });
        all.push(...putPairs.map(bufferItem));
        await store.commit(script.commit({ events: [event], putPairs }));
      }
      const filters: PairFilter[] = [undefined, "visitor", "camera:B"].flatMap((source) =>
        [undefined, 2].flatMap((round) =>
          [undefined, "count" as const].flatMap((kind) =>
            [undefined, "accepted" as const, "trained" as const].map((status) => ({ source, round, kind, status })),
          ),
        ),
      );
      for (const filter of filters)
        for (const newestFirst of [false, true]) {
          const pages: (readonly BufferItem[])[] = [];
          let after: PairPage["next"] = null;
          do {
            const page: PairPage = await store.listPairs({ ...filter, after, newestFirst, limit: 4 });
            pages.push(page.items);
            after = page.next;
          } while (after !== null);
          const wanted = all.filter((item) =>
            (["source", "round", "kind", "status"] as const).every(
              (field) => filter[field] === undefined || filter[field] === item[field],
            ),
          );
          expect(await store.countPairs(filter, 99)).toBe(wanted.length);
          expect(await store.countPairs(filter, 2)).toBe(Math.min(2, wanted.length));
          expect(pages.flat()).toEqual(newestFirst ? wanted.reverse() : wanted);
          expect(pages.every((page, i) => page.length === 4 || i === pages.length - 1)).toBe(true);
        }
      expect(await store.sources()).toEqual(["camera:B", "visitor"]);
    });

    it("deletes pairs with a tombstone in the journal, and only pairs that it has", async () => {
      const store = await harness.open("r");
      for (const change of demoRun("r")) await store.commit(change);
      const script = new Script("r");
      script.state = (await store.state()) ?? script.state;
      const [gone, kept, visitor] = ["7/0/0", "7/0/1", "7/visitor"].map((label) => pairOf(label, 0).id) as [
        string,
        string,
        string,
      ];
      const bytes = await store.bytes();
      const tombstone = (pairs: readonly string[]): Change => ({
        events: [{ type: "deleted", pairs, reason: "request", bytes: 1, detail: "" }],
        removePairs: pairs,
      });
      await store.commit(script.commit(tombstone([gone, visitor])));
      for (const handle of [store, await harness.open("r")]) {
        expect(await handle.hasPair(gone)).toBe(false);
        expect((await handle.pairs({})).map(({ id }) => id)).not.toContain(visitor);
        expect((await handle.pairs({})).length).toBe(8);
        expect((await handle.pairsById([kept]))[0]?.id).toBe(kept);
        expect((await handle.listPairs({ source: "visitor", limit: 5 })).items).toEqual([]);
        await expect(handle.pairsById([gone])).rejects.toMatchObject({ code: "damaged" });
      }
      const { lines } = await store.snapshot();
      expect(verifyJournal(lines, { run: "r" }).ok).toBe(true);
      expect([...sumJournal(lines).removed]).toEqual([
        [gone, 18],
        [visitor, 18],
      ]);
      expect((await store.bufferItems({ over: 0 })).map(({ id }) => id)).toEqual(
        (await store.pairs({})).map(({ id }) => id),
      );
      expect(await store.bufferItems({ over: 1e6 })).toEqual([]);
      expect(await store.bytes()).toBeLessThan(bytes + 3000);

      const before = await dump(store);
      const { state } = script;
      for (const [change, message] of [
        [tombstone([gone]), "not in the store"],
        [{ ...tombstone([kept]), removePairs: [] }, "events name"],
        [{ ...tombstone([]), removePairs: [kept] }, "events name"],
        [tombstone([kept, kept]), "deleted twice"],
        [{ ...tombstone([kept]), putPairs: [pairOf("7/0/1", 0)] }, "stored and deleted"],
      ] as const) {
        script.state = state;
        await expect(store.commit(script.commit(change))).rejects.toMatchObject({
          code: "refused",
          message: expect.stringContaining(message),
        });
        expect(await dump(store)).toBe(before);
      }
      script.state = state;
      await store.commit(script.commit({ events: [event], putPairs: [pairOf("7/0/0", 3)] })); // made again later
      expect(await store.hasPair(gone)).toBe(true);
      expect(sumJournal((await store.snapshot()).lines).removed.has(gone)).toBe(false);
    });

    it("keeps runs apart", async () => {
      const [a, b] = [await harness.open("a"), await harness.open("b")];
      for (const change of demoRun("a")) await a.commit(change);
      expect(await b.state()).toBeNull();
      for (const change of demoRun("b", 8)) await b.commit(change);
      expect((await b.pairs({})).some((pair) => pair.id === pairOf("7/0/0", 0).id)).toBe(false);
    });

    it("refuses a second writer whose state is stale, and says so", async () => {
      const [first, second] = [await harness.open("r"), await harness.open("r")];
      const commits = demoRun("r");
      await first.commit(commits[0] as (typeof commits)[0]);
      await second.commit(commits[1] as (typeof commits)[0]);
      const before = await dump(first);
      await expect(first.commit(commits[1] as (typeof commits)[0])).rejects.toMatchObject({
        code: "stale",
        message: expect.stringContaining("another tab or process"),
      });
      expect(await dump(first)).toBe(before);
      expect(await dump(second)).toBe(before);
    });

    it("lets exactly one of two simultaneous writers win", async () => {
      const [first, second] = [await harness.open("r"), await harness.open("r")];
      const commits = demoRun("r");
      await first.commit(commits[0] as (typeof commits)[0]);
      const change = commits[1] as (typeof commits)[0];
      const results = await Promise.allSettled([first.commit(change), second.commit(change)]);
      expect(results.map((result) => result.status).sort()).toEqual(["fulfilled", "rejected"]);
      expect((await first.events({ since: 0 })).length).toBe(4);
      expect(verifyJournal((await second.snapshot()).lines, { run: "r" }).ok).toBe(true);
    });

    const bad: [string, string, (script: Script) => Parameters<RunStore["commit"]>[0]][] = [
      ["no event", "at least one event", (script) => script.commit({ events: [], putPairs: [pairOf("q", 0)] })],
      [
        "a gap in the numbers",
        "without gaps",
        (script) => {
          const change = script.commit({ events: [event, event] });
          return { ...change, events: change.events.map((e, i) => ({ ...e, seq: e.seq + i })) };
        },
      ],
      [
        "a state with another seq",
        "seq",
        (script) => ({ ...script.commit({ events: [event] }), state: { ...script.state, seq: 99 } }),
      ],
      [
        "another run's state",
        "belongs to run",
        (script) => script.commit({ events: [event], state: { run: "other" } }),
      ],
      [
        "a status for a pair that is not there",
        "not in the store",
        (script) =>
          script.commit({
            events: [event],
            putPairs: [pairOf("new", 1)],
            setStatus: [{ id: "ghost", status: "trained" }],
          }),
      ],
      [
        "an adapter that is not its hash",
        "SHA-256",
        (script) => script.commit({ events: [event], putAdapters: [{ ...adapterOf("a"), hash: adapterOf("b").hash }] }),
      ],
      [
        "the same pair twice",
        "twice",
        (script) => script.commit({ events: [event], putPairs: [pairOf("n", 1), pairOf("n", 1)] }),
      ],
      [
        "a number that is none",
        "finite",
        (script) => script.commit({ events: [event], putPairs: [{ ...pairOf("n", 1), margin: Number.NaN }] }),
      ],
    ];
    for (const [what, message, make_] of bad) {
      it(`refuses ${what}, and keeps nothing of it`, async () => {
        const store = await harness.open("r");
        const script = new Script("r");
        await store.commit(script.commit({ events: [event], putPairs: [pairOf("p", 0)] }));
        const before = await dump(store);
        await expect(store.commit(make_(script))).rejects.toThrow(message);
        expect(await dump(store)).toBe(before);
      });
    }

    it("stores only the bytes of a picture that is a view of a large buffer", async () => {
      const store = await harness.open("r");
      const large = new Uint8Array(1 << 20);
      const shown = { size: 4, rgb: large.subarray(100, 148) };
      const pair: Pair = { ...pairOf("view", 0), task: { ...pairOf("view", 0).task, picture: shown } };
      await store.commit(new Script("r").commit({ events: [event], putPairs: [pair] }));
      const [back] = await store.pairs({});
      expect(back?.task.picture?.rgb.buffer.byteLength).toBe(48);
    });

    it("restores an imported run whole, and only into an empty one", async () => {
      const source = await harness.open("r");
      for (const change of demoRun("r")) await source.commit(change);
      const { state, lines } = await source.snapshot();
      if (state === null) throw new Error("no state");
      const adapters = await Promise.all(
        [0, 1, 2].map(async (round) => (await source.adapter(adapterOf(`7/${round}`).hash)) ?? adapterOf("none")),
      );
      const contents: RunContents = {
        title: "copied",
        state,
        lines,
        events: each(await source.events({ since: 0 })),
        pairs: each(await source.pairs({})),
        adapters: each(adapters),
      };
      const before = await dump(source);
      await expect(source.restore(contents)).rejects.toMatchObject({
        code: "refused",
        message: expect.stringContaining("never overwrites"),
      });
      expect(await dump(source)).toBe(before);
      await harness.clear();
      const target = await harness.open("r");
      const empty = await dump(target);
      for (const part of ["events", "pairs", "adapters"] as const) {
        const broken = { ...contents, [part]: each([...(await listed<unknown>(contents[part]())), null], "cut short") };
        await expect(target.restore(broken as RunContents)).rejects.toThrow("cut short");
        expect(await dump(target)).toBe(empty);
        expect(await target.pairs({})).toEqual([]);
      }
      await target.restore(contents);
      expect(await dump(target)).toBe(before);
      // and it goes on where it stood
      const script = new Script("r");
      script.state = state;
      await target.commit(script.commit({ events: [event] }));
      expect(verifyJournal((await target.snapshot()).lines, { run: "r" }).ok).toBe(true);
    });

    it("has the same content chain for the same seed at other times, and another for another seed", async () => {
      const chains: string[] = [];
      for (const [run, seed, start] of [
        ["a", 7, 1000],
        ["b", 7, 5000],
        ["c", 8, 1000],
      ] as const) {
        const store = await harness.open(run);
        for (const change of demoRun(run, seed, counter(start))) await store.commit(change);
        chains.push((await store.snapshot()).lines.at(-1)?.content ?? "");
      }
      expect(chains[0]).toBe(chains[1]);
      expect(chains[0]).not.toBe(chains[2]);
    });

    it("agrees with a plain model over random commits", async () => {
      const step = fc.record({
        put: fc.uniqueArray(fc.integer({ min: 0, max: 12 }), { maxLength: 4 }),
        status: fc.constantFrom<PairStatus>("trained", "accepted", "quarantined"),
        pick: fc.integer({ min: 0, max: 99 }),
      });
      await fc.assert(
        fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 8 }), async (steps) => {
          const store = await harness.open("m");
          const script = new Script("m");
          const model = new Map<string, Pair>();
          for (const [round, { put, status, pick }] of steps.entries()) {
            const putPairs = put.map((n) => pairOf(`p${n}`, round));
            for (const pair of putPairs) {
              model.delete(pair.id);
              model.set(pair.id, pair);
            }
            const chosen = [...model.keys()][pick % Math.max(1, model.size)];
            const setStatus = chosen === undefined ? [] : [{ id: chosen, status }];
            if (chosen !== undefined) model.set(chosen, { ...(model.get(chosen) as Pair), status });
            await store.commit(script.commit({ events: [event], putPairs, setStatus }));
          }
          const all = [...model.values()];
          const again = await harness.open("m");
          expect(await again.pairs({})).toEqual(all);
          for (const status of ["fresh", "trained", "accepted", "quarantined"] as const)
            expect(await again.pairs({ status })).toEqual(all.filter((pair) => pair.status === status));
          expect(await again.pairs({ round: 1, limit: 2 })).toEqual(all.filter((pair) => pair.round === 1).slice(0, 2));
          await harness.clear();
        }),
        { numRuns: 15, seed: 4 },
      );
    });

    it("throws StoreErrors that cross as values", async () => {
      const store = await harness.open("r");
      const error: unknown = await store
        .commit(new Script("r").commit({ events: [] }))
        .catch((reason: unknown) => reason);
      expect(error).toBeInstanceOf(StoreError);
    });
  });
}

/** The values one by one; with `failure`, the last of them ends in it. */
function each<T>(values: readonly T[], failure?: string): () => AsyncGenerator<T> {
  return async function* () {
    for (const [i, value] of values.entries()) {
      if (failure !== undefined && i === values.length - 1) throw new Error(failure);
      yield value;
    }
  };
}

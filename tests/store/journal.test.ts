import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  genesis,
  type JournalHead,
  type JournalLine,
  journalLines,
  sumJournal,
  verifyJournal,
} from "../../src/store/journal.ts";
import { prepareCommit } from "../../src/store/run.ts";
import { counter, demoRun } from "./fixtures.ts";

function journalOf(run: string, seed = 7, start = 1000): JournalLine[] {
  let head: JournalHead = genesis(run);
  const lines: JournalLine[] = [];
  for (const change of demoRun(run, seed, counter(start))) {
    lines.push(...prepareCommit(run, head, change).lines);
    head = lines.at(-1) as JournalLine;
  }
  return lines;
}

const lines = journalOf("r");
const head = lines.at(-1) as JournalLine;
const problemsOf = (changed: readonly JournalLine[]) => {
  const verdict = verifyJournal(changed, { run: "r", head });
  return verdict.ok ? [] : verdict.problems.map(({ kind, seq }) => `${kind} ${seq}`);
};
const at = (i: number): JournalLine => lines[i] as JournalLine;

describe("the journal", () => {
  it("verifies as it was written, and sums up to what the store must hold", () => {
    expect(verifyJournal(lines, { run: "r", head })).toEqual({
      ok: true,
      head: { seq: 17, content: head.content, hash: head.hash },
    });
    const sum = sumJournal(lines);
    expect(sum.pairs.size).toBe(10);
    expect([...sum.pairs.values()].map((pair) => pair.status).join(" ")).toBe(
      "accepted accepted accepted quarantined quarantined quarantined accepted accepted accepted fresh",
    );
    expect(sum.adapters.size).toBe(3);
  });

  it("names a changed line, whichever field changed", () => {
    for (const [key, value] of Object.entries({
      round: 9,
      type: "error",
      at: 5,
      event: "0".repeat(64),
      content: "0".repeat(64),
      hash: "0".repeat(64),
      data: null,
    })) {
      const changed = lines.map((line, i) => (i === 3 ? { ...line, [key]: value } : line));
      expect(problemsOf(changed), key).toContain("changed 3");
    }
    const nested = lines.map((line, i) =>
      i === 3 && line.data !== null ? { ...line, data: { ...line.data, pairs: line.data.pairs.slice(1) } } : line,
    );
    expect(problemsOf(nested)).toEqual(["changed 3"]);
  });

  it("names a changed line even when its own hash was made to fit", () => {
    for (const i of [0, 3, 17]) {
      const line = at(i);
      const before = i === 0 ? genesis("r") : at(i - 1);
      const forged = {
        ...line,
        ...journalLines(
          { ...before, seq: i - 1 },
          [{ type: "error", code: "", message: "forged", seq: i, at: 1, round: 0 }],
          { pairs: [], status: [], adapters: [], state: "0".repeat(64) },
        )[0],
      } as JournalLine;
      expect(problemsOf(lines.map((other, j) => (j === i ? forged : other)))).toContain(`changed ${i}`);
    }
  });

  it("names a missing line: first, middle, last", () => {
    for (const i of [0, 6, 17]) expect(problemsOf(lines.filter((_, j) => j !== i))).toContain(`missing ${i}`);
    expect(problemsOf([])).toContain("missing 0");
  });

  it("cannot see a cut-off tail without the head, and says nothing then", () => {
    expect(verifyJournal(lines.slice(0, 10), { run: "r" }).ok).toBe(true);
  });

  it("names reordered lines", () => {
    const swapped = [...lines];
    [swapped[4], swapped[9]] = [at(9), at(4)];
    expect(problemsOf(swapped)).toEqual(["reordered 9", "reordered 4"]);
  });

  it("names an added line: a copy, a line of another journal, one at the end", () => {
    expect(problemsOf([...lines.slice(0, 5), at(2), ...lines.slice(5)])).toEqual(["added 2"]);
    const foreign = journalOf("r", 8)[5] as JournalLine;
    const verdict = verifyJournal([...lines.slice(0, 5), foreign, ...lines.slice(5)], { run: "r", head });
    expect(verdict).toMatchObject({ ok: false, problems: [{ kind: "added", position: 5, seq: 5 }] });
    const more = journalLines(head, [{ type: "error", code: "", message: "", seq: 18, at: 1, round: 0 }], {
      pairs: [],
      status: [],
      adapters: [],
      state: "0".repeat(64),
    });
    expect(problemsOf([...lines, ...more])).toContain("added 18");
  });

  it("refuses the journal of another run", () => {
    expect(verifyJournal(lines, { run: "other" })).toMatchObject({
      ok: false,
      problems: [{ kind: "changed", seq: 0 }],
    });
  });

  it("keeps times out of the content chain, and in the hash chain", () => {
    const later = journalOf("s", 7, 99_000);
    expect(later.map((line) => line.content)).toEqual(lines.map((line) => line.content));
    expect(later.at(-1)?.hash).not.toBe(head.hash);
  });

  it("finds any change of any sequence of lines (random edits)", () => {
    const index = fc.nat({ max: lines.length - 1 });
    const edit = fc.oneof(
      fc.record({ kind: fc.constant("remove" as const), i: index, j: index }),
      fc.record({ kind: fc.constant("copy" as const), i: index, j: index }),
      fc.record({ kind: fc.constant("move" as const), i: index, j: index }),
      fc.record({ kind: fc.constant("time" as const), i: index, j: index }),
    );
    fc.assert(
      fc.property(fc.array(edit, { minLength: 1, maxLength: 4 }), (edits) => {
        const changed = [...lines];
        for (const { kind, i, j } of edits) {
          const from = Math.min(i, changed.length - 1);
          const line = changed[from];
          if (line === undefined) continue;
          if (kind === "remove") changed.splice(from, 1);
          if (kind === "copy") changed.splice(j, 0, line);
          if (kind === "move") changed.splice(j, 0, ...changed.splice(from, 1));
          if (kind === "time") changed[from] = { ...line, at: line.at + 1 };
        }
        const same =
          changed.length === lines.length &&
          changed.every((line, i) => line.hash === at(i).hash && line.at === at(i).at);
        expect(verifyJournal(changed, { run: "r", head }).ok).toBe(same);
      }),
      { numRuns: 300, seed: 5 },
    );
  });

  it("names the line of any single edit, and what was done to it (random edits)", () => {
    const index = fc.nat({ max: lines.length - 1 });
    const field = fc.constantFrom("round", "type", "at", "event", "data", "content", "previous", "hash");
    fc.assert(
      fc.property(fc.constantFrom("remove", "copy", "swap", "change"), index, index, field, (kind, i, j, key) => {
        const changed = [...lines];
        if (kind === "remove") changed.splice(i, 1);
        if (kind === "copy") changed.splice(j, 0, at(i));
        if (kind === "swap") [changed[i], changed[j]] = [at(j), at(i)];
        if (kind === "change") {
          const value = at(i)[key as keyof JournalLine];
          const other = typeof value === "number" ? value + 1 : typeof value === "string" ? `${value}0` : { other: 1 };
          changed[i] = { ...at(i), [key]: other } as JournalLine;
        }
        const found = problemsOf(changed);
        if (kind === "remove") expect(found).toEqual([`missing ${i}`]);
        if (kind === "copy") expect(found).toContain(`added ${i}`);
        if (kind === "swap" && i !== j)
          expect(found).toEqual(expect.arrayContaining([`reordered ${i}`, `reordered ${j}`]));
        if (kind === "change") expect(found).toContain(`changed ${i}`);
      }),
      { numRuns: 400, seed: 6 },
    );
  });

  it("has a tombstone for a deleted pair, in both chains", () => {
    const data = { pairs: [], status: [], adapters: [], state: "0".repeat(64) };
    const event = { type: "error", code: "", message: "", seq: 18, at: 1, round: 0 } as const;
    const [plain] = journalLines(head, [event], data);
    const id = [...sumJournal(lines).pairs.keys()][0] as string;
    const [deleting] = journalLines(head, [event], { ...data, removed: [id] });
    expect(deleting?.content).not.toBe(plain?.content);
    expect(deleting?.hash).not.toBe(plain?.hash);
    expect([...sumJournal([...lines, deleting as JournalLine]).removed]).toEqual([[id, 18]]);
    const twice = journalLines(deleting as JournalLine, [{ ...event, seq: 19 }], { ...data, removed: [id] });
    expect(() => sumJournal([...lines, deleting as JournalLine, ...twice])).toThrow(/event 19 deletes the pair/);
  });
});

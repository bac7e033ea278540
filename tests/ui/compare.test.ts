import { expect, it } from "vitest";
import { compareHeldOut, differences } from "../../src/ui/compare.ts";
import { type LoopModel, modelOf } from "../../src/ui/model.ts";
import { syntheticEvents } from "./synthetic.ts";

const a = modelOf(syntheticEvents({ rounds: 8, seed: 1, preview: 1 }));
const b = modelOf(syntheticEvents({ rounds: 12, seed: 2, preview: 1 }));

it("puts the held-out scores of both runs on one axis, each with its interval", () => {
  const chart = compareHeldOut([a, b], "B");
  const rounds = (model: LoopModel) => model.heldOut.filter((point) => point.world === "B").map((point) => point.round);
  expect(chart?.x).toEqual([...new Set([...rounds(a), ...rounds(b)])].sort((x, y) => x - y));
  const [first, second] = chart?.series ?? [];
  const last = b.heldOut.findLast((point) => point.world === "B");
  expect(second?.values.at(-1)).toBe(last?.heldOut.greedy.value);
  expect(second?.band?.at(-1)).toEqual(last?.heldOut.greedy.ci);
  expect(first?.values.at(-1)).toBeNull(); // the shorter run has no evaluation there
  expect(compareHeldOut([a, b], "C")).toBeNull();
});

it("names the settings that differ, and only those", () => {
  const found = new Map(differences([a, b]).map(({ path, values }) => [path, values]));
  expect(found.get("seed")).toEqual(["1", "2"]);
  expect(found.get("rounds")).toEqual(["8", "12"]);
  expect(found.has("train.beta")).toBe(false);
  expect(differences([a, a])).toEqual([]);
});

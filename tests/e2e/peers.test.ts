import { expect, test } from "vitest";
import { benchPeers } from "../../src/cli/bench-peers.ts";

/** Works that a library has no contestant for. */
const ABSENT: Readonly<Record<string, string>> = { train: "onnxruntime-web", decode: "@tensorflow/tfjs-core" };

test("in Chromium all contestants get the same product, losses and tokens, and are timed", async () => {
  const contestants = ["autodidact", "@jax-js/jax", "@tensorflow/tfjs-core", "onnxruntime-web"] as const;
  const report = await benchPeers({
    size: "quick",
    rounds: 2,
    contestants,
    patienceSeconds: 30,
    software: true,
    note: () => {},
  });
  expect(report.adapter).toMatch(/swiftshader/i);
  expect(report.versions["@jax-js/jax"]).toMatch(/^0\.1\.\d+$/);
  expect(report.results.map(({ work }) => work.kind)).toEqual(["matmul", "train", "decode"]);
  for (const { work, outcomes } of report.results)
    for (const name of contestants)
      expect(outcomes[name], `${name}, ${work.name}`).toMatchObject(
        ABSENT[work.kind] === name
          ? { kind: "absent" }
          : { kind: "timed", runs: [expect.any(Number), expect.any(Number)] },
      );
  // What decides on a real GPU: a step makes few submits, no new bind group and at most a third of the dispatches.
  const step = report.results.find(({ work }) => work.kind === "train")?.outcomes;
  const [own, peer] = contestants.map((name) => step?.[name]);
  if (own?.kind !== "timed" || peer?.kind !== "timed") throw new Error("both have been timed above");
  expect(own.calls.bindGroups).toBe(0);
  expect(own.calls.submits).toBeLessThan(peer.calls.submits / 10);
  expect(own.calls.dispatches).toBeLessThanOrEqual(peer.calls.dispatches / 3);
});

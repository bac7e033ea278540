import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { announceEveryMs, createAnnouncer } from "../../src/ui/announce.ts";
import { chartsOf } from "../../src/ui/charts/data.ts";
import { bytes, count, duration, number, points } from "../../src/ui/format.ts";
import { modelOf } from "../../src/ui/model.ts";
import { allLooks, noCells, pictureOf, sceneOf, surprise, wordsOf } from "../../src/ui/panels/drawing.ts";
import { contourOf, defaultSettings } from "../../src/ui/settings.ts";
import { en } from "../../src/ui/strings/en.ts";
import { detectCapabilities } from "../../src/worker/capabilities.ts";
import { render } from "../../src/world/render.ts";
import { syntheticEvents } from "./synthetic.ts";

describe("format", () => {
  it("writes numbers with units, signs and true minus", () => {
    expect([points(0.062), points(-0.03), points(0.0001), points(0.18, 0)]).toEqual(["+6.2", "−3.0", "±0.0", "+18"]);
    expect([bytes(999), bytes(14_200_000), bytes(9_940), bytes(999_600)]).toEqual([
      "999 B",
      "14 MB",
      "9.9 kB",
      "1.0 MB",
    ]);
    expect([duration(0.42), duration(4), duration(125), duration(4320)]).toEqual([
      "0.4 s",
      "4 s",
      "2 min 5 s",
      "1 h 12 min",
    ]);
    expect([count(1234567), count(12)]).toEqual(["1,234,567", "12"]);
    expect([number(-1.234), number(0.0123), number(34.2), number(Number.NaN)]).toEqual(["−1.23", "0.012", "34.2", "–"]);
  });
});

describe("createAnnouncer", () => {
  it("speaks at most once in ten seconds and prefers decisions", () => {
    let now = 0;
    let due: { at: number; callback: () => void } | null = null;
    const announcer = createAnnouncer({
      now: () => now,
      later: (callback, ms) => {
        due = { at: now + ms, callback };
      },
    });
    announcer.say("one");
    now = 1000;
    announcer.say("two");
    announcer.say("rejected", true);
    announcer.say("three");
    expect(announcer.text.value).toBe("one");
    const timer = due as unknown as { at: number; callback: () => void };
    expect(timer.at).toBe(announceEveryMs);
    now = timer.at;
    timer.callback();
    expect(announcer.text.value).toBe("rejected");
  });
});

describe("chartsOf", () => {
  it("gives every series one value for each x, and intervals around greedy", () => {
    const charts = chartsOf(modelOf(syntheticEvents({ rounds: 12, seed: 4, preview: 1 })));
    for (const chart of charts) for (const series of chart.series) expect(series.values).toHaveLength(chart.x.length);
    const [held, margin] = charts;
    expect(held?.x).toEqual([0, 4, 8, 12]);
    const greedy = held?.series.find((series) => series.key === "bGreedy");
    greedy?.band?.forEach((ends, index) => {
      expect(ends?.[0]).toBeLessThan(greedy.values[index] as number);
      expect(ends?.[1]).toBeGreaterThan(greedy.values[index] as number);
    });
    expect(margin?.x).toHaveLength(48);
  });
});

describe("drawing", () => {
  const cells = noCells.map((_, cell) =>
    cell === 9 ? (allLooks[0] ?? null) : cell === 2 ? (allLooks[7] ?? null) : null,
  );

  it("turns painted cells into the world's words in reading order", () => {
    const scene = sceneOf(cells);
    expect(wordsOf({ kind: "describe" }, scene)).toEqual({
      question: "describe",
      truth: "blue square c 1 red circle b 3",
    });
    expect(wordsOf({ kind: "count", filter: { colour: 0, shape: null } }, scene)).toEqual({
      question: "count red",
      truth: "1",
    });
    expect(wordsOf({ kind: "exists", filter: { colour: null, shape: 2 } }, scene)).toEqual({
      question: "exists triangle",
      truth: "no",
    });
  });

  it("renders clean as world A and dim as world B, the same for a seed", () => {
    const scene = sceneOf(cells);
    expect(pictureOf(scene, { dim: false, seed: 1 })).toEqual(render(scene));
    expect(pictureOf(scene, { dim: true, seed: 1 })).toEqual(pictureOf(scene, { dim: true, seed: 1 }));
    expect(pictureOf(scene, { dim: true, seed: 1 })).not.toEqual(pictureOf(scene, { dim: true, seed: 2 }));
  });

  it("surprises with one to six objects", () => {
    for (let seed = 0; seed < 20; seed += 1) {
      const objects = sceneOf(surprise(seed)).length;
      expect(objects).toBeGreaterThanOrEqual(1);
      expect(objects).toBeLessThanOrEqual(6);
    }
  });
});

describe("contourOf", () => {
  it("changes what the settings name and nothing else", () => {
    const base = contourOf(defaultSettings);
    const changed = contourOf({ ...defaultSettings, rounds: 3, judge: "random", gate: false });
    expect(changed).toEqual({
      ...base,
      rounds: 3,
      judge: { ...base.judge, rule: "random" },
      gate: { ...base.gate, on: false },
    });
  });
});

describe("detectCapabilities", () => {
  const adapter = (info: object) =>
    ({ info: { vendor: "v", architecture: "a", description: "", ...info } }) as unknown as GPUAdapter;
  const gpu = (give: (preference: string) => GPUAdapter | null) =>
    ({
      requestAdapter: async (options: { powerPreference: string }) => give(options.powerPreference),
    }) as unknown as GPU;

  it("lists two different GPUs and one that stands for both only once", async () => {
    const two = await detectCapabilities({
      gpu: gpu((preference) => adapter({ description: preference })),
      secure: true,
    });
    expect(two).toMatchObject({
      kind: "ready",
      adapters: [{ powerPreference: "high-performance" }, { powerPreference: "low-power" }],
    });
    const one = await detectCapabilities({ gpu: gpu(() => adapter({})), secure: true });
    expect(one.kind === "ready" && one.adapters).toHaveLength(1);
  });

  it("knows software rendering by flag and by name", async () => {
    for (const info of [
      { isFallbackAdapter: true },
      { architecture: "swiftshader" },
      { description: "llvmpipe (LLVM 15)" },
    ]) {
      const found = await detectCapabilities({ gpu: gpu(() => adapter(info)), secure: true });
      expect(found.kind === "ready" && found.adapters[0]?.fallback).toBe(true);
    }
  });

  it("tells the four reasons apart", async () => {
    expect(await detectCapabilities({ gpu: undefined, secure: false })).toMatchObject({ reason: "insecure-context" });
    expect(await detectCapabilities({ gpu: undefined, secure: true })).toMatchObject({ reason: "no-api" });
    expect(await detectCapabilities({ gpu: gpu(() => null), secure: true })).toMatchObject({ reason: "no-adapter" });
    const refusing = { requestAdapter: () => Promise.reject(new Error("blocked")) } as unknown as GPU;
    expect(await detectCapabilities({ gpu: refusing, secure: true })).toMatchObject({
      reason: "refused",
      detail: "blocked",
    });
  });
});

describe("index.html", () => {
  it("shows the catalogue's own words before any script runs", () => {
    const html = readFileSync(new URL("../../index.html", import.meta.url), "utf8").replace(/\s+/g, " ");
    expect(html).toContain(en.tagline);
    expect(html).toContain(en.taglineMore);
  });

  it("has no inline script or style, which the policy would block", () => {
    const html = readFileSync(new URL("../../index.html", import.meta.url), "utf8");
    expect(html).not.toMatch(/<script(?![^>]*\bsrc=)[^>]*>|<style|\sstyle=|\son\w+=/);
  });
});

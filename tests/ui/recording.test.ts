import { gzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { canonicalJson } from "../../src/base/canonical.ts";
import { readRecording } from "../../src/base/recording.ts";
import { introLength, introMs, schedule } from "../../src/ui/pacing.ts";
import { RecordingSession } from "../../src/ui/recording.ts";
import { syntheticEvents } from "./synthetic.ts";

const events = syntheticEvents({ rounds: 24, seed: 3, preview: 2 });
const jsonl = events.map((event) => canonicalJson(event)).join("\n");
const encode = (text: string): Uint8Array => new TextEncoder().encode(text);

/** A clock that moves by hand. */
function fakeClock(): {
  now: () => number;
  later: (callback: () => void, ms: number) => () => void;
  advance: (ms: number) => void;
} {
  let now = 0;
  let timers: { at: number; callback: () => void }[] = [];
  return {
    now: () => now,
    later: (callback, ms) => {
      const timer = { at: now + ms, callback };
      timers.push(timer);
      return () => {
        timers = timers.filter((other) => other !== timer);
      };
    },
    advance: (ms) => {
      const end = now + ms;
      for (;;) {
        const next = timers.filter((timer) => timer.at <= end).sort((a, b) => a.at - b.at)[0];
        if (!next) break;
        timers = timers.filter((timer) => timer !== next);
        now = next.at;
        next.callback();
      }
      now = end;
    },
  };
}

const read = (bytes: Uint8Array) => readRecording(bytes, () => performance.now());

describe("readRecording", () => {
  it("reads plain and gzipped lines alike, pictures as bytes", async () => {
    const plain = await read(encode(jsonl));
    const linesOf = (log: readonly unknown[]): string => log.map((event) => canonicalJson(event)).join("\n");
    expect(linesOf(plain) === jsonl).toBe(true);
    expect(linesOf(await read(new Uint8Array(gzipSync(jsonl)))) === jsonl).toBe(true);
    const proposed = plain.find((event) => event.type === "proposed");
    expect(proposed?.preview[0]?.picture?.rgb).toBeInstanceOf(Uint8Array);
  });

  it("names the line that is broken", async () => {
    const lines = jsonl.split("\n");
    await expect(read(encode([lines[0], "{oops", lines[2]].join("\n")))).rejects.toThrow(/line 2/);
    await expect(read(encode([lines[0], lines[2]].join("\n")))).rejects.toThrow(/line 2 is not event 1/);
    const [, second, third] = lines as [string, string, string];
    const nested = `${"[".repeat(100_000)}${"]".repeat(100_000)}`;
    await expect(read(encode([lines[0], nested, third].join("\n")))).rejects.toThrow("line 2 is nested more than 64");
    await expect(read(encode([lines[0], second.replace('"seq":1', '"seq":"1"')].join("\n")))).rejects.toThrow(
      "event 1",
    );
  });

  it("refuses a gzip file that is cut off or unpacks without end", async () => {
    const packed = new Uint8Array(gzipSync(jsonl));
    await expect(read(packed.subarray(0, packed.length - 100))).rejects.toThrow("not a whole gzip file");
    await expect(read(new Uint8Array(gzipSync(new Uint8Array(2 ** 28 + 1))))).rejects.toThrow("unpacks to more than");
  });
});

describe("schedule", () => {
  it("shows a gain and a rejection within the opening", () => {
    const intro = introLength(events);
    expect(intro).not.toBeNull();
    const times = schedule(events);
    expect(times[(intro as number) - 1]).toBeLessThanOrEqual(introMs);
    expect(events.slice(0, intro as number).some((event) => event.type === "rejected")).toBe(true);
  });

  it("never goes back in time and slows down after the opening", () => {
    const times = schedule(events);
    for (let i = 1; i < times.length; i += 1) expect(times[i]).toBeGreaterThanOrEqual(times[i - 1] as number);
    expect(times.at(-1)).toBeGreaterThan(20_000);
  });

  it("has no opening when nothing was gained or nothing rejected", () => {
    expect(introLength(events.filter((event) => event.type !== "rejected"))).toBeNull();
    expect(introLength(events.filter((event) => event.type !== "evaluated" || event.round === 0))).toBeNull();
  });
});

describe("RecordingSession", () => {
  it("has shown a gain and a rejection after five seconds", async () => {
    const clock = fakeClock();
    const session = new RecordingSession({ events, ...clock });
    await session.start();
    clock.advance(5000);
    const model = session.model.value;
    expect(model.counts.rejected).toBeGreaterThanOrEqual(1);
    const scores = model.heldOut.filter((point) => point.world === "B").map((point) => point.heldOut.greedy.value);
    expect(Math.max(...scores)).toBeGreaterThan(scores[0] as number);
    expect(session.status.value).toBe("playing");
  });

  it("pauses, steps, goes on and ends", async () => {
    const clock = fakeClock();
    const session = new RecordingSession({ events, ...clock });
    await session.start();
    clock.advance(1000);
    await session.pause();
    const paused = session.position.value;
    clock.advance(10_000);
    expect(session.position.value).toBe(paused);
    await session.step();
    expect(session.position.value).toBe(paused + 1);
    await session.start();
    clock.advance(600_000);
    expect(session.position.value).toBe(events.length);
    expect(session.status.value).toBe("finished");
    await session.start();
    expect(session.position.value).toBeLessThan(10);
  });

  it("plays faster on request from where it stands", async () => {
    const clock = fakeClock();
    const session = new RecordingSession({ events, ...clock });
    session.seek(100);
    await session.start();
    session.setSpeed(4);
    clock.advance(1000);
    const fast = session.position.value - 100;
    const slow = new RecordingSession({ events, ...clock });
    slow.seek(100);
    await slow.start();
    clock.advance(1000);
    expect(fast).toBeGreaterThan(slow.position.value - 100);
  });

  it("says why a recording has no adapter", async () => {
    const session = new RecordingSession({ events, ...fakeClock() });
    expect(await session.exportAdapter()).toMatchObject({ ok: false, code: "no-run" });
  });
});

/** What the page does when another tab writes, when the pen comes to it, and when the storage is full. */
import { describe, expect, it } from "vitest";
import { defaultContour } from "../../src/base/contour.ts";
import { App } from "../../src/ui/app.ts";
import { expectedBytes, roomLeft } from "../../src/ui/room.ts";
import type { RunState } from "../../src/worker/api.ts";
import { FakeClient, summaryOf } from "./fake-client.ts";
import { syntheticEvents } from "./synthetic.ts";

async function pageWith(client: FakeClient): Promise<App> {
  const app = new App({
    connect: async () => client,
    loadRecording: async () => ({ ok: true, value: syntheticEvents({ rounds: 12, seed: 2, preview: 1 }) }),
    now: () => 0,
    later: () => () => {},
    storedSettings: null,
    storeSettings: () => {},
    reducedMotion: true,
    save: () => {},
  });
  await app.boot();
  return app;
}

/** The run of the tab that writes, after `seq` committed events. */
const elsewhere = (seq: number, status: RunState["status"] = "running"): RunState => ({
  run: "run-0001",
  status,
  round: 1,
  rounds: 8,
  seed: 11,
  seq,
  incumbent: "base",
  device: null,
  secondsPerRound: null,
});

async function lookingOn(): Promise<{ client: FakeClient; app: App; hear: (state: RunState | null) => Promise<void> }> {
  const client = new FakeClient();
  client.tab = "reader";
  client.stored = [summaryOf("run-0001", "running", 20)];
  const app = await pageWith(client);
  const hear = async (state: RunState | null): Promise<void> => {
    client.stored = client.stored.map((run) => ({ ...run, events: state?.seq ?? run.events }));
    client.send("elsewhere", state);
    for (let i = 0; i < 20; i++) await Promise.resolve();
  };
  return { client, app, hear };
}

describe("a tab that looks on", () => {
  it("shows the run of the other tab as far as it is committed, and steers nothing", async () => {
    const { client, app, hear } = await lookingOn();
    expect(app.session.value?.mode).toBe("recording");
    expect(client.calls).toEqual([]);
    await hear(elsewhere(20));
    expect(app.session.value?.mode).toBe("live");
    expect(app.session.value?.events.value).toHaveLength(20);
    expect(app.session.value?.status.value).toBe("playing");
    await hear(elsewhere(23));
    expect(app.session.value?.events.value.map((event) => event.seq)).toEqual(Array.from({ length: 23 }, (_, i) => i));
    expect(app.canTrain.value).toBe(false);
    expect(await app.goLive()).toMatchObject({ ok: false, code: "locked" });
    expect(client.calls).toEqual([]);
  });

  it("keeps the recording on show while the other tab does nothing", async () => {
    const { app, hear } = await lookingOn();
    await hear(null);
    await hear(elsewhere(20, "paused"));
    expect(app.session.value?.mode).toBe("recording");
  });

  it("goes on with the run when the other tab is gone, and says from where", async () => {
    const { client, app, hear } = await lookingOn();
    await hear(elsewhere(22));
    client.become("writer");
    await new Promise((resolve) => setTimeout(resolve));
    expect(client.calls).toEqual(["resume run-0001"]);
    expect(app.session.value?.status.value).toBe("playing");
    expect(app.session.value?.events.value).toHaveLength(22);
    expect(app.tookOverAt.value).toBe(22);
  });

  it("only shows a run that the other tab had paused", async () => {
    const { client, app, hear } = await lookingOn();
    await hear(elsewhere(22));
    await hear(elsewhere(22, "paused"));
    client.stored = [summaryOf("run-0001", "paused", 22)];
    await app.takeOver();
    await new Promise((resolve) => setTimeout(resolve));
    expect(client.calls).toEqual(["take over"]);
    expect(app.session.value?.status.value).toBe("paused");
    expect(app.tookOverAt.value).toBeNull();
  });
});

describe("a tab that trains", () => {
  it("lets go when another tab takes over, and looks on from then", async () => {
    const client = new FakeClient();
    const app = await pageWith(client);
    await app.goLive();
    client.become("reader");
    expect(app.session.value?.status.value).toBe("paused");
    expect(await app.goLive()).toMatchObject({ ok: false, code: "locked" });
  });

  it("is never cut short by an update; a paused run is let go first", async () => {
    const client = new FakeClient();
    const app = await pageWith(client);
    let updates = 0;
    app.activateUpdate = async () => {
      updates += 1;
      return { ok: true, value: null };
    };
    await app.goLive();
    await app.applyUpdate();
    expect(app.failure.value).toMatchObject({ code: "busy", message: expect.stringContaining("Pause it") });
    expect(updates).toBe(0);
    await app.togglePlay();
    await app.applyUpdate();
    expect(client.calls.slice(-1)).toEqual(["let go"]);
    expect(updates).toBe(1);
  });
});

it("names the unfinished runs that an update with another base model would leave behind, and asks", async () => {
  const client = new FakeClient();
  client.stored = [summaryOf("run-0001", "paused", 20), summaryOf("run-0002", "finished", 20)];
  const app = await pageWith(client);
  let updates = 0;
  app.activateUpdate = async () => {
    updates += 1;
    return { ok: true, value: null };
  };
  app.waitingBase = async () => "c".repeat(64);
  await app.applyUpdate();
  expect(app.leftBehind.value.map((run) => run.run)).toEqual(["run-0001"]);
  expect(updates).toBe(0);
  await app.applyUpdate({ anyway: true });
  expect(app.leftBehind.value).toEqual([]);
  expect(updates).toBe(1);
  app.waitingBase = async () => "b".repeat(64);
  await app.applyUpdate();
  expect(updates).toBe(2);
});

describe("room for a run", () => {
  it("grows with pictures and rounds: the default's 40 rounds took 45 MB", () => {
    const bytes = expectedBytes(defaultContour, 40);
    expect(bytes).toBeGreaterThan(45e6);
    expect(bytes).toBeLessThan(60e6);
    expect(expectedBytes(defaultContour, 80)).toBe(2 * bytes);
    expect(roomLeft({ usage: 3, quota: 2, persisted: false })).toBe(0);
    expect(roomLeft({ usage: 3, quota: 0, persisted: false })).toBe(Number.POSITIVE_INFINITY);
  });

  it("is looked at before a run starts", async () => {
    const client = new FakeClient();
    client.report = { usage: 90_000_000, quota: 100_000_000, persisted: false };
    const app = await pageWith(client);
    const refused = await app.goLive();
    expect(refused).toMatchObject({ ok: false, code: "quota", message: expect.stringContaining("10 MB left") });
    expect(client.calls).toEqual([]);
    app.change({ rounds: 4 });
    expect(await app.goLive()).toEqual({ ok: true, value: null });
  });
});

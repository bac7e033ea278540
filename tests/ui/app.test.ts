import { effect } from "@preact/signals";
import { describe, expect, it } from "vitest";
import { App, type Surroundings } from "../../src/ui/app.ts";
import { createApi } from "../../src/ui/automation.ts";
import type { ExportedFile } from "../../src/ui/session.ts";
import { FakeClient, summaryOf } from "./fake-client.ts";
import { syntheticEvents } from "./synthetic.ts";

const recorded = syntheticEvents({ rounds: 12, seed: 2, preview: 1 });

function pageWith(client: FakeClient, given: Partial<Surroundings> = {}) {
  const saved: ExportedFile[] = [];
  const stored: string[] = [];
  const app = new App({
    connect: async () => client,
    loadRecording: async () => ({ ok: true, value: recorded }),
    now: () => 0,
    later: () => () => {},
    storedSettings: null,
    storeSettings: (text) => stored.push(text),
    reducedMotion: false,
    save: (file) => saved.push(file),
    ...given,
  });
  return { app, saved, stored, api: createApi(app, app.boot(), effect) };
}

describe("App", () => {
  it("plays the recording at once and knows the GPU", async () => {
    const { app, api } = pageWith(new FakeClient());
    await api.ready;
    expect(app.session.value?.mode).toBe("recording");
    expect(app.session.value?.status.value).toBe("playing");
    expect(app.capabilities.value?.kind).toBe("ready");
    expect(app.storage.value?.usage).toBe(84_300_000);
  });

  it("shows gain and rejection without playing to those who want less motion", async () => {
    const { app, api } = pageWith(new FakeClient(), { reducedMotion: true });
    await api.ready;
    expect(app.session.value?.status.value).toBe("paused");
    expect(app.model.value.counts.rejected).toBe(1);
  });

  it("goes live with one call and comes back", async () => {
    const client = new FakeClient();
    const { app, api } = pageWith(client);
    await api.ready;
    expect(await app.goLive()).toMatchObject({ ok: true });
    expect(app.session.value?.mode).toBe("live");
    expect(app.recording.value?.status.value).toBe("paused");
    await app.backToRecording();
    expect(app.session.value?.mode).toBe("recording");
    expect(client.calls).toEqual(["start 40 0 default", "pause"]);
  });

  it("gets ready when somebody is about to train, and only then", async () => {
    const client = new FakeClient();
    const { app, api } = pageWith(client);
    await api.ready;
    expect(client.calls).toEqual([]);
    await app.warmUp();
    expect(client.calls).toEqual(["warm high-performance"]);
    await app.goLive();
    await app.warmUp(); // a run is going on
    client.become("reader");
    await app.warmUp(); // another tab trains
    expect(client.calls).toEqual(["warm high-performance", "start 40 0 default"]);
  });

  it("says why it cannot train and keeps the recording", async () => {
    const client = new FakeClient();
    client.given = { kind: "unavailable", reason: "insecure-context", detail: "" };
    const { app, api } = pageWith(client);
    await api.ready;
    expect(await app.goLive()).toMatchObject({
      ok: false,
      code: "no-webgpu",
      message: expect.stringContaining("HTTPS"),
    });
    expect(app.session.value?.mode).toBe("recording");
    expect(client.calls).toEqual([]);
  });

  it("falls back to the recording when the start fails, and shows the reason", async () => {
    const client = new FakeClient();
    client.refusal = { ok: false, code: "network", message: "The weights could not be fetched." };
    const { app, api } = pageWith(client);
    await api.ready;
    await app.goLive();
    expect(app.session.value?.mode).toBe("recording");
    expect(app.failure.value?.code).toBe("network");
    app.dismiss();
    expect(app.failure.value).toBeNull();
  });

  it("goes on with a run that a reload cut short, and only opens a paused one", async () => {
    for (const [status, calls] of [
      ["running", ["resume run-0001"]],
      ["paused", []],
      ["finished", []],
    ] as const) {
      const client = new FakeClient();
      client.stored = [summaryOf("run-0001", status, 20)];
      const { app, api } = pageWith(client);
      await api.ready;
      expect(client.calls).toEqual(calls);
      expect(app.session.value?.mode).toBe(status === "finished" ? "recording" : "live");
      if (status !== "finished") expect(app.session.value?.events.value).toHaveLength(20);
    }
  });

  it("turns an exception of the workers into a failure", async () => {
    const client = new FakeClient();
    const { app, api } = pageWith(client);
    await api.ready;
    client.start = async () => {
      throw new Error("worker crashed");
    };
    expect(await app.goLive()).toMatchObject({ ok: false, code: "internal", detail: "worker crashed" });
  });

  it("keeps settings and survives broken ones", async () => {
    const { app, stored } = pageWith(new FakeClient(), {
      storedSettings: '{"rounds":7,"seed":-1,"judge":"oracle","gate":false}',
    });
    expect(app.settings.value).toMatchObject({ rounds: 7, seed: 0, judge: "default", gate: false });
    app.change({ seed: 9 });
    expect(JSON.parse(stored.at(-1) ?? "")).toMatchObject({ seed: 9, rounds: 7 });
    expect(pageWith(new FakeClient(), { storedSettings: "{nonsense" }).app.settings.value.rounds).toBe(40);
  });

  it("jumps between decisions on every session", async () => {
    const { app, api } = pageWith(new FakeClient(), { reducedMotion: true });
    await api.ready;
    app.session.value?.seek(recorded.length);
    app.jump(-1);
    const before = app.model.value.count;
    app.jump(-1);
    expect(app.model.value.count).toBeLessThan(before);
    app.jump(1);
    expect(app.model.value.count).toBe(before);
  });

  it("stays at the end of the recording when asked for what comes next", async () => {
    const { app, api } = pageWith(new FakeClient(), { reducedMotion: true });
    await api.ready;
    app.session.value?.seek(recorded.length);
    app.jump(1);
    expect(app.session.value?.status.value).toBe("finished");
    expect(app.session.value?.position.value).toBe(recorded.length);
    app.session.value?.seek(0);
    app.session.value?.follow();
    expect(app.session.value?.status.value).toBe("playing");
  });
});

describe("window.autodidact", () => {
  it("starts, reports its state, hands out events and stops", async () => {
    const client = new FakeClient();
    const { api } = pageWith(client);
    await api.ready;
    const rounds: number[] = [];
    const off = api.on("proposed", (event) => rounds.push(event.round));
    expect(
      await api.start({ rounds: 8, seed: 3, contour: { judge: { rule: "pixels", record: ["pixels"] } } }),
    ).toMatchObject({ ok: true });
    expect(client.calls).toEqual(["start 8 3 pixels"]);
    while ((client.current?.seq ?? 0) < 30) client.tick();
    expect(rounds).toEqual([1, 2, 3, 4]);
    off();
    while (client.tick());
    expect(rounds).toEqual([1, 2, 3, 4]);
    const state = api.state();
    expect(state).toMatchObject({
      mode: "live",
      run: "run-0001",
      round: 8,
      accepted: 2,
      rejected: 0,
      storage: 84_300_000,
    });
    expect(state.heldOut.B?.n).toBe(500);
    expect(state.incumbent).toMatch(/^[0-9a-f]{64}$/);
    expect(api.events({ since: 60 }).map((event) => event.seq)).toEqual([60, 61]);
    await api.stop();
    expect(api.state().status).toBe("stopped");
    expect(await api.exportRun()).toMatchObject({ ok: true });
  });

  it("goes on with a paused run when start has no request", async () => {
    const client = new FakeClient();
    const { api } = pageWith(client);
    await api.ready;
    await api.start({ rounds: 8 });
    await api.pause();
    await api.start();
    expect(client.calls).toEqual(["start 8 0 default", "pause", "resume run-0001"]);
  });

  it("refuses wrong requests in plain words", async () => {
    const { api } = pageWith(new FakeClient());
    await api.ready;
    expect(await api.start({ rounds: 0 })).toMatchObject({ ok: false, code: "bad-input" });
    expect(await api.start({ contour: "unknown" })).toMatchObject({
      ok: false,
      code: "bad-input",
      message: expect.stringContaining("unknown"),
    });
    expect(await api.importRun(new Uint8Array([1, 2]))).toMatchObject({ ok: false, code: "bad-input" });
    expect(await api.importRun(new Blob([new Uint8Array([0x50, 0x4b])]))).toEqual({ ok: true, value: "run-0009" });
  });
});

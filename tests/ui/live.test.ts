import { describe, expect, it } from "vitest";
import { LiveSession } from "../../src/ui/live.ts";
import { defaultSettings, startOptions } from "../../src/ui/settings.ts";
import { FakeClient } from "./fake-client.ts";

const options = startOptions({ ...defaultSettings, rounds: 8, seed: 5 });

function ticks(client: FakeClient, times: number): void {
  for (let i = 0; i < times; i += 1) client.tick();
}

describe("LiveSession", () => {
  it("shows events as they are committed and follows them", async () => {
    const client = new FakeClient();
    const session = new LiveSession(client);
    expect(await session.start(options)).toEqual({ ok: true, value: null });
    expect(session.status.value).toBe("playing");
    ticks(client, 5);
    expect(session.position.value).toBe(5);
    expect(session.model.value.run?.run).toBe("run-0001");
    expect(session.following.value).toBe(true);
  });

  it("looks back while training goes on, and returns", async () => {
    const client = new FakeClient();
    const session = new LiveSession(client);
    await session.start(options);
    ticks(client, 12);
    session.seek(4);
    ticks(client, 3);
    expect(session.position.value).toBe(4);
    expect(session.events.value).toHaveLength(15);
    expect(session.following.value).toBe(false);
    session.follow();
    expect(session.position.value).toBe(15);
  });

  it("pauses, steps by one event and goes on with the same run", async () => {
    const client = new FakeClient();
    const session = new LiveSession(client);
    await session.start(options);
    await session.pause();
    expect(session.status.value).toBe("paused");
    await session.step();
    expect(session.events.value).toHaveLength(1);
    await session.start();
    expect(client.calls).toEqual(["start 8 5 default", "pause", "step", "resume run-0001"]);
    expect(session.status.value).toBe("playing");
  });

  it("refuses a second start and keeps what is on show", async () => {
    const client = new FakeClient();
    const session = new LiveSession(client);
    await session.start(options);
    ticks(client, 6);
    expect(await session.start(options)).toMatchObject({ ok: false, code: "busy" });
    expect(session.events.value).toHaveLength(6);
  });

  it("opens a stored run and takes events that come meanwhile only once", async () => {
    const client = new FakeClient();
    client.current = {
      run: "run-0001",
      status: "running",
      round: 1,
      rounds: 8,
      seed: 5,
      seq: 10,
      incumbent: "base",
      device: null,
      secondsPerRound: null,
    };
    const session = new LiveSession(client);
    const opening = session.open(client.current, { resume: { powerPreference: "low-power", gentle: true } });
    client.tick();
    await opening;
    expect(session.events.value.map((event) => event.seq)).toEqual(Array.from({ length: 11 }, (_, seq) => seq));
    expect(client.calls).toEqual(["resume run-0001"]);
  });

  it("hands failures on as values and keeps the run", async () => {
    const client = new FakeClient();
    const session = new LiveSession(client);
    await session.start(options);
    ticks(client, 3);
    await session.pause();
    client.refusal = { ok: false, code: "locked", message: "Another tab is training." };
    expect(await session.start()).toMatchObject({ ok: false, code: "locked" });
    expect(session.failure.value?.code).toBe("locked");
    expect(session.events.value).toHaveLength(3);
    client.send("failure", { ok: false, code: "quota", message: "Storage is full." });
    expect(session.failure.value?.code).toBe("quota");
  });

  it("exports the adapter that stood at the moment on show", async () => {
    const client = new FakeClient();
    const session = new LiveSession(client);
    expect(await session.exportAdapter()).toMatchObject({ ok: false, code: "no-run" });
    await session.start(options);
    while (client.tick());
    const commits = client.log.filter((event) => event.type === "committed");
    expect(commits.length).toBe(2);
    session.seek((commits[0]?.seq ?? 0) + 1);
    expect(await session.exportAdapter()).toMatchObject({ ok: true, value: { type: "application/zip" } });
    expect(client.calls.at(-1)).toBe(`adapter ${commits[0]?.adapter.slice(0, 4)}`);
    session.seek(2);
    expect(await session.exportAdapter()).toMatchObject({ ok: false, code: "no-run" });
  });

  it("forgets the run on reset and no longer listens after dispose", async () => {
    const client = new FakeClient();
    const session = new LiveSession(client);
    await session.start(options);
    ticks(client, 2);
    await session.reset();
    expect(client.calls.at(-1)).toBe("pause");
    expect(session.events.value).toHaveLength(0);
    session.dispose();
    await client.start(options);
    client.tick();
    expect(session.events.value).toHaveLength(0);
  });
});

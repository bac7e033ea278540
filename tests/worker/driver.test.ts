/** The engine that is opened before a run begins, for whoever points at the button; and gentle mode, whatever is opened. */
import { expect, test } from "vitest";
import { defaultContour } from "../../src/base/contour.ts";
import type { StartOptions } from "../../src/worker/api.ts";
import { Driver, type DriverParts } from "../../src/worker/driver.ts";
import { fakeEngine, fakeStore } from "../loop/fakes.ts";

const start: StartOptions = {
  contour: defaultContour,
  rounds: 1,
  seed: 1,
  powerPreference: "high-performance",
  gentle: false,
};

/**
 * A driver whose engines are counted; the first `refusals` attempts to open one fail. `gentle`: what each was told last.
 * `opening`: called while engine `index` is being opened.
 */
function fake(refusals = 0, opening: (index: number) => void = () => undefined) {
  const opened: Parameters<DriverParts["open"]>[0][] = [];
  const closed: number[] = [];
  const gentle: boolean[] = [];
  const lose: ((message: string) => void)[] = [];
  const driver = new Driver({
    open: async (options) => {
      const index = opened.push(options) - 1;
      if (index < refusals) throw new Error("no adapter");
      gentle[index] = options.gentle;
      opening(index);
      return {
        engine: fakeEngine(),
        lost: new Promise((resolve) => {
          lose[index] = resolve;
        }),
        setGentle: (on) => {
          gentle[index] = on;
        },
        keep: () => undefined,
        close: async () => void closed.push(index),
      };
    },
    store: () => fakeStore(),
    judge: async () => ({ score: async () => ({ image: [], text: [] }) }),
    lock: async () => () => undefined,
    now: () => 0,
    emit: () => undefined,
    progress: () => undefined,
    state: () => undefined,
    failure: () => undefined,
  });
  return { driver, opened, closed, gentle, lose };
}

test("a run takes the engine that was got ready for it, also while that is still being opened", async () => {
  const { driver, opened, closed } = fake();
  void driver.warm(start);
  void driver.warm(start);
  await driver.start(start);
  expect(opened).toMatchObject([{ contour: defaultContour, powerPreference: "high-performance" }]);
  await driver.warm(start); // a run is open: nothing to get ready
  expect(opened).toHaveLength(1);
  await driver.dispose();
  expect(closed).toEqual([0]);
});

test("one on the other GPU is closed, and a failure is tried again", async () => {
  const other = fake();
  await other.driver.warm({ ...start, powerPreference: "low-power" });
  await other.driver.start(start);
  expect(other.opened.map(({ powerPreference }) => powerPreference)).toEqual(["low-power", "high-performance"]);
  expect(other.closed).toEqual([0]);
  await other.driver.dispose();

  const failing = fake(1);
  await expect(failing.driver.warm(start)).rejects.toThrow("no adapter");
  await failing.driver.start(start);
  expect(failing.opened).toHaveLength(2);
  await failing.driver.dispose();
});

test("an engine that nobody took is closed in the end", async () => {
  const { driver, closed } = fake();
  await driver.warm(start);
  await driver.dispose();
  expect(closed).toEqual([0]);
});

test("a paused run that is resumed takes the gentle mode it is resumed with", async () => {
  const { driver, gentle } = fake();
  const { run } = await driver.start(start);
  await driver.pause();
  expect(gentle).toEqual([false]);
  await driver.resume({ run, powerPreference: "high-performance", gentle: true });
  expect(gentle).toEqual([true]);
  await driver.dispose();
});

test("gentle mode outlives a lost device, also when it is changed while another is opened", async () => {
  const { driver, opened, gentle, lose } = fake(0, (index) => {
    if (index === 2) driver.setGentle(false);
  });
  await driver.start(start);
  await driver.pause();
  driver.setGentle(true);
  const loseOne = async (engines: number) => {
    lose.at(-1)?.("gone");
    await driver.step();
    await driver.step(); // the phase that was under way may have needed no GPU any more
    expect(opened).toHaveLength(engines);
  };
  await loseOne(2);
  expect(opened[1]?.gentle).toBe(true);
  await loseOne(3);
  expect(opened[2]?.gentle).toBe(true);
  expect(gentle[2]).toBe(false);
  await driver.dispose();
});

test("gentle mode that is changed while a run is being opened holds for it", async () => {
  const { driver, gentle } = fake(0, () => driver.setGentle(true));
  await driver.start(start);
  expect(gentle).toEqual([true]);
  await driver.dispose();
});

import { expect, test } from "vitest";
import { stepsAhead } from "../../src/train/ahead.ts";

/** Steps whose results are let go by hand; what happened, in order. */
function handled(count: number, options: { readonly endAt?: number } = {}) {
  const log: string[] = [];
  const release: ((value: number) => void)[] = [];
  const refuse: ((error: Error) => void)[] = [];
  const done = stepsAhead({
    count,
    prepare: async (index) => {
      await Promise.resolve();
      log.push(`prepare ${index}`);
      return `batch ${index}`;
    },
    submit: (input, index) => {
      log.push(`submit ${input}`);
      return new Promise<number>((resolve, reject) => {
        release[index] = resolve;
        refuse[index] = reject;
      });
    },
    seen: (result, input, index) => {
      log.push(`seen ${index}: ${result} of ${input}`);
      return index !== options.endAt;
    },
  });
  const settled = () => new Promise((resolve) => setTimeout(resolve, 0));
  return { log, release, refuse, done, settled };
}

test("two further steps are submitted before the first result is looked at, and results come in order", async () => {
  const { log, release, done, settled } = handled(4);
  await settled();
  expect(log.filter((line) => line.startsWith("submit"))).toEqual([
    "submit batch 0",
    "submit batch 1",
    "submit batch 2",
  ]);
  release[1]?.(11); // a later result waits for the earlier one
  await settled();
  expect(log.some((line) => line.startsWith("seen"))).toBe(false);
  release[0]?.(10);
  await settled();
  expect(log.slice(-4)).toEqual(["seen 0: 10 of batch 0", "prepare 3", "submit batch 3", "seen 1: 11 of batch 1"]);
  release[2]?.(12);
  release[3]?.(13);
  await done;
  expect(log.slice(-2)).toEqual(["seen 2: 12 of batch 2", "seen 3: 13 of batch 3"]);
});

test("after the result that ends it nothing is submitted, and it settles when the steps on their way have", async () => {
  const { log, release, done, settled } = handled(10, { endAt: 0 });
  await settled();
  release[0]?.(1);
  let over = false;
  void done.then(() => {
    over = true;
  });
  await settled();
  expect(over).toBe(false);
  release[1]?.(2);
  release[2]?.(3);
  await done;
  expect(log.filter((line) => line.startsWith("submit"))).toHaveLength(3);
  expect(log.filter((line) => line.startsWith("seen"))).toEqual(["seen 0: 1 of batch 0"]);
});

test("an error ends it, after the others have settled, and leaves none unhandled", async () => {
  const { log, release, refuse, done, settled } = handled(10);
  await settled();
  refuse[0]?.(new Error("the device is gone"));
  refuse[1]?.(new Error("gone, too"));
  release[2]?.(3);
  await expect(done).rejects.toThrow("the device is gone");
  expect(log.filter((line) => line.startsWith("seen"))).toEqual([]);
});

test("no steps, no work", async () => {
  const { log, done } = handled(0);
  await done;
  expect(log).toEqual([]);
});

import "fake-indexeddb/auto";
import { expect, test, vi } from "vitest";
import { openTuningStore } from "../../src/store/tuning.ts";

test("a table is found again under its key and no other, after the store is opened anew", async () => {
  const store = openTuningStore();
  expect(await store.get("adapter A")).toBeNull();
  await store.put("adapter A", '{"nn 64x64x64":"sg8-16"}');
  await store.put("adapter A", '{"nn 64x64x64":"sg8-32"}');
  expect(await openTuningStore().get("adapter A")).toBe('{"nn 64x64x64":"sg8-32"}');
  expect(await openTuningStore().get("adapter B")).toBeNull();
});

test("without databases nothing is found and nothing fails", async () => {
  vi.spyOn(indexedDB, "open").mockImplementation(() => {
    throw new DOMException("no", "SecurityError");
  });
  const store = openTuningStore();
  await store.put("adapter A", "{}");
  expect(await store.get("adapter A")).toBeNull();
  vi.restoreAllMocks();
});

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { lockfile, missingOptionals, platformOf } from "./lockfile.mjs";

test("package-lock.json has every optional package it names, so that npm ci works (fix: node tests/run/lockfile.mjs)", () => {
  const { packages } = JSON.parse(readFileSync(lockfile, "utf8"));
  expect(missingOptionals(packages).map(({ path }) => path)).toEqual([]);
});

test("package-lock.json and package.json ask for the same versions", () => {
  const root = JSON.parse(readFileSync(lockfile, "utf8")).packages[""];
  const wanted = JSON.parse(readFileSync(new URL("../../package.json", import.meta.url), "utf8"));
  expect([root.dependencies, root.devDependencies]).toEqual([wanted.dependencies, wanted.devDependencies]);
});

test("an optional package that is not there is found and gets its platform", () => {
  const packages = {
    "node_modules/tool": { version: "1.0.0", dev: true, optionalDependencies: { "@tool/linux-x64-musl": "1.0.0" } },
  };
  expect(missingOptionals(packages)).toEqual([
    {
      path: "node_modules/@tool/linux-x64-musl",
      entry: { version: "1.0.0", cpu: ["x64"], libc: ["musl"], os: ["linux"], dev: true, optional: true },
    },
  ]);
  expect(platformOf("@tool/binding-win32-arm64-msvc")).toEqual({ cpu: ["arm64"], os: ["win32"] });
  expect(platformOf("@tool/cli-linux-x64")).toEqual({ cpu: ["x64"], libc: ["glibc"], os: ["linux"] });
});

import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { defaultContour } from "../../src/base/contour.ts";
import { type Planted, simulateGate } from "../../src/loop/simulate.ts";

const runs = 300;
const signed = (points: number): string => `${points < 0 ? "−" : points > 0 ? "+" : ""}${Math.abs(points)}`;
const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

async function row(shifted: Planted, clean: Planted): Promise<string> {
  const got = await simulateGate({ settings: defaultContour.gate, shifted, clean, runs, seed: 2026 });
  const points = (planted: Planted): string =>
    `${signed(Math.round(100 * planted.change))} (${Math.round(100 * planted.discordance)}%)`;
  const shares = [got.accepted, got.rejected, got.deferred, got.superior].map(percent);
  return `| ${[points(shifted), points(clean), ...shares, got.meanItems.toFixed(0)].join(" | ")} |`;
}

test("the operating characteristics in docs/GATE.md are what the gate does", async () => {
  const rows: string[] = [];
  for (const discordance of [0.1, 0.15, 0.25]) {
    for (const change of [-0.08, -0.06, -0.04, -0.03, 0, 0.02, 0.04, 0.08]) {
      rows.push(await row({ change, discordance }, { change: 0, discordance: 0.02 }));
    }
  }
  for (const clean of [-0.01, -0.02, -0.03, -0.04, -0.06]) {
    rows.push(await row({ change: 0.08, discordance: 0.15 }, { change: clean, discordance: -clean + 0.02 }));
  }
  const document = readFileSync(new URL("../../docs/GATE.md", import.meta.url), "utf8");
  const lines = (document.split("<!-- table -->")[1] ?? "").trim().split("\n").slice(2);
  // The formatter pads the cells of Markdown tables.
  const table = lines.map((line) => line.replace(/ {2,}/g, " "));
  expect(table).toEqual(rows);
}, 60_000);

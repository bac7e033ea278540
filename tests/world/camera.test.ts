import { describe, expect, test } from "vitest";
import { sha256Hex } from "../../src/base/hash.ts";
import type { SourcePort } from "../../src/loop/ports.ts";
import { createCamera } from "../../src/world/camera.ts";
import { parseAnswer } from "../../src/world/questions.ts";
import { render } from "../../src/world/render.ts";
import { taskId } from "../../src/world/task.ts";

const SEED = 987654321;
const camera: SourcePort = createCamera();

describe("camera", () => {
  test("the same seed and round give the same pictures, another round gives others", async () => {
    const first = await camera.propose({ world: "B", round: 3, count: 8, seed: SEED });
    expect(await camera.propose({ world: "B", round: 3, count: 8, seed: SEED })).toEqual(first);
    expect(await camera.propose({ world: "B", round: 3, count: 4, seed: SEED })).toEqual(first.slice(0, 4));
    const others = [
      ...(await camera.propose({ world: "B", round: 4, count: 8, seed: SEED })),
      ...(await camera.propose({ world: "B", round: 3, count: 8, seed: SEED + 1 })),
      ...(await camera.propose({ world: "A", round: 3, count: 8, seed: SEED })),
    ];
    expect(new Set([...first, ...others].map((task) => task.id)).size).toBe(32);
  });

  test("a task holds pixels and prompt and nothing else: no scene, no answer, no seed", async () => {
    for (const task of await camera.propose({ world: "B", round: 3, count: 20, seed: SEED })) {
      expect(Object.keys(task).sort()).toEqual(["id", "kind", "picture", "prompt", "round", "source"]);
      expect(Object.keys(task.picture ?? {}).sort()).toEqual(["rgb", "size"]);
      const { picture, ...rest } = task;
      expect(JSON.stringify(rest)).not.toContain(String(SEED));
      expect(task.prompt).toHaveLength(1);
      expect(task.id).toBe(sha256Hex(JSON.stringify(task.prompt), picture!.rgb).slice(0, 16));
      expect(task.id).toBe(taskId(picture, task.prompt));
    }
  });

  test("replay gives clean pictures of A with right answers", async () => {
    const replay = await camera.replayA({ count: 10, seed: SEED, round: 2 });
    expect(replay).toHaveLength(10);
    for (const { task, answer } of replay) {
      const said = parseAnswer("describe", answer);
      if (said?.kind !== "scene") throw new Error("a replayed answer does not parse");
      expect(render(said.scene).rgb).toEqual(task.picture?.rgb);
      expect(task.source).toBe("replay:A");
    }
  });

  test("world C is drawn by hand", async () => {
    await expect(camera.propose({ world: "C", round: 0, count: 1, seed: 0 })).rejects.toThrow("drawn by the visitor");
  });
});

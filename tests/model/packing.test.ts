import { expect, test } from "vitest";
import { rngFor } from "../../src/base/rng.ts";
import { imageTokens } from "../../src/model/config.ts";
import { type PackedRow, pack, rowLength, shapeFor, sortTokens } from "../../src/model/packing.ts";
import { IMAGE, info, NONE, PAD, PREFIX } from "../../src/ops/mask.ts";
import { Scorer } from "../../src/train/step.ts";
import { openTestGpu } from "../gpu/open.ts";
import { referencePatches } from "../reference/decoder.ts";
import { modelOn } from "../train/engine.ts";
import { randomPicture, randomTensors, randomTokens, tinyConfig } from "../train/models.ts";

const gpu = await openTestGpu();

test("one row, by hand: prompt 5 6 7, answers 8 9 and 10", () => {
  const config = tinyConfig();
  const row: PackedRow = { picture: null, prompt: [5, 6, 7], answers: [[8, 9], [10]] };
  expect(rowLength(config, row)).toBe(4);
  const packed = pack(config, [{ rows: [row], shape: { B: 1, T: 6, M: 4, S: 3, pictures: false } }]);
  expect([...packed.id]).toEqual([5, 6, 7, 8, 0, 0]);
  expect([...packed.pos]).toEqual([0, 1, 2, 3, 0, 0]);
  expect([...packed.info]).toEqual([0, 0, 0, 1, PAD, PAD]);
  // 7 predicts the first token of both answers, 8 the second one of the first.
  expect([...packed.index]).toEqual([2, 3, 2, NONE]);
  expect([...packed.inverse]).toEqual([NONE, NONE, 0, 1, NONE, NONE]);
  expect([...packed.next]).toEqual([2, NONE, NONE, NONE]);
  expect([...packed.target].slice(0, 3)).toEqual([8, 9, 10]);
  expect([...(packed.answers[0]?.owner ?? [])]).toEqual([0, 0, 1, NONE]);
  expect([...(packed.answers[0]?.span ?? [])]).toEqual([0, 2, 2, 3, 3, 3]);
  expect(packed.patches).toBeNull();
});

test("two parts one behind the other, by hand: places are of both together, owners and spans of each", () => {
  const parts = [
    { rows: [{ picture: null, prompt: [5, 6], answers: [[8]] }], shape: { B: 1, T: 3, M: 2, S: 1, pictures: false } },
    {
      rows: [{ picture: null, prompt: [7], answers: [[9], [10]] }],
      shape: { B: 1, T: 2, M: 3, S: 2, pictures: false },
    },
  ];
  const { id, index, inverse, next, target, answers } = pack(tinyConfig(), parts);
  expect([...id]).toEqual([5, 6, 0, 7, 0]);
  expect([...index]).toEqual([1, NONE, 3, 3, NONE]);
  expect([...inverse]).toEqual([NONE, 0, NONE, 2, NONE]);
  expect([...next]).toEqual([NONE, NONE, 3, NONE, NONE]);
  expect([...target]).toEqual([8, 0, 9, 10, 0]);
  expect(answers.map(({ owner, span }) => [[...owner], [...span]])).toEqual([
    [
      [0, NONE],
      [0, 1],
    ],
    [
      [0, 1, NONE],
      [0, 1, 1, 2],
    ],
  ]);
});

test("tokens in the order of their ids, for the gradient of the embedding: by hand", () => {
  const config = tinyConfig();
  const row: PackedRow = { picture: null, prompt: [7, 5, 7], answers: [[6, 8]] };
  const { order, start } = sortTokens(
    config,
    pack(config, [{ rows: [row], shape: { B: 1, T: 6, M: 4, S: 1, pictures: false } }]),
  );
  expect([...order].slice(0, 4)).toEqual([1, 3, 0, 2]);
  expect([4, 5, 6, 7, 8, 9].map((token) => start[token])).toEqual([0, 0, 1, 2, 4, 4]);
});

test("a picture stands in front: its tokens are prefix, its patches are (channel, row, column)", () => {
  const config = tinyConfig({ vision: true });
  const picture = randomPicture(config, rngFor(1, "picture"));
  const count = imageTokens(config);
  const rows: PackedRow[] = [
    { picture: null, prompt: [5, 6], answers: [[7]] },
    { picture, prompt: [5], answers: [[6]] },
  ];
  const shape = shapeFor(config, rows);
  expect(shape).toEqual({ B: 2, T: 8, M: 64, S: 2, pictures: true });
  const packed = pack(config, [{ rows, shape }]);
  expect([...packed.info].slice(8, 8 + count + 2)).toEqual([...Array(count).fill(info(0, IMAGE | PREFIX)), 0, PAD]);
  expect([...packed.id].slice(8, 8 + count)).toEqual([4, 5, 6, 7]);
  expect([...packed.pos].slice(8, 8 + count + 1)).toEqual([0, 1, 2, 3, 4]);
  expect([...(packed.patchRow ?? [])]).toEqual([NONE, NONE, NONE, NONE, 8, 9, 10, 11]);
  const patches = [...(packed.patches ?? [])];
  expect(patches.slice(0, 4 * 48)).toEqual(Array(4 * 48).fill(0));
  expect(patches.slice(4 * 48)).toEqual([...Float32Array.from(referencePatches(config, picture).flat())]);
});

test("what does not fit is refused in words", () => {
  const config = tinyConfig({ vision: true });
  const shape = { B: 1, T: 4, M: 2, S: 1, pictures: false };
  const call =
    (rows: PackedRow[], own = shape) =>
    () =>
      pack(config, [{ rows, shape: own }]);
  expect(call([{ picture: null, prompt: [], answers: [] }])).toThrow("at least one token");
  expect(call([{ picture: null, prompt: [3, 4, 5], answers: [[6, 7, 8]] }])).toThrow(
    "a row of 5 tokens for a plan of 4",
  );
  expect(call([{ picture: null, prompt: [3], answers: [[24]] }])).toThrow("token 24 is outside the vocabulary of 24");
  expect(call([{ picture: null, prompt: [3], answers: [[4], [5]] }])).toThrow(
    "2 predicted tokens of 2 answers for a plan of 2 and 1",
  );
  expect(
    call([{ picture: { size: 8, rgb: new Uint8Array(192) }, prompt: [3], answers: [] }], { ...shape, T: 9 }),
  ).toThrow("a picture for a plan without pictures");
  expect(
    call([{ picture: { size: 4, rgb: new Uint8Array(48) }, prompt: [3], answers: [] }], {
      ...shape,
      T: 9,
      pictures: true,
    }),
  ).toThrow("4 pixels wide, the model takes 8");
  expect(call([{ picture: null, prompt: Array(65).fill(3), answers: [[4]] }], { ...shape, T: 80 })).toThrow(
    "more than 64 tokens",
  );
});

test("a prompt shared by three answers gives the log-probs of three rows, and neighbours in a batch do not matter", async () => {
  const config = tinyConfig({ vision: true });
  const rng = rngFor(2, "rows");
  const runtime = gpu.runtime(gpu.variants.at(-1) ?? "plain");
  const weights = await modelOn(runtime, config, randomTensors(config, 3));
  const scorer = new Scorer(runtime, weights, {});
  const rows = Array.from(
    { length: 6 },
    (_, i): PackedRow => ({
      picture: i % 2 === 0 ? randomPicture(config, rng) : null,
      prompt: randomTokens(rng, 24, 1 + i),
      answers: [randomTokens(rng, 24, 4), randomTokens(rng, 24, 1), randomTokens(rng, 24, 7)],
    }),
  );
  const shared = await scorer.tokens(rows);
  const separate = await scorer.tokens(
    rows.flatMap((row) => row.answers.map((answer) => ({ ...row, answers: [answer] }))),
  );
  const batches = await scorer.tokens(rows, 2);
  let worst = 0;
  for (const [r, answers] of shared.entries())
    for (const [a, tokens] of answers.entries()) {
      expect(tokens.length).toBe(rows[r]?.answers[a]?.length);
      for (const [i, value] of tokens.entries())
        worst = Math.max(worst, Math.abs(value - (separate[3 * r + a]?.[0]?.[i] ?? Number.NaN)));
    }
  expect(worst).toBeLessThan(1e-5);
  expect(batches).toEqual(shared); // bit for bit: padding and company change nothing
  await scorer.destroy();
});

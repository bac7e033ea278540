/** Every parser of outside bytes, by name. */
import { gzipSync } from "node:zlib";
import { encode as encodePng } from "fast-png";
import { canonicalJson } from "../../base/canonical.ts";
import { defaultContour } from "../../base/contour.ts";
import { parseContour } from "../../base/contours.ts";
import { parseJson } from "../../base/input.ts";
import { readRecording } from "../../base/recording.ts";
import { rngFor } from "../../base/rng.ts";
import { exportImageEncoder, exportTextEncoder } from "../../judge/export-onnx.ts";
import { IMAGE_FILE, parseJudgeConfig, TEXT_FILE } from "../../judge/model.ts";
import { createOnnxScorer } from "../../judge/onnx.ts";
import { checkOnnx } from "../../judge/onnx-check.ts";
import { type DualEncoderConfig, dualEncoderShapes } from "../../model/dual-encoder.ts";
import { product } from "../../model/safetensors.ts";
import { crc32 } from "../../store/zip.ts";
import { encode } from "../../world/vocabulary.ts";
import { pictureFromPng } from "../picture.ts";
import { type Target, WrongRead } from "./fuzz.ts";
import { MODEL_TARGETS } from "./model-targets.ts";
import { mutateBytes, mutateJson, mutateLines } from "./mutate.ts";
import { same, text, utf8 } from "./same.ts";
import { samplePair } from "./sample-run.ts";
import { STORE_TARGETS } from "./store-targets.ts";

const JUDGE: DualEncoderConfig = {
  image_size: 8,
  patch_size: 4,
  num_channels: 3,
  vocab_size: 64,
  phrase_length: 4,
  hidden_size: 4,
  intermediate_size: 4,
  vision_layers: 1,
  text_layers: 1,
  projection_dim: 4,
};

/** One in so many files that pass the check is given to the runtime, which takes some 10 ms for each. */
const RUNTIME_SHARE = 0.02;

const onnx: Target = {
  name: "onnx",
  what: "the judge's encoders, before and in the runtime",
  async prepare() {
    const rng = rngFor(0, "fuzz", "onnx");
    const tensors = new Map(
      [...dualEncoderShapes(JUDGE)].map(([name, shape]) => [
        name,
        { shape, data: Float32Array.from({ length: product(shape) }, () => rng.normal()) },
      ]),
    );
    const [image, words] = [exportImageEncoder(JUDGE, tensors), exportTextEncoder(JUDGE, tensors)];
    const item = {
      picture: { size: 8, rgb: new Uint8Array(192).fill(9) },
      redrawn: { size: 8, rgb: new Uint8Array(192).fill(200) },
      tokens: encode("red circle b 3 <eos>"),
    };
    return async (rng) => {
      const changesImage = rng.next() < 0.5;
      const changed = mutateBytes(changesImage ? image : words, changesImage ? words : image, rng);
      checkOnnx(changed, "x.onnx");
      if (rng.next() > RUNTIME_SHARE) return;
      const judge = await createOnnxScorer({
        imageModel: changesImage ? changed : image,
        textModel: changesImage ? words : changed,
      });
      try {
        const scores = await judge.score([item]);
        for (const score of [...scores.image, ...scores.text])
          if (!Number.isFinite(score)) throw new WrongRead(`the judge's score is ${score}`);
      } finally {
        await judge.release();
      }
    };
  },
};

const png: Target = {
  name: "png",
  what: "pictures",
  async prepare() {
    const rng = rngFor(0, "fuzz", "png");
    const size = 6;
    const data = (length: number): Uint8Array => Uint8Array.from({ length }, () => rng.int(256));
    const samples = [
      encodePng({ width: size, height: size, data: data(size * size * 3), channels: 3 }),
      encodePng({ width: size, height: size, data: data(size * size * 4), channels: 4 }),
      encodePng({ width: size, height: size, data: data(size * size), channels: 1 }),
      encodePng({ width: size, height: size, data: new Uint16Array(size * size * 3), channels: 3, depth: 16 }),
    ];
    return (rng) => {
      const changed = withChecksums(mutateBytes(rng.pick(samples), rng.pick(samples), rng), rng.next() < 0.8);
      const { rgb } = pictureFromPng(changed, size, "x.png");
      if (rgb.length !== size * size * 3) throw new WrongRead(`the picture has ${rgb.length} values`);
    };
  },
};

/** The chunks' checksums made anew, so that what lies under them is reached. */
function withChecksums(file: Uint8Array, anew: boolean): Uint8Array {
  if (!anew) return file;
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  for (let at = 8; at + 12 <= file.length; ) {
    const next = at + 12 + view.getUint32(at);
    if (next > file.length) break;
    view.setUint32(next - 4, crc32(file.subarray(at + 4, next - 4)));
    at = next;
  }
  return file;
}

const recording: Target = {
  name: "recording",
  what: "recordings that the page plays: JSON Lines, gzipped or plain",
  async prepare() {
    const lines = [
      { type: "sealed", keyHash: "0".repeat(64), seq: 0, at: 1, round: 1 },
      { type: "proposed", tasks: [], source: "camera:B", preview: [samplePair(1).task], seq: 1, at: 2, round: 1 },
      { type: "finished", reason: "rounds", detail: "", seq: 2, at: 3, round: 1 },
    ].map((event) => canonicalJson(event));
    const plain = `${lines.join("\n")}\n`;
    const packed = new Uint8Array(gzipSync(plain));
    let time = 0;
    return async (rng) => {
      const file = rng.next() < 0.3 ? mutateBytes(packed, packed, rng) : utf8(mutateLines(plain, rng));
      const events = await readRecording(file, () => time++);
      events.forEach((event, i) => {
        if (event.seq !== i) throw new WrongRead(`event ${i} has the number ${event.seq}`);
      });
    };
  },
};

const contour: Target = {
  name: "contour",
  what: "contour documents",
  async prepare() {
    const sample = JSON.stringify(defaultContour);
    return (rng) => {
      const read = parseContour(parseJson(mutateJson(sample, rng), "x.json"), "x.json");
      same(parseContour(JSON.parse(JSON.stringify(read))), read, "the contour");
    };
  },
};

const judgeConfig: Target = {
  name: "judge-config",
  what: "the judge's config.json",
  async prepare() {
    const head = { slope: 3, intercept: -1 };
    const hash = "0".repeat(64);
    const sample = JSON.stringify({
      model_type: "autodidact-judge",
      calibration: { pixels: head, "onnx-image": head, "onnx-text": head },
      files: { [IMAGE_FILE]: hash, [TEXT_FILE]: hash },
    });
    return (rng) => {
      const { calibration } = parseJudgeConfig(text(utf8(mutateJson(sample, rng))));
      if (!Number.isFinite(calibration["onnx-image"].slope)) throw new WrongRead("a calibration is no number");
    };
  },
};

export const TARGETS: readonly Target[] = [
  ...MODEL_TARGETS,
  onnx,
  png,
  recording,
  contour,
  judgeConfig,
  ...STORE_TARGETS,
];

/**
 * The judge model, run by onnxruntime-web (wasm). One call encodes each different picture and each different caption
 * once, in one batch, and compares embeddings by their cosine.
 */
import * as ort from "onnxruntime-web/wasm";
import { sha256Hex } from "../base/hash.ts";
import { InputError } from "../base/input.ts";
import type { Picture } from "../base/records.ts";
import type { OnnxScorer } from "./jury.ts";
import { checkOnnx } from "./onnx-check.ts";
import { UNPARSABLE } from "./pixels.ts";
import { PHRASE_LENGTH, phrasesOf, pixelValues } from "./preprocess.ts";

export interface OnnxJudgeOptions {
  /** Bytes of image_encoder.onnx and text_encoder.onnx. */
  readonly imageModel: Uint8Array;
  readonly textModel: Uint8Array;
  /**
   * Where the page serves the runtime itself, as absolute URLs: `import wasm from
   * "onnxruntime-web/ort-wasm-simd-threaded.wasm?url"` and the .mjs beside it. Not needed in Node.
   */
  readonly wasmPaths?: { readonly mjs: string; readonly wasm: string };
  /** Threads of the runtime, 1 by default; more need a cross-origin isolated page. Counts at the first scorer only. */
  readonly threads?: number;
}

/** The scorer and its two encoders, for whoever wants embeddings. */
export interface OnnxJudge extends OnnxScorer {
  /** Rows of length 1, one a picture. */
  encodePictures(pictures: readonly Picture[]): Promise<readonly Float32Array[]>;
  /** Rows of length 1, one a caption (token ids, `<eos>` included). Throws for a caption that is not made of phrases. */
  encodeCaptions(captions: readonly (readonly number[])[]): Promise<readonly Float32Array[]>;
  release(): Promise<void>;
}

/** Most rows of one session.run; more are split. */
const BATCH = 256;

/** Loads both encoders. Throws in plain words if a file is damaged or is another model. */
export async function createOnnxScorer(options: OnnxJudgeOptions): Promise<OnnxJudge> {
  ort.env.logLevel = "error";
  ort.env.wasm.numThreads = options.threads ?? 1;
  if (options.wasmPaths) ort.env.wasm.wasmPaths = { mjs: options.wasmPaths.mjs, wasm: options.wasmPaths.wasm };
  const image = await open("image_encoder.onnx", options.imageModel, "pixel_values", "image_embeds");
  const text = await open("text_encoder.onnx", options.textModel, "phrases", "text_embeds");

  const encodePictures = (pictures: readonly Picture[]) =>
    inBatches(pictures, async (part) => {
      const size = (part[0] as Picture).size;
      const data = new Float32Array(part.length * 3 * size * size);
      for (const [i, picture] of part.entries()) {
        if (picture.size !== size)
          throw new Error(`[judge] pictures of ${size} and ${picture.size} pixels in one call`);
        data.set(pixelValues(picture), i * 3 * size * size);
      }
      return image.run(new ort.Tensor("float32", data, [part.length, 3, size, size]), part.length);
    });

  const encodeCaptions = (captions: readonly (readonly number[])[]) =>
    inBatches(captions, async (part) => {
      const phrases = part.map((tokens) => {
        const found = phrasesOf(tokens);
        if (found === null) throw new Error(`[judge] not a caption of four-word phrases: ${tokens.join(" ")}`);
        return found;
      });
      const longest = Math.max(...phrases.map((list) => list.length));
      const data = new BigInt64Array(part.length * longest * PHRASE_LENGTH);
      for (const [i, list] of phrases.entries())
        for (const [j, token] of list.flat().entries()) data[i * longest * PHRASE_LENGTH + j] = BigInt(token);
      return text.run(new ort.Tensor("int64", data, [part.length, longest, PHRASE_LENGTH]), part.length);
    });

  return {
    encodePictures,
    encodeCaptions,
    async score(items) {
      const pictures = new Distinct<Picture>((picture) => sha256Hex(picture.rgb));
      const captions = new Distinct<readonly number[]>((tokens) => tokens.join(" "));
      const rows = items.map(({ picture, redrawn, tokens }) => ({
        seen: pictures.add(picture),
        redrawn: redrawn && pictures.add(redrawn),
        said: phrasesOf(tokens) && captions.add(tokens),
      }));
      const z = await encodePictures(pictures.items);
      const words = await encodeCaptions(captions.items);
      const compare = (seen: number, other: Float32Array | undefined) =>
        other ? dot(z[seen] as Float32Array, other) : UNPARSABLE;
      return {
        image: rows.map(({ seen, redrawn }) => compare(seen, redrawn === null ? undefined : z[redrawn])),
        text: rows.map(({ seen, said }) => compare(seen, said === null ? undefined : words[said])),
      };
    },
    async release() {
      await image.session.release();
      await text.session.release();
    },
  };
}

interface Encoder {
  readonly session: ort.InferenceSession;
  run(input: ort.Tensor, rows: number): Promise<Float32Array[]>;
}

async function open(file: string, bytes: Uint8Array, input: string, output: string): Promise<Encoder> {
  checkOnnx(bytes, `the judge's ${file}`);
  let session: ort.InferenceSession;
  try {
    session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"], graphOptimizationLevel: "all" });
  } catch (cause) {
    throw new InputError(
      `the judge's ${file} cannot be loaded: ${reason(cause)}. It may be damaged: fetch it again, or make it anew with "autodidact pretrain-judge".`,
      { cause },
    );
  }
  if (!session.inputNames.includes(input) || !session.outputNames.includes(output))
    throw new InputError(
      `the judge's ${file} takes ${session.inputNames.join(", ")} and gives ${session.outputNames.join(", ")}, wanted ${input} and ${output}: it is another model`,
    );
  return {
    session,
    async run(tensor, rows) {
      const results = await session.run({ [input]: tensor }).catch((cause: unknown) => {
        throw new InputError(`the judge's ${file} cannot be run: ${reason(cause)}. Fetch it again.`, { cause });
      });
      return splitRows(file, results[output], rows);
    },
  };
}

/** The output of an encoder, (rows, width), as rows. Throws if it has another shape or holds what is no number. */
export function splitRows(
  file: string,
  output: Pick<ort.Tensor, "dims" | "data"> | undefined,
  rows: number,
): Float32Array[] {
  const [n, width] = output?.dims ?? [];
  const data = output?.data;
  if (!(data instanceof Float32Array) || output?.dims.length !== 2 || n !== rows || !width)
    throw new InputError(
      `the judge's ${file} gave (${output?.dims.join(", ") ?? "nothing"}) for ${rows} rows, wanted (${rows}, width) in f32`,
    );
  if (!data.every(Number.isFinite)) throw new InputError(`the judge's ${file} gave values that are not finite`);
  return Array.from({ length: rows }, (_, row) => data.slice(row * width, (row + 1) * width));
}

async function inBatches<T>(
  items: readonly T[],
  run: (part: readonly T[]) => Promise<Float32Array[]>,
): Promise<Float32Array[]> {
  const rows: Float32Array[] = [];
  for (let at = 0; at < items.length; at += BATCH) rows.push(...(await run(items.slice(at, at + BATCH))));
  return rows;
}

/** Different items in order of first appearance. */
class Distinct<T> {
  readonly items: T[] = [];
  private readonly places = new Map<string, number>();
  private readonly key: (item: T) => string;

  constructor(key: (item: T) => string) {
    this.key = key;
  }

  add(item: T): number {
    const key = this.key(item);
    const place = this.places.get(key) ?? this.items.push(item) - 1;
    this.places.set(key, place);
    return place;
  }
}

function dot(x: Float32Array, y: Float32Array): number {
  if (x.length !== y.length) throw new Error(`the judge's encoders disagree: ${x.length} and ${y.length} dimensions`);
  let sum = 0;
  for (let i = 0; i < x.length; i++) sum += (x[i] as number) * (y[i] as number);
  return sum;
}

/** The runtime throws errors, texts and numbers. */
const reason = (cause: unknown): string =>
  (cause instanceof Error ? cause.message : String(cause)).split("\n")[0] as string;

import { join } from "node:path";
import { createOnnxScorer, type OnnxJudge } from "../judge/onnx.ts";
import { readInput } from "./files.ts";

/** The ONNX judge in a folder that `autodidact pretrain-judge` wrote. */
export async function openJudge(directory: string): Promise<OnnxJudge> {
  return createOnnxScorer({
    imageModel: await readInput(join(directory, "image_encoder.onnx")),
    textModel: await readInput(join(directory, "text_encoder.onnx")),
  });
}

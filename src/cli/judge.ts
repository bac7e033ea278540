import { type Judge, openJudge as open } from "../judge/model.ts";
import { folder } from "./files.ts";

/** The ONNX judge in a folder that `autodidact pretrain-judge` wrote. */
export async function openJudge(directory: string): Promise<Judge> {
  const files = folder(directory);
  return open((name) => files.read(name));
}

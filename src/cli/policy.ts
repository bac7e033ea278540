/** Opens a model folder as the engine of a command. */
import type { LoadedModel } from "../model/hf.ts";
import { loadModel } from "../model/hf.ts";
import { loadAdapter, writeAdapter } from "../model/peft.ts";
import { BASE, Engine } from "../train/engine.ts";
import { folder } from "./files.ts";
import { type NodeRuntime, openNodeRuntime } from "./runtime.ts";

export interface OpenPolicy extends NodeRuntime {
  readonly engine: Engine;
  readonly model: LoadedModel;
  /** Name of the adapter given on the command line, "base" without one. */
  readonly adapter: string;
  close(): Promise<void>;
}

/** The engine on this machine's adapter with the model in `directory`, and the PEFT adapter in `adapter` if given. */
export async function openPolicy(directory: string, adapter: string | null): Promise<OpenPolicy> {
  const model = await loadModel(folder(directory));
  const node = await openNodeRuntime();
  const decode = (tokens: readonly number[]) => model.tokenizer?.decode(tokens) ?? tokens.join(" ");
  const engine = await Engine.create({ runtime: node.runtime, device: node.gpu.summary, model, decode });
  let name = BASE;
  if (adapter !== null) {
    const files = writeAdapter(await loadAdapter(folder(adapter), model.config));
    name = files.hash;
    await engine.load({ hash: files.hash, adapter: files.adapter, config: files.config, optimizer: new Uint8Array() });
  }
  return {
    ...node,
    engine,
    model,
    adapter: name,
    close: async () => {
      await engine.destroy();
      node.gpu.destroy();
    },
  };
}

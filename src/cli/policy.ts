/** What the loop's commands share (loop, experiment, gate-study, eval): a model folder as the engine that the loop drives. */
import type { DeviceSummary } from "../base/events.ts";
import type { ModelDtype } from "../model/config.ts";
import { writeAdapter } from "../model/peft.ts";
import { BASE, Engine } from "../train/engine.ts";
import { readInputs } from "./model.ts";
import { openNodeRuntime } from "./runtime.ts";

export interface OpenPolicy {
  readonly engine: Engine;
  /** Name of the adapter given on the command line, "base" without one. */
  readonly adapter: string;
  close(): Promise<void>;
}

/**
 * The engine on this machine's adapter with the model in `directory`, and the PEFT adapter in `adapter` if given. `dtype`:
 * see ModelWeights. `pinned`: see openNodeRuntime.
 */
export async function openPolicy(
  directory: string,
  adapter: string | null,
  { dtype = "float32", pinned }: { readonly dtype?: string; readonly pinned?: DeviceSummary | undefined } = {},
): Promise<OpenPolicy> {
  const inputs = await readInputs({ model: directory, adapter });
  const { gpu, runtime } = await openNodeRuntime(pinned);
  const { model } = inputs;
  const decode = (tokens: readonly number[]) => model.tokenizer?.decode(tokens) ?? tokens.join(" ");
  const engine = await Engine.create({ runtime, gpu, model, dtype: dtype as ModelDtype, decode });
  const files = inputs.adapter === null ? null : writeAdapter(inputs.adapter);
  if (files !== null) await engine.load({ ...files, optimizer: new Uint8Array() });
  return {
    engine,
    adapter: files?.hash ?? BASE,
    close: async () => {
      await engine.destroy();
      gpu.destroy();
    },
  };
}

import { Generator } from "../../model/generate.ts";
import { type LoadedModel, loadConfig, loadTokenizer } from "../../model/hf.ts";
import { parseIdList } from "../../model/rows.ts";
import { mergedTensors, runOnce } from "../../model/weights.ts";
import { placeAdapter } from "../../train/adapter.ts";
import { defineCommand, UsageError } from "../args.ts";
import { folder } from "../files.ts";
import { type Inputs, type OnGpu, readInputs, withModel } from "../model.ts";
import { dtypeOption, modelOptions, samplingOptions, seedOption } from "../options.ts";
import { readPicture } from "../picture.ts";

/** `autodidact generate`: the new tokens, the stop token included, as Transformers' generate counts them. */
export const generate = defineCommand({
  name: "generate",
  summary: "continue a prompt",
  options: {
    ...modelOptions,
    prompt: { type: "text", value: "TEXT", help: "prompt as text" },
    tokens: { type: "text", value: "1,2,3", help: "prompt as token ids" },
    image: { type: "text", value: "FILE.png", help: "picture in front of the prompt" },
    ...samplingOptions,
    ...dtypeOption,
    ...seedOption,
  },
  example: 'autodidact generate --model smollm2-135m --prompt "The sky is" --max-new 20',
  async run({ values, out }) {
    const prompt = await readPrompt(values.model, values.prompt, values.tokens);
    const { model, adapter } = await readInputs(values);
    const { vision } = model.config;
    if (values.image !== null && vision === null) throw new Error(`${values.model} takes no pictures`);
    const picture =
      values.image === null || vision === null ? null : await readPicture(values.image, vision.image_size);
    const config = { ...model.config, eos_token_id: stopTokens(model) };
    const tokens = await withModel({ ...model, config }, values.dtype, async (on) => {
      const merged = await mergeAdapter(on, adapter);
      const generator = new Generator(on.runtime, on.weights, merged, on.pace);
      const { temperature, "top-k": topK, "top-p": topP, seed, "max-new": maxNewTokens } = values;
      const [answers] = await generator.generate([{ picture, prompt }], {
        temperature,
        topK,
        topP,
        seed,
        maxNewTokens,
        k: 1,
        batch: 1,
      });
      await generator.destroy();
      merged?.destroy();
      return answers?.[0]?.tokens ?? [];
    });
    const { tokenizer } = model;
    // The embedding may be larger than the vocabulary: ids that no token has are not shown.
    const text = tokenizer === null ? null : tokenizer.decode(tokens.filter((id) => tokenizer.token(id) !== null));
    out.result({ tokens, text });
  },
});

/** Ids of the prompt that was given one way or the other. */
async function readPrompt(directory: string, text: string | null, ids: string | null): Promise<number[]> {
  if ((text === null) === (ids === null)) throw new UsageError("give either --prompt or --tokens");
  const files = folder(directory);
  const config = await loadConfig(files);
  if (ids !== null) {
    try {
      return parseIdList(ids, "--tokens", config.vocab_size);
    } catch (error) {
      throw new UsageError((error as Error).message);
    }
  }
  const tokenizer = await loadTokenizer(files, config);
  if (tokenizer === null) throw new Error(`${directory} has no tokenizer.json: give the prompt as --tokens`);
  const prompt = tokenizer.encode(text as string, { addSpecialTokens: true });
  if (prompt.length === 0) throw new Error("--prompt has no tokens");
  return prompt;
}

/** What generation_config.json says, else config.json. */
function stopTokens({ config, generationConfig }: LoadedModel): readonly number[] {
  const own = generationConfig?.eos_token_id ?? [];
  return own.length > 0 ? own : config.eos_token_id;
}

/** The projections with the adapter added; null: the weights as they are. */
async function mergeAdapter({ runtime, weights }: OnGpu, adapter: Inputs["adapter"]) {
  if (adapter === null) return null;
  const lora = placeAdapter(runtime, weights, adapter, "adapter");
  const merged = mergedTensors(runtime, weights.config);
  const plan = await runOnce(runtime, "merge adapter", (ctx) => lora.appendMerge(ctx, weights, merged));
  await runtime.device.queue.onSubmittedWorkDone();
  plan.destroy();
  lora.destroy();
  return merged;
}

import { Generator } from "../../model/generate.ts";
import { type LoadedModel, loadConfig, loadTokenizer } from "../../model/hf.ts";
import { describe } from "../../model/json.ts";
import { parseIdList } from "../../model/rows.ts";
import { mergedTensors, runOnce } from "../../model/weights.ts";
import { NONE } from "../../ops/mask.ts";
import { type Grammar, settingSize } from "../../ops/sample.ts";
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
    choices: { type: "text", value: "A,B,C", help: "the answer is one of these texts, separated by commas" },
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
    const stops = stopTokens(model);
    const grammar = values.choices === null ? null : readChoices(values.choices, values, prompt, model, stops);
    const config = { ...model.config, eos_token_id: stops };
    const tokens = await withModel({ ...model, config }, values.dtype, async (on) => {
      const merged = await mergeAdapter(on, adapter);
      const generator = new Generator(on.runtime, on.weights, merged, on.pace);
      const { temperature, "top-k": topK, "top-p": topP, "min-p": minP, seed, "max-new": maxNewTokens } = values;
      const [answers] = await generator.generate([{ picture, prompt }], {
        temperature,
        topK,
        topP,
        minP,
        seed,
        maxNewTokens,
        k: 1,
        batch: 1,
        ...(grammar === null ? {} : { grammar }),
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

/** What --choices allow. Blanks in a choice count: its ids are those behind the prompt's in prompt + choice. */
function readChoices(
  choices: string,
  { prompt: text, "max-new": most }: { readonly prompt: string | null; readonly "max-new": number },
  prompt: readonly number[],
  { config, tokenizer }: LoadedModel,
  stops: readonly number[],
): Grammar {
  if (tokenizer === null) throw new Error("the model has no tokenizer.json: there are no --choices without it");
  if (stops.length === 0) throw new Error("the model has no stop token, and nothing else ends one of --choices");
  const bare = (spelled: string) => spelled.replaceAll(/\s/g, "");
  const all = choices.split(",").map((choice) => {
    const spelled = (ids: readonly number[]) => tokenizer.decode(ids, { skipSpecialTokens: false });
    const whole = text === null ? [] : tokenizer.encode(text + choice, { addSpecialTokens: true });
    const behind = prompt.every((id, place) => id === whole[place]) ? whole.slice(prompt.length) : [];
    // A choice that runs together with the end of the prompt, or stands behind token ids, is read alone.
    const alone = tokenizer.encode(choice);
    const ids = [behind, alone].find((ids) => ids.length > 0 && bare(spelled(ids)) === bare(choice));
    if (!ids)
      throw new UsageError(
        alone.length === 0
          ? `--choices: ${describe(choice)} has no tokens`
          : `--choices: the model's tokenizer reads ${describe(choice)} as ${describe(spelled(alone))}`,
      );
    if (ids.some((id) => stops.includes(id)))
      throw new UsageError(`--choices: ${describe(choice)} holds a stop token, which would end it`);
    return ids;
  });
  const grammar = choiceGrammar(all, stops, config.vocab_size);
  const longest = Math.max(...all.map((ids) => ids.length)) + 1;
  if (most < longest) throw new UsageError(`--max-new must be at least ${longest}: a choice and its stop token`);
  return grammar;
}

/** Most bytes of a grammar: what every WebGPU adapter binds at once. */
const GRAMMAR_BYTES = 2 ** 27;

/** The answers that are one of the choices and a stop token behind it, as a trie: a state for each beginning of a choice. */
export function choiceGrammar(
  choices: readonly (readonly number[])[],
  stops: readonly number[],
  vocabulary: number,
): Grammar {
  const follow: Map<number, number>[] = [new Map()];
  for (const choice of choices) {
    let state = 0;
    for (const token of choice) {
      const edges = follow[state] as Map<number, number>;
      state = edges.get(token) ?? follow.push(new Map()) - 1;
      edges.set(token, state);
    }
    for (const stop of stops) follow[state]?.set(stop, state);
  }
  const states = follow.length;
  const bytes = 4 * settingSize(states, vocabulary);
  if (bytes > GRAMMAR_BYTES)
    throw new UsageError(
      `--choices have ${states} beginnings, which take ${Math.ceil(bytes / 2 ** 20)} MiB with a vocabulary of ${vocabulary}; ${GRAMMAR_BYTES / 2 ** 20} MiB is the most: give fewer or shorter ones`,
    );
  const next = new Uint32Array(states * vocabulary).fill(NONE);
  for (const [state, edges] of follow.entries()) for (const [token, to] of edges) next[state * vocabulary + token] = to;
  return { states, next };
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

import { DTYPES, SUPPORTED_ARCHITECTURES } from "../../model/config.ts";
import { inspectModel } from "../../model/hf.ts";
import { loadAdapter } from "../../model/peft.ts";
import { weightMemory } from "../../train/memory.ts";
import { columns, defineCommand } from "../args.ts";
import { folder } from "../files.ts";
import { modelOptions } from "../options.ts";

/** `autodidact info`: what a model folder holds, and whether it can be run here. No GPU is needed. */
export const info = defineCommand({
  name: "info",
  summary: "architecture, parameters, dtypes, vocabulary, what is supported",
  options: modelOptions,
  example: "autodidact info --model public/models/policy",
  async run({ values, out }) {
    const model = await inspectModel(folder(values.model));
    const adapter = values.adapter === null ? null : await loadAdapter(folder(values.adapter), model.config);
    const lora =
      adapter === null
        ? null
        : {
            r: adapter.r,
            alpha: adapter.alpha,
            scaling: adapter.scaling,
            target_modules: adapter.targets,
            parameters: [...adapter.tensors.values()].reduce((sum, { A, B }) => sum + A.data.length + B.data.length, 0),
          };
    const { config } = model;
    const memory = Object.fromEntries(DTYPES.map((dtype) => [dtype, weightMemory(config, dtype)]));
    const rows: [string, string][] = [
      ["architecture", model.architecture],
      ["parameters", model.parameters.toLocaleString("en")],
      ["weights", `${model.weights.join(", ")} (${model.dtypes.join(", ")}; computed in F32)`],
      [
        "GPU memory",
        `${DTYPES.map((dtype) => `${memory[dtype]?.toLocaleString("en")} bytes as ${dtype}`).join(", ")}, without activations: those of a training are counted by its --dry-run`,
      ],
      ["layers", `${config.num_hidden_layers} of width ${config.hidden_size}, MLP ${config.intermediate_size}`],
      [
        "attention",
        `${config.num_attention_heads} heads of ${config.head_dim}, ${config.num_key_value_heads} for keys and values`,
      ],
      ["head", config.tie_word_embeddings ? "tied to the embedding" : "separate"],
      [
        "vocabulary",
        `${config.vocab_size} tokens${model.tokenizer === null ? ", no tokenizer.json: token ids only" : ""}`,
      ],
      ["positions", String(config.max_position_embeddings)],
      [
        "pictures",
        config.vision === null
          ? "no"
          : `${config.vision.image_size} × ${config.vision.image_size}, patches of ${config.vision.patch_size}`,
      ],
      ["SHA-256", model.hash],
      ["supported", SUPPORTED_ARCHITECTURES.join(", ")],
    ];
    if (lora !== null) {
      rows.push([
        "adapter",
        `LoRA r ${lora.r}, alpha ${lora.alpha}, ${lora.parameters.toLocaleString("en")} parameters on ${lora.target_modules.join(", ")}`,
      ]);
    }
    const { config: _, ...summary } = model;
    out.result(
      { ...summary, config, weight_bytes: memory, adapter: lora, supported: SUPPORTED_ARCHITECTURES },
      columns(rows),
    );
  },
});

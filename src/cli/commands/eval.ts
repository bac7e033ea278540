import type { HeldOut, TaskKind } from "../../base/records.ts";
import { evaluateKinds } from "../../eval/evaluate.ts";
import { KINDS } from "../../world/questions.ts";
import { columns, defineCommand, UsageError } from "../args.ts";
import { dtypeOption, modelOptions, seedOption } from "../options.ts";
import { openPolicy } from "../policy.ts";

const score = ({ greedy, sampled, n }: HeldOut): string =>
  `greedy ${greedy.value.toFixed(3)} [${greedy.ci.map((x) => x.toFixed(3)).join(", ")}]  sampled ${sampled.value.toFixed(3)}  n ${n}`;

/** `autodidact eval`: held-out accuracy of a model, with or without an adapter. */
export const evaluate = defineCommand({
  name: "eval",
  summary: "held-out accuracy, greedy and sampled, per kind, with n and 95% interval",
  options: {
    model: { type: "text", value: "DIR", help: "model folder", default: "public/models/policy" },
    adapter: modelOptions.adapter,
    world: { type: "text", value: "A|B", help: "world of the held-out items", default: "B" },
    n: { type: "whole", help: "items a kind", default: 500, min: 1 },
    kinds: {
      type: "text",
      value: "NAMES",
      help: "kinds of questions, separated by commas, or all",
      default: "describe",
    },
    ...dtypeOption,
    ...seedOption,
  },
  example: "autodidact eval --world B --n 500 --seed 0",
  async run({ values, out }) {
    const { world } = values;
    if (world !== "A" && world !== "B") throw new UsageError(`--world is A or B, not ${world}`);
    const kinds = values.kinds === "all" ? KINDS : (values.kinds.split(",") as TaskKind[]);
    for (const kind of kinds)
      if (!KINDS.includes(kind))
        throw new UsageError(`--kinds: there is no kind ${kind}; there are ${KINDS.join(", ")}`);
    const policy = await openPolicy(values.model, values.adapter, { dtype: values.dtype });
    const results = await evaluateKinds({
      engine: policy.engine,
      adapter: policy.adapter,
      world,
      items: values.n,
      seed: values.seed,
      kinds,
    });
    await policy.close();
    out.result(
      { world, seed: values.seed, adapter: policy.adapter, kinds: Object.fromEntries(results) },
      columns([...results].map(([kind, heldOut]) => [kind, score(heldOut)])),
    );
  },
});

import type { AnyCommand } from "./args.ts";
import { bench } from "./commands/bench.ts";
import { dpo } from "./commands/dpo.ts";
import { evaluate } from "./commands/eval.ts";
import { experiment } from "./commands/experiment.ts";
import { faults } from "./commands/faults.ts";
import { fuzz } from "./commands/fuzz.ts";
import { gateStudy } from "./commands/gate-study.ts";
import { generate } from "./commands/generate.ts";
import { grpo } from "./commands/grpo.ts";
import { info } from "./commands/info.ts";
import { kto } from "./commands/kto.ts";
import { logprobs } from "./commands/logprobs.ts";
import { loop } from "./commands/loop.ts";
import { pretrain } from "./commands/pretrain.ts";
import { pretrainJudge } from "./commands/pretrain-judge.ts";
import { record } from "./commands/record.ts";
import { sft } from "./commands/sft.ts";
import { verify } from "./commands/verify.ts";

/** Every command, in the order in which --help lists them. A new one is a file in src/cli/commands and a line here. */
export const COMMANDS: readonly AnyCommand[] = [
  info,
  logprobs,
  generate,
  dpo,
  sft,
  kto,
  grpo,
  evaluate,
  loop,
  experiment,
  gateStudy,
  record,
  pretrain,
  pretrainJudge,
  bench,
  verify,
  faults,
  fuzz,
];

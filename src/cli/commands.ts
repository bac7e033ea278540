import type { AnyCommand } from "./args.ts";
import { evaluate } from "./commands/eval.ts";
import { info } from "./commands/info.ts";
import { loop } from "./commands/loop.ts";
import { pretrain } from "./commands/pretrain.ts";
import { verify } from "./commands/verify.ts";

/** Every command, in the order in which --help lists them. A new one is a file in src/cli/commands and a line here. */
export const COMMANDS: readonly AnyCommand[] = [info, evaluate, loop, pretrain, verify];

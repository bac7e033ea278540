/** `autodidact <command> [options]`: finds the command, parses its options, runs it. */
import { type AnyCommand, columns, commandHelp, type Output, parseWords, UsageError } from "./args.ts";
import { COMMANDS } from "./commands.ts";

declare const __VERSION__: string;

/** Where the command line writes; tests give their own. */
export interface Streams {
  out(text: string): void;
  err(text: string): void;
  /** Print stack traces with errors. */
  readonly debug: boolean;
}

const processStreams: Streams = {
  out: (text) => process.stdout.write(text),
  err: (text) => process.stderr.write(text),
  debug: Boolean(process.env.DEBUG),
};

/**
 * Runs one command line, without the program's name.
 * Returns the exit code: 0, 1 when the command failed, 2 when it was used wrongly; the reason goes to stderr.
 */
export async function main(
  argv: readonly string[],
  streams: Streams = processStreams,
  commands: readonly AnyCommand[] = COMMANDS,
): Promise<number> {
  if (streams === processStreams) allowClosedPipe();
  const [name, ...words] = argv;
  if (name === undefined || name === "--help" || name === "-h" || name === "help") {
    streams[name === undefined ? "err" : "out"](overview(commands));
    return name === undefined ? 2 : 0;
  }
  if (name === "--version") {
    streams.out(`${__VERSION__}\n`);
    return 0;
  }
  const command = commands.find((candidate) => candidate.name === name);
  if (command === undefined) {
    const known = commands.map((candidate) => candidate.name).join(", ");
    streams.err(`autodidact: there is no command "${name}"; there are ${known}\n`);
    return 2;
  }
  try {
    const { values, argument, json, help } = parseWords(command, words);
    if (help) {
      streams.out(commandHelp(command));
      return 0;
    }
    await command.run({ values: values as never, argument, json, out: output(streams, json) });
    return 0;
  } catch (error) {
    return report(error, command, streams);
  }
}

/** `autodidact … | head` closes the pipe early: that is no error. */
function allowClosedPipe(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(0);
  });
}

function output(streams: Streams, json: boolean): Output {
  return {
    result(value, text) {
      streams.out(`${json || text === undefined ? JSON.stringify(value) : text}\n`);
    },
    note: (text) => streams.err(`${text}\n`),
  };
}

function report(error: unknown, command: AnyCommand, streams: Streams): number {
  const message = error instanceof Error ? error.message : String(error);
  const usage = error instanceof UsageError;
  streams.err(`autodidact ${command.name}: ${message}\n`);
  if (usage) streams.err(`See autodidact ${command.name} --help\n`);
  if (streams.debug && error instanceof Error) streams.err(`${error.stack}\n`);
  return usage ? 2 : 1;
}

function overview(commands: readonly AnyCommand[]): string {
  const rows = commands.map(({ name, summary }): [string, string] => [name, summary]);
  return `autodidact: a model that improves itself on WebGPU\n\nUsage: autodidact <command> [options]\n\n${columns(rows)}\n\nautodidact <command> --help says more.\n`;
}

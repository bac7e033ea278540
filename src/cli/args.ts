/** Commands and their options: one table says what is parsed, what is checked, and what --help prints. */
import { parseArgs } from "node:util";

interface OptionBase {
  /** What it does, one line; --help adds the default. */
  readonly help: string;
}

export interface TextOption extends OptionBase {
  readonly type: "text";
  /** What stands in --help for the value, e.g. "DIR". */
  readonly value: string;
  readonly default?: string;
  readonly required?: true;
  readonly choices?: readonly string[];
}

export interface NumberOption extends OptionBase {
  /** "whole": whole numbers only. */
  readonly type: "number" | "whole";
  readonly value?: string;
  readonly default?: number;
  readonly required?: true;
  readonly min?: number;
  readonly max?: number;
}

export interface FlagOption extends OptionBase {
  readonly type: "flag";
}

export type Option = TextOption | NumberOption | FlagOption;
/** Long name without dashes → option. */
export type Options = Readonly<Record<string, Option>>;

type Present<O> = O extends { readonly required: true } | { readonly default: string | number } ? never : null;
type ValueOf<O extends Option> = O extends FlagOption
  ? boolean
  : O extends TextOption
    ? string | Present<O>
    : number | Present<O>;
/** Typed values: null where an option without default is not given. */
export type Values<O extends Options> = { readonly [K in keyof O]: ValueOf<O[K]> };

/** Where results and remarks go. */
export interface Output {
  /** A result on stdout: one JSON line with --json, else `text` (by default the JSON line too). */
  result(json: object, text?: string): void;
  /** A remark or progress on stderr. */
  note(text: string): void;
}

export interface Context<O extends Options> {
  readonly values: Values<O>;
  /** The one word that stands without dashes, "" for a command that takes none. */
  readonly argument: string;
  readonly json: boolean;
  readonly out: Output;
}

/** One command. `run` loads what is heavy itself (`await import`), so that --help stays quick. */
export interface Command<O extends Options = Options> {
  readonly name: string;
  readonly summary: string;
  /** The one word that must stand without dashes, e.g. "RUN.zip". */
  readonly argument?: { readonly value: string; readonly help: string };
  readonly options: O;
  readonly example: string;
  /** Throws an Error (exit code 1) or a UsageError (exit code 2) in plain words. */
  run(context: Context<O>): Promise<void>;
}

/** A command as the table of commands holds it. */
export type AnyCommand = Omit<Command, "run"> & { run(context: Context<never>): Promise<void> };

/** The caller used the command wrongly: exit code 2. */
export class UsageError extends Error {}

/** Keeps the option table's literal types, so that `values` in `run` is typed. */
export function defineCommand<const O extends Options>(command: Command<O>): AnyCommand {
  return command as unknown as AnyCommand;
}

interface Parsed {
  readonly values: Readonly<Record<string, string | number | boolean | null>>;
  readonly argument: string;
  readonly json: boolean;
  readonly help: boolean;
}

/** Parses the words behind the command's name. Throws UsageError. With --help nothing else is checked. */
export function parseWords(command: AnyCommand, words: readonly string[]): Parsed {
  const { values: given, positionals } = tokenize(command, words);
  const json = given.json === true;
  if (given.help === true) return { values: {}, argument: "", json, help: true };
  if (positionals.length > (command.argument === undefined ? 0 : 1)) {
    throw new UsageError(`unexpected "${positionals[command.argument === undefined ? 0 : 1]}"`);
  }
  if (command.argument !== undefined && positionals.length === 0) {
    throw new UsageError(`${command.argument.value} is missing: ${command.argument.help}`);
  }
  const values: Record<string, string | number | boolean | null> = {};
  for (const [name, option] of Object.entries(command.options)) values[name] = readValue(name, option, given[name]);
  return { values, argument: positionals[0] ?? "", json, help: false };
}

function tokenize(
  command: AnyCommand,
  words: readonly string[],
): { values: Record<string, string | boolean | undefined>; positionals: string[] } {
  const table: Record<string, { type: "string" | "boolean"; short?: string }> = {
    json: { type: "boolean" },
    help: { type: "boolean", short: "h" },
  };
  for (const [name, option] of Object.entries(command.options)) {
    table[name] = { type: option.type === "flag" ? "boolean" : "string" };
  }
  try {
    const parsed = parseArgs({ args: [...words], options: table, allowPositionals: true, strict: true });
    return { values: parsed.values as Record<string, string | boolean | undefined>, positionals: parsed.positionals };
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code?.startsWith("ERR_PARSE_ARGS") !== true) throw error;
    throw new UsageError(lowerFirst(message.split(". ")[0] as string).replaceAll("\n", " "));
  }
}

const lowerFirst = (text: string): string => text.charAt(0).toLowerCase() + text.slice(1);

function readValue(
  name: string,
  option: Option,
  given: string | boolean | undefined,
): string | number | boolean | null {
  if (option.type === "flag") return given === true;
  if (given === undefined) {
    if (option.required) throw new UsageError(`--${name} is missing: ${option.help}`);
    return option.default ?? null;
  }
  const text = String(given);
  if (option.type === "text") {
    if (text === "") throw new UsageError(`--${name} is empty`);
    if (option.choices !== undefined && !option.choices.includes(text)) {
      throw new UsageError(`--${name} must be one of ${option.choices.join(", ")}, found "${text}"`);
    }
    return text;
  }
  const number = text.trim() === "" ? Number.NaN : Number(text);
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = option;
  const fits = option.type === "whole" ? Number.isSafeInteger(number) : Number.isFinite(number);
  if (!fits || number < min || number > max) {
    const kind = option.type === "whole" ? "a whole number" : "a number";
    const range = [Number.isFinite(min) ? ` from ${min}` : "", Number.isFinite(max) ? ` up to ${max}` : ""].join("");
    throw new UsageError(`--${name} must be ${kind}${range}, found "${text}"`);
  }
  return number;
}

/** What `autodidact <command> --help` prints. */
export function commandHelp(command: AnyCommand): string {
  const rows = Object.entries(command.options).map(([name, option]): [string, string] => {
    const value = option.type === "flag" ? "" : ` ${option.value ?? (option.type === "text" ? "TEXT" : "N")}`;
    return [`--${name}${value}`, `${option.help}${remark(option)}`];
  });
  if (command.argument !== undefined) rows.unshift([command.argument.value, command.argument.help]);
  rows.push(["--json", "print JSON lines"], ["--help", "this text"]);
  const usage = [command.name, command.argument?.value, "[options]"].filter(Boolean).join(" ");
  return `autodidact ${command.name}: ${command.summary}\n\nUsage: autodidact ${usage}\n\n${columns(rows)}\n\nExample: ${command.example}\n`;
}

function remark(option: Option): string {
  if (option.type === "flag") return "";
  const choices = option.type === "text" && option.choices !== undefined ? `: ${option.choices.join(", ")}` : "";
  if (option.required) return `${choices} (required)`;
  return option.default === undefined ? choices : `${choices} (default ${option.default})`;
}

/** Rows of two columns, the second one aligned. */
export function columns(rows: readonly (readonly [string, string])[]): string {
  const width = Math.max(...rows.map(([left]) => left.length));
  return rows.map(([left, right]) => `  ${left.padEnd(width)}  ${right}`).join("\n");
}

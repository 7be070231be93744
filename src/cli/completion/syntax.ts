import type { Command, Option } from "commander";
import { HOST_ARCH } from "../../arch/arches.ts";

/** What arguments can be that commander does not know. */
export type Completed = readonly ("files" | "sessions")[];

/** What a command line can have, as completion scripts need it. */
export interface CommandSyntax {
  name: string;
  summary: string;
  /** Words that its arguments can be. */
  choices: string[];
  /** Whether its arguments can be files, or the names of sessions. */
  takes: Completed;
  options: OptionSyntax[];
}

export interface OptionSyntax {
  flags: string[];
  description: string;
  takesValue: boolean;
  takesFile: boolean;
  takesSession: boolean;
  choices: string[];
}

/** Prints the names of living sessions, for the shell to ask for when it needs them. */
export const LIST_SESSIONS = `kvm-irq list 2>/dev/null | awk 'NF == 0 { exit } NR > 1 { print $1 }'`;

/** The flags of the options that take a value: the word behind them is no command. */
export function flagsWithValue({ options }: CommandSyntax): string[] {
  return options.filter(({ takesValue }) => takesValue).flatMap(({ flags }) => flags);
}

/** What can be typed after a command, read off the command itself. */
export function describeSyntax(command: Command, takes: Completed = []): CommandSyntax {
  return {
    name: command.name(),
    summary: command.summary() || command.description(),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    takes,
    options: command.options.map(describeOption),
  };
}

function describeOption(option: Option): OptionSyntax {
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined && flag !== null),
    description: option.description,
    takesValue: option.required || option.optional,
    takesFile: /<file>/.test(option.flags),
    takesSession: /<session>/.test(option.flags),
    choices: option.argChoices ?? (/<chip>/.test(option.flags) ? [...HOST_ARCH.chipWords] : []),
  };
}

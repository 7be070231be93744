import type { Command, Option } from "commander";
import { HOST_ARCH } from "../arch/arches.ts";
import type { CommandSyntax, OptionSyntax } from "./completion/syntax.ts";

/** Commands whose arguments are files or sessions, which commander does not know. */
const TAKE_FILES = new Set(["restore", "run", "diff"]);
const TAKE_SESSIONS = new Set(["destroy", "diff"]);

/** What can be typed after a command, read off the command itself. */
export function describeSyntax(command: Command): CommandSyntax {
  const name = command.name();
  return {
    name,
    summary: command.summary() || command.description(),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    takes: { files: TAKE_FILES.has(name), sessions: TAKE_SESSIONS.has(name) },
    options: command.options.map(describeOption),
  };
}

function describeOption(option: Option): OptionSyntax {
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined && flag !== null),
    description: option.description,
    takesValue: option.required || option.optional,
    takesFile: /<file>/.test(option.flags),
    takesSession: option.long === "--session",
    choices: option.argChoices ?? (/<chip>/.test(option.flags) ? [...HOST_ARCH.chipWords] : []),
  };
}

import type { Command, Option } from "commander";
import { HOST_ARCH } from "../abi/arches.ts";
import type { CommandSyntax, OptionSyntax } from "../render/completion.ts";

/** What can be typed after a command, read off the command itself. */
export function describeSyntax(command: Command): CommandSyntax {
  return {
    name: command.name(),
    summary: command.summary() || command.description(),
    choices: command.registeredArguments.flatMap(({ argChoices }) => argChoices ?? []),
    options: command.options.map(describeOption),
  };
}

function describeOption(option: Option): OptionSyntax {
  return {
    flags: [option.short, option.long].filter((flag) => flag !== undefined && flag !== null),
    description: option.description,
    takesValue: option.required || option.optional,
    takesFile: /<file>/.test(option.flags),
    takesSession: /<name>/.test(option.flags),
    choices: option.argChoices ?? (/<chip>/.test(option.flags) ? [...HOST_ARCH.chipWords] : []),
  };
}

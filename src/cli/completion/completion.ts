import { completeFish } from "./fish.ts";
import { completeBash, completeZsh } from "./sh.ts";
import type { CommandSyntax } from "./syntax.ts";

const WRITERS = { bash: completeBash, zsh: completeZsh, fish: completeFish };

/**
 * A completion script.
 *
 * @param syntax the program itself first, then its commands.
 */
export function completionScript(shell: keyof typeof WRITERS, syntax: readonly CommandSyntax[]): string {
  const [program, ...commands] = syntax;
  const help: CommandSyntax = {
    name: "help",
    summary: "help for a command",
    choices: commands.map(({ name }) => name),
    takes: [],
    options: [],
  };
  return WRITERS[shell](program!, [...commands, help]);
}

import type { Command } from "commander";
import { type CommandSpec, type Context, examples, type Outcome } from "../../cli/command.ts";
import { gsis } from "../../cli/parsers.ts";
import { checkLines, release as releaseLines } from "../../operations/inject.ts";
import { injectionOutcome } from "./injection.ts";

/** `release <gsi...>`: level 0. */
export const release: CommandSpec = {
  scriptable: true,
  writes: true,
  fits: checkLines,
  declare: (program: Command) =>
    program
      .command("release")
      .summary("lower lines")
      .description("Lowers each GSI. A line that is low already stays so.")
      .argument("<gsi...>", "GSIs and ranges of them: 4, 10-12", gsis)
      .addHelpText(
        "after",
        examples(["kvm-irq release 20", "after `hold 20`"], ["kvm-irq release 0-23", "all of them"]),
      ),

  async run(context: Context, lines: number[]): Promise<Outcome> {
    return injectionOutcome(await releaseLines(await context.source(), lines));
  },
};

import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { gsis } from "../../cli/parsers.ts";
import { checkLines, release as releaseLines } from "../../operations/inject.ts";
import { injectionOutcome } from "./injection.ts";

/** `release <gsi...>`: level 0. */
export const release: CommandSpec = {
  scriptable: true,
  writes: true,
  fits: checkLines,
  summary: "lower lines",
  description: "Lowers each GSI. A line that is low already stays so.",
  examples: [
    ["kvm-irq release 20", "after `hold 20`"],
    ["kvm-irq release 0-23", "all of them"],
  ],
  declare: (command) => command.argument("<gsi...>", "GSIs and ranges of them: 4, 10-12", gsis),

  async run(context: Context, lines: number[]): Promise<Outcome> {
    return injectionOutcome(await releaseLines(await context.source(), lines));
  },
};

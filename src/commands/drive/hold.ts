import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { duration, gsis } from "../../cli/parsers.ts";
import { checkLines, hold as holdLines } from "../../operations/inject.ts";
import { injectionOutcome } from "./injection.ts";

/** `hold <gsi...>`: level 1 and leave it. */
export const hold: CommandSpec = {
  scriptable: true,
  writes: true,
  fits: checkLines,
  summary: "raise lines and keep them high",
  description: "Raises each GSI and leaves it high, until `release`, a `pulse` of the same line, or --for.",
  examples: [
    ["kvm-irq hold 20", "a level interrupt that nobody clears"],
    ["kvm-irq hold 20-23 --for 2s", "for two seconds"],
  ],
  declare: (command) =>
    command
      .argument("<gsi...>", "GSIs and ranges of them: 4, 10-12", gsis)
      .option("--for <duration>", "lower the lines again after this time (or Ctrl-C)", duration),

  async run(context: Context, lines: number[], { for: forMs }: { for?: number }): Promise<Outcome> {
    const results = await holdLines(await context.source(), lines, forMs, context.signal);
    if (forMs === undefined || !context.signal.aborted) return injectionOutcome(results);
    context.notice("interrupted; every line is low");
    return { ...injectionOutcome(results), status: 130 };
  },
};

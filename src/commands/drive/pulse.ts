import { KvmIrqError } from "../../abi/error.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { choice, duration, gsis, wholeNumber } from "../../cli/parsers.ts";
import { pulseHandled } from "../../operations/handled.ts";
import { checkLines, type InjectionResult, pulse as pulseTrain } from "../../operations/inject.ts";
import { count as counted } from "../../text/format.ts";
import { unsupported } from "../../vm/operations.ts";
import type { SourceInfo } from "../../vm/reading.ts";
import { injectionOutcome, trainProgress } from "./injection.ts";

type Requirement = "delivered" | "coalesced" | "ignored" | "handled";

interface Options {
  count: number;
  interval: number;
  width: number;
  require?: Requirement;
  timeout?: number;
}

/** How long a guest may take to handle a pulse, unless --timeout says otherwise. */
const HANDLED_IN_MS = 1000;

/** `pulse <gsi...>`: level 1, then 0. */
export const pulse: CommandSpec = {
  scriptable: true,
  writes: true,
  check(_globals, _lines: number[], options: Options) {
    if (options.timeout !== undefined && options.require !== "handled") {
      throw new KvmIrqError("usage", "--timeout goes with --require handled");
    }
  },
  fits(info: SourceInfo, lines: number[], options: Options) {
    checkLines(info, lines);
    if (options.require === "handled" && info.guest === undefined) throw unsupported("handled", info);
  },
  summary: "pulse lines: raise, then lower",
  description:
    "Raises each GSI and lowers it again. What became of it is counted from the rise, by the kernel's answer: delivered to a CPU's interrupt controller (1 or more), coalesced (0: merged with one that is pending, or no local APIC took it), or ignored (negative: masked, or waiting for an EOI).",
  examples: [
    ["kvm-irq pulse 4", "once"],
    ["kvm-irq pulse 4 10-12 --count 100 --interval 10ms", "four lines, a hundred times a second"],
    ["kvm-irq -s ci pulse 20 --require delivered", "status 1 when it did not arrive"],
    ["kvm-irq pulse 4 --require handled", "wait for the guest of `create --guest`"],
  ],
  declare: (command) =>
    command
      .argument("<gsi...>", "GSIs and ranges of them: 4, 10-12", gsis)
      .option("--count <n>", "pulses of each GSI", wholeNumber(1, 1_000_000_000), 1)
      .option("--interval <duration>", "from one pulse of a GSI to the next (500us, 10ms, 2s)", duration, 0)
      .option("--width <duration>", "how long the line stays high", duration, 0)
      .addOption(
        choice("--require <outcome>", "fail (exit status 1) unless every pulse is", [
          "delivered",
          "coalesced",
          "ignored",
          "handled",
        ]),
      )
      .option(
        "--timeout <duration>",
        "with --require handled: how long the guest may take for each pulse (default: 1s)",
        duration,
      ),

  async run(context: Context, lines: number[], options: Options): Promise<Outcome> {
    const source = await context.source();
    const { count, interval, width } = options;
    const showProgress = trainProgress(context, count, "pulse");
    let done = 0;
    const train = { gsis: lines, count, intervalMs: interval, widthMs: width };
    const onProgress = (rounds: number) => {
      done = rounds;
      showProgress(rounds);
    };
    const results: (InjectionResult & { handled?: number })[] =
      options.require === "handled"
        ? await pulseHandled(source, train, options.timeout ?? HANDLED_IN_MS, context.signal, onProgress)
        : await pulseTrain(source, train, context.signal, onProgress);
    context.progress("");
    const outcome = injectionOutcome(results);
    if (context.signal.aborted && done < count) {
      context.notice(
        `interrupted after ${done} of ${counted(count, "pulse")} of each GSI; every line is low`,
      );
      return { ...outcome, status: 130 };
    }
    const required = options.require;
    const unmet = required === undefined ? [] : results.filter((result) => result[required] !== result.count);
    for (const { gsi, [required ?? "delivered"]: met, count: all } of unmet) {
      context.notice(`GSI ${gsi}: ${met} of ${counted(all, "pulse")} ${required}`);
    }
    return { ...outcome, status: unmet.length === 0 ? 0 : 1 };
  },
};

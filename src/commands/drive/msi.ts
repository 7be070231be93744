import { Option } from "commander";
import { advice, changing } from "../../abi/advice.ts";
import { KvmIrqError } from "../../abi/error.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { choice, duration, integer, wholeNumber } from "../../cli/parsers.ts";
import { sendMsi } from "../../operations/msi.ts";
import { count as counted } from "../../text/format.ts";
import type { MsiMessage } from "../../vm/routing.ts";
import { trainProgress } from "./injection.ts";

interface Options {
  address?: number;
  data?: number;
  decode?: true;
  count: number;
  interval: number;
  require?: "delivered" | "coalesced" | "ignored";
}

const U32 = 0xffff_ffff;
const { words, fields, check, compose, decode: decodeMsi } = HOST_ARCH.msi;

/** The options that a message is composed of. */
const COMPOSING = fields.map(({ flags, description, choices, most }) => {
  const option = new Option(flags, description);
  if (choices !== undefined) return option.choices(choices);
  return most === undefined ? option : option.argParser(integer(0, most));
});

/** `msi`: a message straight to local APICs, by its address and data or composed. */
export const msi: CommandSpec = {
  scriptable: true,
  writes: ({ decode }: Options) => decode !== true,
  summary: "send a message-signalled interrupt",
  description:
    "Sends an MSI to local APICs (KVM_SIGNAL_MSI), past the lines and the IOAPIC. Give the address and data that a device would write, or the fields that they are made of. The kernel's answer is counted: delivered (1 or more local APICs), or coalesced (0), which for an MSI means that none took it.",
  examples: [
    ["kvm-irq msi --address 0xfee00000 --data 0x41", "vector 0x41 to APIC 0"],
    ["kvm-irq msi --vector 0x41 --dest 1 --require delivered", "composed; status 1 when not taken"],
    ["kvm-irq msi --address 0xfee0100c --data 0x4131 --decode", "what it means, nothing sent"],
  ],
  declare(command) {
    command
      .option("--address <address>", words.address, integer(0, U32))
      .option("--data <data>", words.data, integer(0, U32));
    for (const option of COMPOSING) command.addOption(option);
    command
      .option("--decode", "say what the message means, and send nothing")
      .option("--count <n>", "how often to send it", wholeNumber(1, 1_000_000_000), 1)
      .option("--interval <duration>", "from one message to the next (500us, 10ms, 2s)", duration, 0)
      .addOption(
        choice("--require <outcome>", "fail (exit status 1) unless every message is", [
          "delivered",
          "coalesced",
          "ignored",
        ]),
      );
  },

  check(_globals, options: Options) {
    refuseUnsent(options);
    messageOf(options);
  },

  async run(context: Context, options: Options): Promise<Outcome> {
    const message = messageOf(options);
    const decoded = decodeMsi(message);
    if (options.decode) {
      return {
        json: { ...message, message: decoded },
        text: async (view) => (await import("../../text/msi.ts")).renderMsi(message, HOST_ARCH.msi, view),
      };
    }
    const source = await context.source();
    const { count, interval: intervalMs, require: required } = options;
    const onProgress = trainProgress(context, count, "message");
    const result = await sendMsi(source, { message, count, intervalMs }, context.signal, onProgress);
    context.progress("");
    const outcome: Outcome = {
      json: { results: [{ ...result, message: decoded }] },
      text: async (view) => (await import("../../text/msi.ts")).renderMsiResult(result, HOST_ARCH.msi, view),
    };
    if (context.signal.aborted && result.count < count) {
      context.notice(`interrupted after ${result.count} of ${counted(count, "message")}`);
      return { ...outcome, status: 130 };
    }
    if (required === undefined || result[required] === result.count) return outcome;
    context.notice(`${result[required]} of ${counted(result.count, "message")} ${required}`);
    return { ...outcome, status: 1 };
  },
};

/** @throws KvmIrqError `usage` for what --decode, which sends nothing, would leave undone. */
function refuseUnsent({ decode, count, interval, require: required }: Options): void {
  if (!decode || (count === 1 && interval === 0 && required === undefined)) return;
  throw new KvmIrqError(
    "usage",
    "--decode sends nothing: --count, --interval and --require don't go with it",
  );
}

/** @throws KvmIrqError `usage` unless the options are one message; `bad-msi`. */
function messageOf(options: Options): MsiMessage {
  const { address, data } = options;
  const given: Readonly<Record<string, unknown>> = { ...options };
  const isComposed = COMPOSING.some((option) => given[option.attributeName()] !== undefined);
  const isGiven = address !== undefined || data !== undefined;
  if (isComposed !== isGiven) {
    const message = address === undefined || data === undefined ? compose(given) : { address, data };
    if (message !== undefined) {
      check(message);
      return message;
    }
  }
  throw new KvmIrqError("usage", "an MSI is --address and --data, or --vector and what goes with it", {
    hint: advice`as in ${changing("msi", "--address", "0xfee00000", "--data", "0x41")} or ${changing("msi", "--vector", "0x41", "--dest", "0")}`,
  });
}

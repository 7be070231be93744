import { type Command, Option } from "commander";
import { advice, changing } from "../../abi/advice.ts";
import { KvmIrqError } from "../../abi/error.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { DELIVERY_MODES, DEST_MODES, TRIG_MODES } from "../../arch/x86/ioapic/layout.ts";
import { checkMsi, decodeMsi, encodeMsi, type Msi } from "../../arch/x86/msi.ts";
import { type CommandSpec, type Context, examples, type Outcome } from "../../cli/command.ts";
import { duration, integer, wholeNumber } from "../../cli/parsers.ts";
import { sendMsi } from "../../operations/msi.ts";
import { count as counted } from "../../text/format.ts";
import type { MsiMessage } from "../../vm/routing.ts";
import { trainProgress } from "./injection.ts";

interface Options {
  address?: number;
  data?: number;
  vector?: number;
  dest?: number;
  destMode?: Msi["dest_mode"];
  mode?: Msi["delivery_mode"];
  trigger?: Msi["trig_mode"];
  hint?: true;
  decode?: true;
  count: number;
  interval: number;
  require?: "delivered" | "coalesced" | "ignored";
}

const U32 = 0xffff_ffff;

/** `msi`: a message straight to local APICs, by its address and data or composed. */
export const msi: CommandSpec = {
  scriptable: true,
  writes: ({ decode }: Options) => decode !== true,
  declare: (program: Command) =>
    program
      .command("msi")
      .summary("send a message-signalled interrupt")
      .description(
        "Sends an MSI to local APICs (KVM_SIGNAL_MSI), past the lines and the IOAPIC. Give the address and data that a device would write, or the fields that they are made of. The kernel's answer is counted: delivered (1 or more local APICs), or coalesced (0), which for an MSI means that none took it.",
      )
      .option("--address <address>", "0xfee00000 to 0xfeefffff", integer(0, U32))
      .option("--data <data>", "32 bits: vector, delivery mode, trigger mode", integer(0, U32))
      .option("--vector <vector>", "compose a message with this vector, 0 to 255", integer(0, 255))
      .option("--dest <id>", "composed: the destination, 0 to 255 (default: 0)", integer(0, 255))
      .addOption(
        new Option("--dest-mode <mode>", "composed: what the destination is (default: physical)").choices(
          DEST_MODES,
        ),
      )
      .addOption(
        new Option("--mode <mode>", "composed: the delivery mode (default: fixed)").choices(DELIVERY_MODES),
      )
      .addOption(
        new Option("--trigger <mode>", "composed: the trigger mode (default: edge)").choices(TRIG_MODES),
      )
      .option("--hint", "composed: the redirection hint, for one of the CPUs addressed")
      .option("--decode", "say what the message means, and send nothing")
      .option("--count <n>", "how often to send it", wholeNumber(1, 1_000_000_000), 1)
      .option("--interval <duration>", "from one message to the next (500us, 10ms, 2s)", duration, 0)
      .addOption(
        new Option("--require <outcome>", "fail (exit status 1) unless every message is").choices([
          "delivered",
          "coalesced",
          "ignored",
        ]),
      )
      .addHelpText(
        "after",
        examples(
          ["kvm-irq msi --address 0xfee00000 --data 0x41", "vector 0x41 to APIC 0"],
          ["kvm-irq msi --vector 0x41 --dest 1 --require delivered", "composed; status 1 when not taken"],
          ["kvm-irq msi --address 0xfee0100c --data 0x4131 --decode", "what it means, nothing sent"],
        ),
      ),

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
    const target = await context.target();
    const { count, interval: intervalMs, require: required } = options;
    const onProgress = trainProgress(context, count, "message");
    const result = await sendMsi(target, { message, count, intervalMs }, context.signal, onProgress);
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
function messageOf({ address, data, ...fields }: Options): MsiMessage {
  const { vector, dest, destMode, mode, trigger, hint } = fields;
  const composed = [vector, dest, destMode, mode, trigger, hint].some((field) => field !== undefined);
  const given = address !== undefined || data !== undefined;
  if (composed === given || (composed ? vector === undefined : address === undefined || data === undefined)) {
    throw new KvmIrqError("usage", "an MSI is --address and --data, or --vector and what goes with it", {
      hint: advice`as in ${changing("msi", "--address", "0xfee00000", "--data", "0x41")} or ${changing("msi", "--vector", "0x41", "--dest", "0")}`,
    });
  }
  if (address !== undefined && data !== undefined) {
    checkMsi({ address, data });
    return { address, data };
  }
  return encodeMsi({
    dest_id: dest ?? 0,
    redirection_hint: hint ?? false,
    dest_mode: destMode ?? "physical",
    vector: vector!,
    delivery_mode: mode ?? "fixed",
    level: trigger === "level" ? "assert" : "deassert",
    trig_mode: trigger ?? "edge",
  });
}

import { type Command, Option } from "commander";
import { HOST_ARCH } from "../abi/arch.ts";
import { KvmIrqError } from "../abi/error.ts";
import type { Backend } from "../machine/machine.ts";
import { PRESETS, type PresetName } from "../machine/presets.ts";
import { count } from "../render/format.ts";
import { checkSessionName } from "../session/runtime-dir.ts";
import { type CommandSpec, type Context, examples, type Outcome } from "./command.ts";
import { duration, wholeNumber } from "./parsers.ts";

interface Options {
  vcpus: number;
  preset: PresetName;
  backend: Backend;
  ttl?: number;
  replace?: true;
}

/** `create [name]`: a VM with an irqchip, kept alive by a holder process. */
export const create: CommandSpec = {
  declare: (program: Command) =>
    program
      .command("create")
      .summary("make a VM with an irqchip, kept alive by a holder process")
      .description(
        "Makes a VM with an irqchip and vCPUs that never run. A holder process keeps it until `destroy`, so that later commands, each a process of its own, find the same VM.",
      )
      .argument("[name]", "the session's name", checkSessionName, "default")
      .option("--vcpus <n>", "vCPUs, each with a local APIC", wholeNumber(0, HOST_ARCH.maxVcpus), 1)
      .addOption(
        new Option("--preset <state>", "the state to start from")
          .choices(Object.keys(PRESETS))
          .default("reset"),
      )
      .addOption(
        new Option("--backend <backend>", "the kernel's KVM, or the software model")
          .choices(["kvm", "model"])
          .default("kvm")
          .env("KVM_IRQ_BACKEND"),
      )
      .option("--ttl <duration>", "end after nobody has called for so long", duration)
      .option("--replace", "end a session of that name first")
      .addHelpText(
        "after",
        `\nPresets:\n${Object.entries(PRESETS)
          .map(([name, what]) => `  ${name.padEnd(7)} ${what}`)
          .join("\n")}`,
      )
      .addHelpText(
        "after",
        examples(
          ["kvm-irq create", "the session `default`, as the kernel makes it"],
          [
            "kvm-irq create ci --preset ioapic --ttl 10m",
            "every IOAPIC pin open, gone after 10 idle minutes",
          ],
          ["kvm-irq create smp --vcpus 4 --replace", "four local APICs, in place of an older `smp`"],
        ),
      ),

  async run(_context: Context, name: string, options: Options): Promise<Outcome> {
    const { createSession, destroySession } = await import("../session/start.ts");
    if (options.replace) await destroySession(name).catch(ignoreMissing);
    const { ttl, vcpus, preset, backend } = options;
    const session = await createSession({
      name,
      backend,
      vcpus,
      preset,
      ...(ttl === undefined ? {} : { ttlMs: ttl }),
    });
    const { pid } = session;
    return {
      json: session,
      text: () =>
        `session '${name}': ${count(vcpus, "vCPU")}, preset ${preset}, ${backend === "kvm" ? "KVM" : "software model"}, holder pid ${pid}\n`,
    };
  },
};

function ignoreMissing(error: unknown): void {
  if (error instanceof KvmIrqError && (error.code === "no-session" || error.code === "session-gone")) return;
  throw error;
}

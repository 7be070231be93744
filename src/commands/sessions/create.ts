import { type ErrorCode, KvmIrqError } from "../../abi/error.ts";
import { printable } from "../../abi/printable.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import { isPerVcpu } from "../../arch/codec.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { choice, longerThan, wholeNumber } from "../../cli/parsers.ts";
import { backendOption, chooseStart, fromOption, type StartOptions } from "../../cli/start-state.ts";
import { checkModel } from "../../sources/make-machine.ts";
import { checkSessionName } from "../../sources/session/runtime-dir.ts";
import { count } from "../../text/format.ts";
import { GUEST_PROGRAMS, type GuestProgram } from "../../vm/guest.ts";
import { type Backend, IRQCHIPS, type Irqchip } from "../../vm/machine.ts";
import type { Start } from "../../vm/start.ts";

interface Options extends StartOptions {
  guest?: GuestProgram;
  irqchip: Irqchip;
  ttl?: number;
  replace?: true;
}

/** `create [name]`: a VM with an irqchip, kept alive by a holder process. */
export const create: CommandSpec = {
  targets: [],
  summary: "create a VM with an irqchip, kept alive by a holder process",
  description:
    "Makes a VM with an irqchip and vCPUs that do not run, unless --guest asks for it. A holder process keeps it until `destroy`, so that later commands, each a process of its own, find the same VM.",
  notes: `Presets:\n${named(HOST_ARCH.presets.words)}\n\nGuests, which set up their chips themselves, acknowledge and end interrupts:\n${named(GUEST_PROGRAMS)}`,
  examples: [
    ["kvm-irq create", "the session `default`, as the kernel makes it"],
    ["kvm-irq create ci --preset ioapic --ttl 10m", "every IOAPIC pin open, gone after 10 idle minutes"],
    ["kvm-irq create --guest ioapic", "one that handles its interrupts, `dump` counts them"],
    ["kvm-irq create what-if --backend model --from snap.json", "a saved VM, to play with"],
    ["kvm-irq create s --irqchip split --preset lapic", "local APICs alone, for MSIs"],
    ["kvm-irq create smp --vcpus 4 --replace", "four local APICs, in place of an older `smp`"],
  ],
  declare: (command) =>
    command
      .argument("[name]", "the session's name", checkSessionName, "default")
      .option(
        "--vcpus <n>",
        `vCPUs, each with a ${HOST_ARCH.chipKinds.find(isPerVcpu)!.title}`,
        wholeNumber(0, HOST_ARCH.maxVcpus),
        1,
      )
      .addOption(
        choice("--preset <state>", "the state to start from", Object.keys(HOST_ARCH.presets.words)).default(
          "reset",
        ),
      )
      .addOption(fromOption("guest", "irqchip"))
      .addOption(
        backendOption("the kernel's KVM, the software model, or auto: KVM where it works").default("kvm"),
      )
      .addOption(
        choice(
          "--irqchip <kind>",
          "what is in the kernel: all controllers, or local APICs alone",
          Object.keys(IRQCHIPS),
        ).default("full"),
      )
      .addOption(
        choice(
          "--guest <program>",
          "run a guest on vCPU 0 that takes interrupts and counts them",
          Object.keys(GUEST_PROGRAMS),
        ),
      )
      .option(
        "--ttl <duration>",
        "destroy the session after this long without a client (`list` does not count)",
        longerThan(0),
      )
      .option("--replace", "take the place of a session of that name, once the new VM is made"),

  check(_globals, _name: string, options: Options) {
    if (options.guest !== undefined && (options.preset !== "reset" || options.vcpus === 0)) {
      throw new KvmIrqError("usage", "a guest needs a vCPU, and sets up its chips itself", {
        hint: "leave out --preset, and --vcpus 0",
      });
    }
    refuseSplit(options);
    if (options.backend === "model") checkModel(options);
  },

  async run(context: Context, name: string, options: Options): Promise<Outcome> {
    const { vcpus, start } = await chooseStart(context, options);
    const { createSession } = await import("../../sources/session/start.ts");
    const { startToWire } = await import("../../sources/session/protocol.ts");
    const { guest, irqchip, ttl, replace = false } = options;
    const createOn = (backend: Backend) =>
      createSession(
        {
          name,
          backend,
          vcpus,
          start: startToWire(start),
          irqchip,
          replace,
          ...(guest === undefined ? {} : { guest }),
          ...(ttl === undefined ? {} : { ttlMs: ttl }),
        },
        { signal: context.signal },
      );
    const session =
      options.backend === "auto"
        ? await createOn("kvm").catch((error) => {
            sayFallback(error, context);
            return createOn("model");
          })
        : await createOn(options.backend);
    if (context.signal.aborted) {
      const { destroyIfAny } = await import("../../sources/session/destroy.ts");
      await destroyIfAny(name);
      throw new KvmIrqError("interrupted", `interrupted: session '${name}' was destroyed`);
    }
    const { backend, pid } = session;
    return {
      json: session,
      text: () =>
        `session '${name}': ${count(vcpus, "vCPU")}, ${printable(describeStart(start, guest))}, ${backend === "kvm" ? "KVM" : "software model"}${irqchip === "split" ? ", split irqchip" : ""}, holder pid ${pid}\n`,
    };
  },
};

function named(words: Readonly<Record<string, string>>): string {
  return Object.entries(words)
    .map(([name, what]) => `  ${name.padEnd(7)} ${what}`)
    .join("\n");
}

/** @throws the error itself, unless it says that KVM can't be used here. */
function sayFallback(error: unknown, context: Pick<Context, "notice">): void {
  if (!(error instanceof KvmIrqError && UNUSABLE.has(error.code))) throw error;
  context.notice(`${error.message}: using the software model`);
}

const UNUSABLE: ReadonlySet<ErrorCode> = new Set(["kvm-unavailable", "kvm-permission", "kvm-capability"]);

function describeStart(start: Start, guest: GuestProgram | undefined): string {
  if (guest !== undefined) return `guest ${guest}`;
  return typeof start === "string" ? `preset ${start}` : `from ${start.label}`;
}

/** @throws KvmIrqError `usage` for what needs chips that a split irqchip lacks. */
function refuseSplit({ irqchip, preset, guest }: Options): void {
  if (irqchip === "full") return;
  const needs =
    guest !== undefined
      ? `guest ${guest}`
      : preset === "pic" || preset === "ioapic"
        ? `preset ${preset}`
        : undefined;
  if (needs === undefined) return;
  throw new KvmIrqError("usage", `${needs} needs PICs and an IOAPIC, and a split irqchip has none`, {
    hint: "with --irqchip split, use --preset lapic, and send MSIs, or route GSIs to them",
  });
}

import { Argument } from "commander";
import { KvmIrqError } from "../../abi/error.ts";
import { archNamed } from "../../arch/arches.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { gsi as oneGsi, wholeNumber } from "../../cli/parsers.ts";
import { checkLines } from "../../operations/inject.ts";
import type { IrqfdAction } from "../../vm/irqfd.ts";
import { unsupported } from "../../vm/operations.ts";
import type { SourceInfo } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";

interface Options {
  resample?: true;
  count?: number;
}

/** The most kicks in one call: some ten milliseconds of the holder's time. */
const MOST_KICKS = 10_000;

/** `irqfd bind|kick|unbind|list`: eventfds that raise GSIs. */
export const irqfd: CommandSpec = {
  scriptable: true,
  writes: (action: IrqfdAction["do"]) => action !== "list",
  fits(info: SourceInfo, action: IrqfdAction["do"], gsi: number | undefined) {
    if (action === "bind" && gsi !== undefined) checkLines(info, [gsi]);
  },
  summary: "bind eventfds to GSIs, and kick them",
  description:
    "An irqfd is an eventfd of the session's holder whose writes raise a GSI (KVM_IRQFD), as vhost and VFIO do it. KVM gives no status for it: look at the chips. With --resample the line stays up until the interrupt's EOI, which KVM then tells.",
  examples: [
    ["kvm-irq irqfd bind 4", "an eventfd for GSI 4"],
    ["kvm-irq irqfd kick 4 --count 3", "three writes"],
    ["kvm-irq irqfd bind 20 --resample", "level; `irqfd list` counts its EOIs"],
    ["kvm-irq irqfd unbind 4", "away with it"],
  ],
  declare: (command) =>
    command
      .addArgument(new Argument("<action>", "what to do").choices(["bind", "kick", "unbind", "list"]))
      .argument("[gsi]", "the GSI", oneGsi)
      .option("--resample", "bind: for level interrupts, let the line drop at EOI")
      .option("--count <n>", "kick: writes to the eventfd (default: 1)", wholeNumber(1, MOST_KICKS)),

  check(_globals, action: IrqfdAction["do"], gsi: number | undefined, options: Options) {
    actionOf(action, gsi, options);
  },

  async run(
    context: Context,
    action: IrqfdAction["do"],
    gsi: number | undefined,
    options: Options,
  ): Promise<Outcome> {
    const wanted = actionOf(action, gsi, options);
    const source = await context.source();
    if (wanted.do === "list" && !source.can("irqfd")) return listed(source);
    const { irqfds } = await source.perform("irqfd", { action: wanted });
    return {
      json: { irqfds },
      text: async (view) => (await import("../../text/irqfd.ts")).renderIrqfds(irqfds, view),
    };
  },
};

/** The irqfds of a VM that is not ours, which are there to be read. */
async function listed(source: Source): Promise<Outcome> {
  const { identity, facts, unknown } = await source.read({ chips: [], facts: ["irqfds"] });
  const fact = facts?.irqfds;
  if (fact === undefined) {
    if (identity.source.kind !== "process") throw unsupported("irqfd", identity);
    throw new KvmIrqError("unsupported", `the irqfds of ${identity.label} are not known`, {
      hint: `${unknown?.["irqfds"] ?? "there is no ioctl that lists them"}; kernel memory has them: run as root`,
    });
  }
  return {
    json: {
      irqfds: fact.value.map(({ resample, ...irqfd }) => ({
        ...irqfd,
        resample: resample !== undefined,
        ...(resample && { resample_eventfd: resample }),
      })),
      from: fact.from,
    },
    text: async (view) =>
      (await import("../../text/irqfd.ts")).renderIrqfdFacts(fact.value, archNamed(identity.host.arch), view),
  };
}

/** @throws KvmIrqError `usage` unless action, GSI and options go together. */
function actionOf(action: IrqfdAction["do"], gsi: number | undefined, options: Options): IrqfdAction {
  const { resample, count } = options;
  if (resample && action !== "bind") throw misfit("--resample goes with bind");
  if (count !== undefined && action !== "kick") throw misfit("--count goes with kick");
  if (action === "list") {
    if (gsi !== undefined) throw misfit("`irqfd list` takes no GSI");
    return { do: action };
  }
  if (gsi === undefined) throw misfit(`\`irqfd ${action}\` needs a GSI`);
  switch (action) {
    case "bind":
      return { do: action, gsi, resample: resample ?? false };
    case "kick":
      return { do: action, gsi, count: count ?? 1 };
    case "unbind":
      return { do: action, gsi };
  }
}

function misfit(message: string): KvmIrqError {
  return new KvmIrqError("usage", message, { hint: "`kvm-irq irqfd --help` shows how to call it" });
}

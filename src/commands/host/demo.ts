import { shellWord } from "../../abi/advice.ts";
import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { backendOption, type ScratchOptions, scratchSource } from "../../cli/start-state.ts";
import { stepContext } from "../scripts/step-context.ts";

/** The tour: each stop is a command that the reader can type after `kvm-irq create --preset ioapic`. */
const TOUR: readonly { say: string; argv: string[] }[] = [
  {
    say: "GSI 4 is a PC's first serial port. Pulse it: the line goes up and down once.",
    argv: ["pulse", "4"],
  },
  {
    say: "It went through IOAPIC pin 4 (edge, vector 0x34) and waits in the local APIC's IRR.",
    argv: ["dump", "--chip", "lapic"],
  },
  { say: "GSI 20 is level-triggered. Hold it: it stays up until somebody serves it.", argv: ["hold", "20"] },
  {
    say: "Pin 20 was delivered and waits for the end-of-interrupt of vector 0x44 (remote IRR).",
    argv: ["dump", "--chip", "ioapic"],
  },
  { say: "Until then, nobody takes another one: ignored.", argv: ["pulse", "20"] },
  {
    say: "Why? `explain` follows each way that GSI 20 can take, and marks where it stops.",
    argv: ["explain", "20"],
  },
  { say: "Mask pin 4, as a driver does that shuts down.", argv: ["set", "ioapic.redirtbl[4].mask=true"] },
  { say: "Now pulses of GSI 4 are ignored too.", argv: ["pulse", "4", "--count", "3"] },
  { say: "The question of every driver's author: why does my interrupt not arrive?", argv: ["explain", "4"] },
];

/** `demo`: create, pulse, dump, explain: a tour in ten seconds. */
export const demo: CommandSpec = {
  targets: [],
  summary: "take a ten-second tour: create, pulse, dump, explain",
  description: "Makes a VM for itself, takes you through the main commands on it, and leaves nothing behind.",
  examples: [
    ["kvm-irq demo", "the tour"],
    ["kvm-irq demo --backend model", "without touching /dev/kvm"],
  ],
  declare: (command) =>
    command.addOption(
      backendOption("auto takes KVM where it works, else the software model", [
        "auto",
        "kvm",
        "model",
      ]).default("auto"),
    ),

  async run(context: Context, { backend }: Pick<ScratchOptions, "backend">): Promise<Outcome> {
    const scratch = await scratchSource({ backend, vcpus: 1, start: "ioapic" }, context);
    try {
      const { source } = scratch.identity;
      context.notice(
        `backend: ${source.backend === "kvm" ? "the kernel's KVM (/dev/kvm)" : "the software model"}`,
      );
      const steps = [];
      for (const { say, argv } of TOUR) {
        if (context.signal.aborted) return { status: 130 };
        const inside = stepContext(context, scratch, context.globals, { options: [] });
        const json = await takeStep(context, inside, say, argv);
        steps.push({ command: argv, result: json });
      }
      return { json: { source, steps } };
    } finally {
      await scratch.close();
    }
  },
};

/** Runs one stop of the tour, shows it unless JSON was asked for, and gives its result back. */
async function takeStep(outer: Context, context: Context, say: string, argv: string[]): Promise<unknown> {
  const parsed = await outer.program.parse(argv);
  if ("help" in parsed) return undefined;
  const { json, text } = await parsed.run(context);
  if (outer.globals.json) return json;
  const view = await outer.view();
  outer.write(
    `\n${view.paint.dim(`# ${say}`)}\n${view.paint.bold(`$ kvm-irq ${argv.map(shellWord).join(" ")}`)}\n${(await text?.(view)) ?? ""}`,
  );
  return undefined;
}

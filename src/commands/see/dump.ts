import { KvmIrqError } from "../../abi/error.ts";
import { ARCHES, HOST_ARCH } from "../../arch/arches.ts";
import type { CommandSpec, Context, GlobalOptions, Outcome } from "../../cli/command.ts";
import { chooseFormat, toFile } from "../../cli/outcome.ts";
import { chipOption, choice, outputOption } from "../../cli/parsers.ts";
import { type Decoded, readSource, selectChips, selectFacts } from "../../operations/take-snapshot.ts";
import { toRaw } from "../../vm/raw.ts";
import type { SourceInfo } from "../../vm/reading.ts";

type Format = "table" | "json" | "raw";

interface Options {
  chip?: string[];
  format?: Format;
  layout?: string;
  output?: string;
}

const FACTS: readonly string[] = Object.keys(HOST_ARCH.facts);

/** `dump`: decoded state. */
export const dump: CommandSpec = {
  scriptable: true,
  summary: "print the controllers' decoded state",
  description:
    "Reads the interrupt controllers and shows them decoded, and what else can be known of the VM: routes, irqfds, who holds a line up (lines), timers, APICv, and posted interrupts. `--format json` is a snapshot, which `restore`, `diff` and `--snapshot` take; `--format raw` has the bytes that the ioctls return.",
  examples: [
    ["kvm-irq dump", "everything"],
    ["kvm-irq dump --chip ioapic --chip pic", "these chips"],
    ["kvm-irq dump --chip irqfds", "eventfds that raise GSIs, and who has them open"],
    ["kvm-irq dump --json | jq .chips.pic1.imr", "one register"],
    ["kvm-irq dump --format raw --chip ioapic -o ioapic.bin", "struct kvm_irqchip, 520 bytes"],
    ["kvm-irq dump --snapshot old.bin --layout ia64", "raw bytes from an old ia64 host"],
  ],
  declare: (command) =>
    command
      .addOption(chipOption("only these", FACTS))
      .addOption(
        choice("--format <format>", "how to show it; --json is json (default: table)", [
          "table",
          "json",
          "raw",
        ]),
      )
      .addOption(
        choice(
          "--layout <layout>",
          "how the raw bytes of --snapshot are laid out",
          ARCHES.map(({ rawLayout }) => rawLayout),
        ),
      )
      .addOption(outputOption("write to a file (atomically)")),

  check(globals, { layout, format, chip = [] }: Options) {
    if (layout !== undefined && globals.snapshot === undefined) {
      throw new KvmIrqError("usage", "--layout is for the raw bytes of a --snapshot");
    }
    const fact = chip.find((word) => FACTS.includes(word));
    if (formatOf(globals, format) === "raw" && fact !== undefined) {
      throw new KvmIrqError("usage", `${fact} has no raw bytes`, {
        hint: "show it as a table or with --json",
      });
    }
  },
  fits(info: SourceInfo, { chip = [] }: Options) {
    selectChips(chip, info);
    selectFacts(chip, info);
  },

  async run(context: Context, options: Options): Promise<Outcome> {
    const format = formatOf(context.globals, options.format);
    const source = await context.source({ layout: options.layout });
    const outcome = present(await readSource(source, options.chip), format, options.chip ?? []);
    return toFile(options.output, outcome);
  },
};

function formatOf({ json }: GlobalOptions, format: Format | undefined): Format {
  return chooseFormat({ json, format }, { machine: "json", people: "table" });
}

function present(
  { arch, images, identity, snapshot }: Decoded,
  format: Format,
  words: readonly string[],
): Outcome {
  const asked = words.length === 0 ? undefined : words.filter((word) => FACTS.includes(word));
  switch (format) {
    case "raw":
      return { bytes: toRaw(images, arch) };
    case "json":
      return { json: snapshot, text: () => `${JSON.stringify(snapshot)}\n` };
    case "table":
      return {
        json: snapshot,
        text: async (view) =>
          (await import("../../text/snapshot.ts")).renderSnapshot(
            snapshot,
            arch,
            { label: identity.label, asked },
            view,
          ),
      };
  }
}

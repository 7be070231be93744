import { type Command, Option } from "commander";
import { toRaw } from "../abi/raw.ts";
import { checkChoice } from "../target/open.ts";
import { type Reading, readTarget, selectChips } from "../target/take-snapshot.ts";
import type { TargetInfo } from "../target/target.ts";
import { type CommandSpec, type Context, examples, type Outcome } from "./command.ts";
import { chips } from "./parsers.ts";
import { toFile } from "./to-file.ts";

interface Options {
  chip?: string[];
  format: "table" | "json" | "raw";
  layout?: "x86" | "ia64";
  output?: string;
}

/** `dump`: decoded state. */
export const dump: CommandSpec = {
  scriptable: true,
  declare: (program: Command) =>
    program
      .command("dump")
      .summary("decoded state")
      .description(
        "Reads the interrupt controllers and shows them decoded. `--format json` is a snapshot, which `restore`, `diff` and `--snapshot` take; `--format raw` has the bytes that the ioctls return.",
      )
      .option("--chip <chip>", "pic1, pic2, pic, ioapic, lapic, lapic[N], vcpu or all; repeatable", chips)
      .addOption(
        new Option("--format <format>", "how to show it").choices(["table", "json", "raw"]).default("table"),
      )
      .addOption(
        new Option("--layout <layout>", "how the raw bytes of --snapshot are laid out").choices([
          "x86",
          "ia64",
        ]),
      )
      .option("-o, --output <file>", "write to a file, whole or not at all")
      .addHelpText(
        "after",
        examples(
          ["kvm-irq dump", "everything"],
          ["kvm-irq dump --chip ioapic --chip pic", "these chips"],
          ["kvm-irq dump --json | jq .chips.pic1.imr", "one register"],
          ["kvm-irq dump --format raw --chip ioapic -o ioapic.bin", "struct kvm_irqchip, 520 bytes"],
          ["kvm-irq dump --snapshot old.bin --layout ia64", "saved bytes of another time"],
        ),
      ),

  check(globals, { layout }: Options) {
    checkChoice({ ...globals, layout });
  },
  fits(info: TargetInfo, { chip = [] }: Options) {
    selectChips(chip, info);
  },

  async run(context: Context, options: Options): Promise<Outcome> {
    const target = await context.target({ layout: options.layout });
    const reading = await readTarget(target, options.chip);
    const outcome = present(reading, context.globals.json ? "json" : options.format);
    return options.output === undefined ? outcome : toFile(options.output, outcome);
  },
};

function present({ images, info, snapshot }: Reading, format: Options["format"]): Outcome {
  switch (format) {
    case "raw":
      return { bytes: toRaw(images) };
    case "json":
      return { json: snapshot, text: () => `${JSON.stringify(snapshot)}\n` };
    case "table":
      return {
        text: async (view) =>
          (await import("../render/snapshot.ts")).renderSnapshot(snapshot, info.label, view),
      };
  }
}

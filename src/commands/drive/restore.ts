import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { chipOption } from "../../cli/parsers.ts";

import { restoreSnapshot } from "../../operations/restore.ts";
import { selectChips } from "../../operations/take-snapshot.ts";
import { readInput } from "../../os/input.ts";
import { diffState } from "../../rules/diff.ts";
import { parseSnapshot } from "../../sources/file/parse-snapshot.ts";
import type { SourceInfo } from "../../vm/reading.ts";

interface Options {
  chip?: string[];
  dryRun?: boolean;
}

/** `restore <file|->`: put a snapshot back. */
export const restore: CommandSpec = {
  scriptable: true,
  completes: ["files"],
  writes: (_file: string, { dryRun }: Options) => dryRun !== true,
  summary: "write a snapshot back",
  description:
    "Writes the chips of a snapshot, all or none, then reads them back. What the kernel changes on its own (it injects again what the IOAPIC's IRR holds) is reported.",
  examples: [
    ["kvm-irq dump --json | kvm-irq -s other restore -", "copy a VM's chips to another"],
    ["kvm-irq restore snap.json --dry-run", "what would change"],
    ["kvm-irq restore snap.json --chip ioapic", "one chip"],
  ],
  declare: (command) =>
    command
      .argument("<file>", "a snapshot from `dump --json`, or - for standard input")
      .addOption(chipOption("restore only these"))
      .option("--dry-run", "show what would change, and write nothing"),

  fits(info: SourceInfo, _file: string, { chip = [] }: Options) {
    selectChips(chip, info);
  },

  async run(context: Context, file: string, { chip, dryRun = false }: Options): Promise<Outcome> {
    const label = file === "-" ? "standard input" : file;
    const snapshot = parseSnapshot(readInput(file).toString("utf8"), label);
    const source = await context.source();
    const { arch, chips, before, wanted, after } = await restoreSnapshot(source, snapshot, {
      words: chip ?? [],
      dryRun,
    });
    const changed = diffState(before, wanted);
    const kernel = after === undefined ? [] : diffState(wanted, after);
    const title = `${dryRun ? "would restore" : "restored"} ${chips.join(", ")}`;
    return {
      json: { chips, dry_run: dryRun, changed, changed_by_kernel: kernel },
      text: async (view) =>
        (await import("../../text/diff.ts")).renderChanges({ title, changed, kernel }, view, arch),
    };
  },
};

import type { CommandSpec, Context, Outcome } from "../../cli/command.ts";
import { collecting } from "../../cli/parsers.ts";
import { type Assignment, checkAssignments, editSource, parseAssignment } from "../../operations/edit.ts";
import { diffState } from "../../rules/diff.ts";

/** `set <path=value...>`: change single fields. */
export const set: CommandSpec = {
  scriptable: true,
  writes: true,
  summary: "change single fields",
  description:
    "Reads the chips, changes the fields named, writes them back and reads them again. Fields are named as in `dump --json`; an index can be a range or *. Everything is checked before anything is written.",
  examples: [
    ["kvm-irq set pic1.imr=0xfb", "mask all but IR2"],
    ["kvm-irq set 'ioapic.redirtbl[4].mask=false' 'ioapic.redirtbl[4].vector=0x34'", "open a pin"],
    ["kvm-irq set 'ioapic.redirtbl[16-23].trig_mode=level' 'lapic[*].svr=0x1ff'", "ranges and all"],
    ["kvm-irq set 'lapic[0].irr=0x34,0x35'", "a list of vectors; [] for none"],
    [`kvm-irq set 'lapic[0].reserved={"0x3f0":1}'`, "all words without a name; {} for none"],
  ],
  declare: (command) =>
    command.argument("<path=value...>", "fields and their new values", collecting(parseAssignment)),

  fits: checkAssignments,

  async run(context: Context, assignments: Assignment[]): Promise<Outcome> {
    const { arch, before, wanted, after } = await editSource(await context.source(), assignments);
    const changed = diffState(before, wanted);
    const kernel = diffState(wanted, after);
    return {
      json: { changed, changed_by_kernel: kernel },
      text: async (view) =>
        (await import("../../text/diff.ts")).renderChanges({ title: "set", changed, kernel }, view, arch),
    };
  },
};

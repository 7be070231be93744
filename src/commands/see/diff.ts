import { KvmIrqError } from "../../abi/error.ts";
import type { CommandSpec, Context, GlobalOptions, Outcome } from "../../cli/command.ts";
import { paths } from "../../cli/parsers.ts";
import { type Decoded, readSource } from "../../operations/take-snapshot.ts";
import { archOfBoth, diffSnapshots, unmatchedChips } from "../../rules/diff-snapshots.ts";
import { sourceNamed } from "../../sources/named.ts";
import { isNamed, openSource } from "../../sources/open.ts";
import { knownRouting } from "../../vm/routing.ts";

interface Options {
  ignore?: string[];
}

/** `diff <a> <b>`: what differs between two snapshots, or live targets. */
export const diff: CommandSpec = {
  completes: ["files", "sessions"],
  refuses: "all",
  summary: "compare two snapshots, or live VMs",
  description:
    "Compares two states field by field: one line per field, with its value in <a> and in <b>, with the bits of a register that were set and cleared; and each GSI that is routed elsewhere (routing[4]). Of irqfds, lines held up, timers, APICv and posted interrupts, what both have is compared (irqfds[24].eventfd.id). Status 0: nothing differs, 1: something does.",
  notes: `How targets are named: - is a snapshot on standard input; pid:4242 is the VM of a process (pid:4242:13
the one on its descriptor 13); what has a / or ends in .json is a file; anything else is the session of
that name, or if there is none, the file. So ./ci is a file even where there is a session ci.`,
  examples: [
    ["kvm-irq diff before.json after.json", "two snapshots of `dump --json`"],
    ["kvm-irq diff before.json default", "a snapshot, and what the session is now"],
    [
      "kvm-irq dump --pid 4242 --json | kvm-irq diff - pid:4242 --ignore 'vcpus[*]'",
      "a VM of QEMU, a moment later",
    ],
  ],
  declare: (command) =>
    command
      .argument("<a>", "the first: a snapshot file, - for standard input, a session, or pid:PID")
      .argument("<b>", "the second, likewise")
      .option(
        "--ignore <path>",
        "leave out a field, or all below it, as lapic[*].timer_current or routing; repeatable",
        paths,
      ),

  check(globals, a: string, b: string) {
    refuseTargets(globals);
    if (a === "-" && b === "-") {
      throw new KvmIrqError("usage", "standard input can be only one of the two", {
        hint: "name the other: a file, a session, or pid:PID",
      });
    }
  },

  async run(context: Context, a: string, b: string, { ignore = [] }: Options): Promise<Outcome> {
    const choices = [sourceNamed(a), sourceNamed(b)] as const;
    const before = await read(choices[0]);
    const after = await read(choices[1]);
    checkComparable(before, after, ignore);
    const compared = { a: before, b: after, ignore };
    const left = [
      ...ofOne("vcpus", "the state of vCPUs", ({ snapshot }) => snapshot.vcpus, compared, context),
      ...ofOne("routing", "a routing", ({ snapshot }) => knownRouting(snapshot), compared, context),
    ];
    const differences = diffSnapshots(before.snapshot, after.snapshot, { ignore: [...ignore, ...left] });
    return {
      status: differences.length === 0 ? 0 : 1,
      json: { same: differences.length === 0, a: nameOf(before), b: nameOf(after), differences },
      text: async (view) => {
        const { renderDifferences } = await import("../../text/diff.ts");
        return differences.length === 0
          ? "nothing differs\n"
          : renderDifferences(differences, view, before.arch);
      },
    };
  },
};

/** The options that choose a target for other commands have no say here. */
function refuseTargets(globals: GlobalOptions): void {
  if (!isNamed(globals)) return;
  throw new KvmIrqError("usage", "diff takes its two targets as arguments, not as options", {
    hint: "as in `kvm-irq diff before.json default` or `kvm-irq diff before.json pid:4242`",
  });
}

async function read(choice: Parameters<typeof openSource>[0]): Promise<Decoded> {
  const source = await openSource(choice);
  try {
    return await readSource(source);
  } finally {
    await source.close();
  }
}

/** What is not in every snapshot is part of the comparison where both have it. @returns what to ignore. */
function ofOne(
  part: string,
  title: string,
  of: (decoded: Decoded) => unknown,
  { a, b, ignore }: { a: Decoded; b: Decoded; ignore: readonly string[] },
  context: Context,
): string[] {
  const having = [a, b].filter((one) => of(one) !== undefined);
  if (having.length !== 1 || ignore.includes(part)) return [];
  context.notice(`only ${having[0]!.identity.label} has ${title}: it is left out`);
  return [part];
}

/** @throws KvmIrqError `bad-input` when they don't have the same chips. */
function checkComparable(a: Decoded, b: Decoded, ignore: readonly string[]): void {
  archOfBoth(a.snapshot, b.snapshot, [a.identity.label, b.identity.label]);
  const { onlyA, onlyB } = unmatchedChips(a.snapshot, b.snapshot, { ignore });
  const unmatched = [...onlyA, ...onlyB];
  if (unmatched.length === 0) return;
  const onlyIn = (label: string, chips: string[]) =>
    chips.length === 0 ? [] : [`only ${label} has ${chips.join(", ")}`];
  throw new KvmIrqError(
    "bad-input",
    `they don't have the same chips: ${[...onlyIn(a.identity.label, onlyA), ...onlyIn(b.identity.label, onlyB)].join("; ")}`,
    {
      hint: `${unmatched.map((chip) => `--ignore '${chip}'`).join(" ")} compares the rest`,
      details: { only_a: onlyA, only_b: onlyB },
    },
  );
}

function nameOf({ identity, snapshot }: Decoded): object {
  return { label: identity.label, source: snapshot.source, captured_at: snapshot.captured_at };
}

import { advice, looking } from "../../abi/advice.ts";
import { KvmIrqError } from "../../abi/error.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import type { CommandSpec, Context, GlobalOptions, Outcome } from "../../cli/command.ts";
import { chooseFormat } from "../../cli/outcome.ts";
import { choice, duration, gsis, integer, namedFile, outputOption, wholeNumber } from "../../cli/parsers.ts";
import { endWithoutReader, stdoutTaken } from "../../cli/standard-output.ts";
import { TRACE_FORMATS, type TraceFormat, type TraceOptions } from "./trace-options.ts";

/** `trace`: record the kernel's interrupt events, draw them. */
export const trace: CommandSpec = {
  severalPids: true,
  targets: ["session", "process"],
  refuses: ["vmFd", "via", "snapshot"],
  summary: "record the kernel's interrupt events and draw them",
  description:
    "Records the events that KVM reports of interrupts, until Ctrl-C, for a time, or around a command; shows them as they come, and at the end the life of each interrupt (raised, accepted, injected, EOI, acknowledged, lowered), latencies, and interrupts that never came to their end. The target is a session (the default one unless another is named), the processes of --pid, which can be repeated, or with --all every VM on this host. Needs root.",
  notes: `Ends with the command's status, 130 on Ctrl-C (the summary comes all the same), else 0. With a machine\nformat on stdout the command's own output goes to stderr.`,
  examples: [
    ["kvm-irq trace -- kvm-irq pulse 4", "what a pulse of the default session comes to"],
    ["kvm-irq trace --all --for 2s --stats-only", "latencies of every VM on this host"],
    ["kvm-irq trace --pid 4242 --gsi 4 --json -o t.ndjson", "keep it"],
    ["kvm-irq trace --from t.ndjson --format vcd -o t.vcd", "for GTKWave or Surfer"],
    ["kvm-irq trace --from t.ndjson --format perfetto -o t.json", "for ui.perfetto.dev"],
    ["kvm-irq trace --from t.ndjson --format svg -o t.svg", "a timing diagram"],
  ],
  declare: (command) =>
    command
      .argument("[command...]", "run this, behind --, and record until it ends; its exit status is passed on")
      .option("--for <duration>", "stop after this time", duration)
      .option("--all", "the target: every VM on this host")
      .option("--gsi <gsi>", "only these lines, as 4 or 10-12, and their vectors; repeatable", gsis)
      .option("--vector <vector>", "only these vectors, as 0x34, and their lines; repeatable", vectors)
      .addOption(
        choice("--format <format>", "how to show it; --json is ndjson (default: table)", TRACE_FORMATS),
      )
      .addOption(outputOption("write to a file (atomically)"))
      .option("--from <file>", "show a trace that was saved as ndjson; - is stdin")
      .option("--stats-only", "latencies and what is unfinished, without events; with --json as one object")
      .option("--buffer-kb <n>", "the kernel's buffer for each CPU, in KiB", wholeNumber(4, 1 << 20)),

  check(globals, command: string[], options: TraceOptions) {
    formatOf(options, globals);
    refuseMixtures(command, options, globals);
  },

  async run(context: Context, command: string[], options: TraceOptions): Promise<Outcome> {
    const format = formatOf(options, context.globals);
    const { sinkFor } = await import("./trace-sinks.ts");
    const events = await HOST_ARCH.events();
    const { from, statsOnly = false } = options;
    const output = namedFile(options.output);
    const saved =
      from === undefined
        ? undefined
        : (await import("./trace-replay.ts")).openSaved(from, events, context.signal);
    const draft = output === undefined ? undefined : new (await import("../../cli/draft.ts")).Draft(output);
    const view =
      draft === undefined ? await context.view() : (await import("../../text/view.ts")).plainView();
    const out = new Batches((piece) => (draft ?? context).write(piece));
    const sink = await sinkFor(format, statsOnly, view, events, (piece) => out.write(piece));
    const onBatch = async () => {
      out.flush();
      if (draft === undefined) await stdoutTaken();
    };
    try {
      const status = await (saved === undefined ? live() : readBack(saved));
      await onBatch();
      if (from === undefined || status === 0) draft?.commit();
      return { status };
    } finally {
      draft?.discard();
    }

    async function live(): Promise<number> {
      const { recordInto } = await import("./trace-record.ts");
      if (output === undefined) await endWithoutReader();
      const mixes = output === undefined && format !== "table";
      return recordInto(sink, events, options, { command, commandStdout: mixes ? 2 : 1, onBatch }, context);
    }

    async function readBack(read: NonNullable<typeof saved>): Promise<number> {
      return read(sink, { gsis: options.gsi ?? [], vectors: options.vector ?? [] }, onBatch);
    }
  },
};

/** A write for each line would take longer than the line. */
const BATCH = 64 * 1024;

/** Joins pieces of output into larger ones. */
class Batches {
  readonly #write: (piece: string) => void;
  #pieces = "";

  constructor(write: (piece: string) => void) {
    this.#write = write;
  }

  write(piece: string): void {
    this.#pieces += piece;
    if (this.#pieces.length > BATCH) this.flush();
  }

  flush(): void {
    if (this.#pieces !== "") this.#write(this.#pieces);
    this.#pieces = "";
  }
}

function formatOf({ format, statsOnly }: TraceOptions, { json }: GlobalOptions): TraceFormat {
  const chosen = chooseFormat({ json, format }, { machine: "ndjson", people: "table" });
  if (statsOnly && chosen !== "table" && chosen !== "ndjson") {
    throw new KvmIrqError("usage", `--stats-only has no picture to give as ${chosen}`, {
      hint: "it is a table, or JSON with --json",
    });
  }
  return chosen;
}

/** @throws KvmIrqError `usage` for options that contradict each other. */
function refuseMixtures(command: readonly string[], options: TraceOptions, globals: GlobalOptions): void {
  const { session, pid, vmFd, via, snapshot } = globals;
  if (snapshot !== undefined) {
    throw new KvmIrqError("usage", "a snapshot is a moment and has no events", {
      hint: advice`--from shows a saved trace, of ${looking("trace", "--json", "-o", "FILE")}`,
    });
  }
  if (vmFd !== undefined) {
    throw new KvmIrqError("usage", "the kernel's events do not tell VMs of one process apart", {
      hint: "leave out --vm-fd; --gsi and --vector may help",
    });
  }
  if (via !== undefined) {
    throw new KvmIrqError("usage", "events come from the kernel's tracepoints, whatever --via says", {
      hint: "leave out --via",
    });
  }
  const given = {
    "--session": session !== undefined,
    "--pid": pid !== undefined,
    "--all": options.all === true,
    "--for": options.for !== undefined,
    "--buffer-kb": options.bufferKb !== undefined,
    "a command": command.length > 0,
  };
  const together = (...names: (keyof typeof given)[]) => names.filter((name) => given[name]);
  const [one, another] = together("--session", "--pid", "--all");
  if (another !== undefined)
    throw new KvmIrqError("usage", `${one} and ${another} name two targets; give one`);
  const [end, otherEnd] = together("--for", "a command");
  if (otherEnd !== undefined) {
    throw new KvmIrqError("usage", `${end} and ${otherEnd} both say when to end; give one`, {
      hint: "`timeout 2 COMMAND` ends a command after a time",
    });
  }
  const [live] = together(...(Object.keys(given) as (keyof typeof given)[]));
  if (options.from !== undefined && live !== undefined) {
    throw new KvmIrqError("usage", `--from shows what was recorded; ${live} is for recording`);
  }
}

/** Vectors, collected; 0x34 or 52, also several with commas. */
function vectors(text: string, previous: number[] | undefined): number[] {
  return [...(previous ?? []), ...text.split(",").map(integer(0, 255))];
}

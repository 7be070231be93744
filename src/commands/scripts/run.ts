import { advice, changing } from "../../abi/advice.ts";
import { KvmIrqError } from "../../abi/error.ts";
import { printable } from "../../abi/printable.ts";
import { HOST_ARCH } from "../../arch/arches.ts";
import type { CommandSpec, Context, GlobalOptions, Outcome } from "../../cli/command.ts";
import { show, toFile } from "../../cli/outcome.ts";
import { choice, namedFile, outputOption, wholeNumber } from "../../cli/parsers.ts";
import {
  backendOption,
  chooseStart,
  fromOption,
  type ScratchOptions,
  type StartOptions,
  scratchSource,
} from "../../cli/start-state.ts";
import { REPORTS, type ReportFormat } from "../../exports/index.ts";
import { knownOf } from "../../operations/take-snapshot.ts";
import { scratchIdentity } from "../../sources/local/source.ts";
import { isNamed } from "../../sources/open.ts";
import { count } from "../../text/format.ts";
import type { SourceInfo } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";
import { jsonReporter, type Reporter, testReporter, textReporter } from "./run-report.ts";
import { checkScript, INTERRUPTED, runStep, scriptSteps, unrunStep } from "./run-script.ts";
import { openScript, type Script } from "./script.ts";

interface Options extends Partial<StartOptions> {
  keepGoing?: true;
  dryRun?: true;
  quiet?: true;
  format: "text" | ReportFormat;
  output?: string;
}

/** `run <script|->`: the same commands, one a line, in one process and one VM. */
export const run: CommandSpec = {
  asks: true,
  completes: ["files"],
  summary: "run a script of commands in one process, on one VM",
  description:
    "Runs a script of kvm-irq's commands, one a line, without the `kvm-irq`; # begins a comment, quotes work as in a shell, and a backslash at the end of a line joins it with the next. The whole script is checked before its first line runs, on a VM made for it, or on the target that -s names. It stops at the first line that fails, with that line's status.",
  notes: `--json on a line of the script shows that line's result as JSON, whatever the command; with --json of the
run itself, each line gives an object with its number, command, status and result. The options that choose
a target, --yes and --debug belong to the run and are not allowed on a line.`,
  examples: [
    ["kvm-irq run level.kvmirq --preset ioapic", "on a VM made for it"],
    ["kvm-irq -s ci run level.kvmirq --keep-going", "on a living session, to the end"],
    ["kvm-irq run what-if.kvmirq --backend model --from snap.json", "on a saved VM, in software"],
    ["printf 'pulse 4\\nexpect pic1.irr&0x10\\n' | kvm-irq run -", "from a pipe"],
    ["kvm-irq run level.kvmirq --format junit -o report.xml", "for a CI system"],
  ],
  declare: (command) =>
    command
      .argument("<script>", "a file, or - for standard input")
      .addOption(backendOption("the VM made for the script: kvm (the default), model, or kvm where it works"))
      .addOption(
        choice("--preset <state>", "its state (default: reset)", Object.keys(HOST_ARCH.presets.words)),
      )
      .option("--vcpus <n>", "its vCPUs (default: 1)", wholeNumber(0, HOST_ARCH.maxVcpus))
      .addOption(fromOption())
      .option("--keep-going", "go on after a failure; the first one's status is that of the whole")
      .option("--dry-run", "check the whole script and run nothing")
      .option("-q, --quiet", "show only what failed")
      .addOption(
        choice("--format <format>", "tap and junit report a test for each `expect`", [
          "text",
          ...Object.keys(REPORTS),
        ]).default("text"),
      )
      .addOption(outputOption("write the tap or junit report to a file")),

  check(globals, path: string, options: Options) {
    if (namedFile(options.output) !== undefined && options.format === "text") {
      throw new KvmIrqError("usage", "--output goes with --format tap or junit");
    }
    if (globals.json && options.format !== "text") {
      throw new KvmIrqError("usage", `--json and --format ${options.format} are two formats; give one`);
    }
    refuseFrom(path, options, globals);
    if (isNamed(globals)) refuseMaking(options);
  },

  async run(context: Context, path: string, options: Options): Promise<Outcome> {
    const script = openScript(path);
    const { backend = "kvm", preset = "reset", vcpus = 1, from } = options;
    const wanted = { backend, preset, vcpus, ...(from === undefined ? {} : { from }) };
    const made = isNamed(context.globals) ? undefined : await chooseStart(context, wanted);
    const info =
      made === undefined ? await knownOf(await context.source()) : infoAtStart({ ...made, backend });
    const { commands, writes } = await checkScript(script, context.program, info);
    if (options.dryRun) {
      return {
        json: { script: script.label, commands },
        text: () => `${printable(script.label)}: ${count(commands, "command")}, no mistakes\n`,
      };
    }
    const reporter = chooseReporter(script, context, options);
    const source = await (made === undefined
      ? context.source({ writes })
      : scratchSource({ ...made, backend }, context)
    ).catch(async (error) => {
      await show(await reportUnrun(error, script, context, { reporter, ...options }), context);
      throw error;
    });
    try {
      return await runOn(source, script, context, { reporter, ...options });
    } finally {
      await source.close();
    }
  },
};

/** @throws KvmIrqError `usage` where `--from` says what something else says already. */
function refuseFrom(path: string, { from }: Options, globals: GlobalOptions): void {
  if (from === undefined) return;
  if (isNamed(globals)) {
    throw new KvmIrqError("usage", "--from is for the VM made for the script, and a target is named", {
      hint: advice`${changing("restore", "FILE")} puts a snapshot into a living session`,
    });
  }
  if (from === "-" && path === "-") {
    throw new KvmIrqError("usage", "script and snapshot can't both come from standard input");
  }
}

/** @throws KvmIrqError `usage` for options of a VM to be made, where one is named. */
function refuseMaking({ backend, preset, vcpus }: Options): void {
  // What the environment says is for VMs that are made, and no mistake elsewhere.
  const backendHere = backend === process.env["KVM_IRQ_BACKEND"] ? undefined : backend;
  const options = { "--preset": preset, "--vcpus": vcpus, "--backend": backendHere };
  const [option] = Object.entries(options).flatMap(([name, value]) => (value === undefined ? [] : [name]));
  if (option === undefined) return;
  throw new KvmIrqError("usage", `${option} is for the VM made for the script, and a target is named`, {
    hint: "leave out one of them",
  });
}

/** What a VM made for a script will have. */
function infoAtStart({ backend, vcpus, start }: ScratchOptions): SourceInfo {
  const routing = (typeof start === "string" ? undefined : start.routing) ?? "default";
  const identity = scratchIdentity({
    backend: backend === "model" ? "model" : "kvm",
    vcpus,
    irqchip: "full",
  });
  return { ...identity, routing };
}

type Reporting = Pick<Options, "keepGoing" | "output"> & { reporter: Reporter };

async function runOn(
  source: Source,
  script: Script,
  context: Context,
  reporting: Reporting,
): Promise<Outcome> {
  const { reporter, keepGoing } = reporting;
  // What was made for the script has no name: there advice is lines of a script.
  const address = isNamed(context.globals) ? context.address : {};
  let status = 0;
  /** Why the lines behind are not run. */
  let stopped: string | undefined;
  for await (const step of scriptSteps(script, context.program)) {
    if (stopped !== undefined) {
      if (reporter.skip === undefined) break;
      reporter.skip(step, stopped);
      continue;
    }
    const result = context.signal.aborted
      ? unrunStep(step, context, new KvmIrqError("interrupted", "interrupted before it ran"))
      : await runStep(step, context, source, address);
    await reporter.step(result);
    if (result.status === INTERRUPTED) {
      status = INTERRUPTED;
      stopped = "interrupted";
    } else {
      status ||= result.status;
      if (status !== 0 && keepGoing !== true) stopped = "an earlier line failed";
    }
  }
  return { ...(await report(status === INTERRUPTED ? "interrupted" : undefined, reporting)), status };
}

/** The report, if there is to be one, on a script whose VM is not there. */
async function reportUnrun(
  error: unknown,
  script: Script,
  context: Context,
  reporting: Reporting,
): Promise<Outcome> {
  const { skip, step: tell } = reporting.reporter;
  if (skip === undefined) return {};
  let first = true;
  for await (const step of scriptSteps(script, context.program)) {
    if (first) await tell(unrunStep(step, context, error));
    else skip(step, "there is no VM");
    first = false;
  }
  return report("there is no VM", reporting);
}

async function report(bailOut: string | undefined, { reporter, output }: Reporting): Promise<Outcome> {
  const text = await reporter.end(bailOut);
  const outcome: Outcome = text === "" ? {} : { text: () => text };
  return toFile(output, outcome);
}

function chooseReporter(script: Script, context: Context, { format, quiet }: Options): Reporter {
  if (format !== "text") return testReporter(format, script.label);
  return context.globals.json ? jsonReporter(context) : textReporter(context, quiet === true);
}

import { type Command, Option } from "commander";
import { HOST_ARCH } from "../abi/arch.ts";
import { KvmIrqError } from "../abi/error.ts";
import { PRESETS } from "../machine/presets.ts";
import type { Routed } from "../machine/routed.ts";
import { count } from "../render/format.ts";
import type { Target } from "../target/target.ts";
import { type CommandSpec, type Context, examples, type Outcome } from "./command.ts";
import { wholeNumber } from "./parsers.ts";
import { jsonReporter, type Reporter, testReporter, textReporter } from "./run-report.ts";
import { checkScript, runScript } from "./run-script.ts";
import { type ScratchOptions, scratchTarget } from "./scratch.ts";
import { openScript, type Script } from "./script.ts";
import { toFile } from "./to-file.ts";

interface Options extends ScratchOptions {
  keepGoing?: true;
  dryRun?: true;
  quiet?: true;
  format: "text" | "tap" | "junit";
  output?: string;
}

/** `run <script|->`: the same commands, one a line, in one process and one VM. */
export const run: CommandSpec = {
  declare: (program: Command) =>
    program
      .command("run")
      .summary("the same commands, one a line, in one process and one VM")
      .description(
        "Runs a script of kvm-irq's commands, one a line, without the `kvm-irq`; # begins a comment, quotes work as in a shell. The whole script is checked before its first line runs, on a VM made for it, or on the target that -s names. It stops at the first line that fails, with that line's status.",
      )
      .argument("<script>", "a file, or - for standard input")
      .addOption(
        new Option("--backend <backend>", "the VM made for the script: kvm, model, or kvm where it works")
          .choices(["kvm", "model", "auto"])
          .default("kvm")
          .env("KVM_IRQ_BACKEND"),
      )
      .addOption(new Option("--preset <state>", "its state").choices(Object.keys(PRESETS)).default("reset"))
      .option("--vcpus <n>", "its vCPUs", wholeNumber(0, HOST_ARCH.maxVcpus), 1)
      .option("--keep-going", "go on after a failure; the first one's status is that of the whole")
      .option("--dry-run", "check the whole script and run nothing")
      .option("-q, --quiet", "show only what failed")
      .addOption(
        new Option("--format <format>", "tap and junit report a test for each `expect`")
          .choices(["text", "tap", "junit"])
          .default("text"),
      )
      .option("-o, --output <file>", "write the tap or junit report to a file")
      .addHelpText(
        "after",
        examples(
          ["kvm-irq run level.kvmirq --preset ioapic", "on a VM made for it"],
          ["kvm-irq -s ci run level.kvmirq --keep-going", "on a living session, to the end"],
          ["printf 'pulse 4\\nexpect pic1.irr&0x10\\n' | kvm-irq run -", "from a pipe"],
          ["kvm-irq run level.kvmirq --format junit -o report.xml", "for a CI system"],
        ),
      ),

  async run(context: Context, path: string, options: Options): Promise<Outcome> {
    if (options.output !== undefined && options.format === "text") {
      throw new KvmIrqError("usage", "--output goes with --format tap or junit");
    }
    const script = openScript(path);
    const { commands, writes } = await checkScript(
      script,
      context.program,
      await routingOf(context, options),
    );
    if (options.dryRun) {
      return {
        json: { script: script.label, commands },
        text: () => `${script.label}: ${count(commands, "command")}, no mistakes\n`,
      };
    }
    const target = await chooseTarget(context, options, writes);
    try {
      return await runOn(target, script, context, options);
    } finally {
      await target.close();
    }
  },
};

/** What is known beforehand of the routing of the VM that a script is for. */
async function routingOf(context: Context, { dryRun }: Options): Promise<Routed | undefined> {
  if (!namesTarget(context)) return { irqchip: "full", routing: "default" };
  if (dryRun) return undefined;
  const { irqchip = "full", routing } = await (await context.target()).describe();
  return routing && { irqchip, routing };
}

function namesTarget({ globals: { session, pid, snapshot } }: Context): boolean {
  return session !== undefined || pid !== undefined || snapshot !== undefined;
}

/** A VM of the script's own, unless the command line names a target. */
async function chooseTarget(context: Context, options: Options, writes: boolean): Promise<Target> {
  if (namesTarget(context)) return context.target({ writes });
  return scratchTarget(options, ({ message }) => context.notice(`${message}: using the software model`));
}

async function runOn(target: Target, script: Script, context: Context, options: Options): Promise<Outcome> {
  const reporter = chooseReporter(script, context, options);
  let status = 0;
  for await (const result of runScript(script, context, target)) {
    await reporter.step(result);
    status ||= result.status;
    if (status !== 0 && options.keepGoing !== true) break;
  }
  if (context.signal.aborted) status = 130;
  const report = await reporter.end();
  const outcome: Outcome = { status, ...(report === "" ? {} : { bytes: Buffer.from(report) }) };
  return options.output === undefined ? outcome : toFile(options.output, outcome);
}

function chooseReporter(script: Script, context: Context, { format, quiet }: Options): Reporter {
  if (format !== "text") return testReporter(format, script.label);
  return context.globals.json ? jsonReporter(context) : textReporter(context, quiet === true);
}

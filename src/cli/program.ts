import { Command, CommanderError, type Option } from "commander";
import { KvmIrqError } from "../abi/error.ts";
import { readOnly } from "../sources/file/read-only.ts";
import { addressOf } from "../sources/open.ts";
import { checkSessionName } from "../sources/session/runtime-dir.ts";
import type { CommandSpec, GlobalOptions, Help, Parsed, Program } from "./command.ts";
import { wholeNumber } from "./parsers.ts";

/**
 * Every command by the group that `--help` shows it in, in that order. A call needs one of them, and loading all
 * would take longer than most of them run.
 */
const GROUPS: Readonly<Record<string, Readonly<Record<string, () => Promise<CommandSpec>>>>> = {
  "Sessions:": {
    create: async () => (await import("../commands/sessions/create.ts")).create,
    list: async () => (await import("../commands/sessions/list.ts")).list,
    destroy: async () => (await import("../commands/sessions/destroy.ts")).destroy,
  },
  "Drive a VM:": {
    pulse: async () => (await import("../commands/drive/pulse.ts")).pulse,
    hold: async () => (await import("../commands/drive/hold.ts")).hold,
    release: async () => (await import("../commands/drive/release.ts")).release,
    msi: async () => (await import("../commands/drive/msi.ts")).msi,
    route: async () => (await import("../commands/drive/route.ts")).route,
    irqfd: async () => (await import("../commands/drive/irqfd.ts")).irqfd,
    restore: async () => (await import("../commands/drive/restore.ts")).restore,
    set: async () => (await import("../commands/drive/set.ts")).set,
  },
  "See its state:": {
    dump: async () => (await import("../commands/see/dump.ts")).dump,
    diff: async () => (await import("../commands/see/diff.ts")).diff,
  },
  "Explain it:": {
    explain: async () => (await import("../commands/explain/explain.ts")).explain,
    expect: async () => (await import("../commands/explain/expect.ts")).expect,
  },
  "Over time:": {
    watch: async () => (await import("../commands/time/watch.ts")).watch,
    trace: async () => (await import("../commands/trace.ts")).trace,
  },
  "Scripts:": {
    run: async () => (await import("../commands/scripts/run.ts")).run,
  },
  "This host, this program:": {
    doctor: async () => (await import("../commands/host/doctor.ts")).doctor,
    demo: async () => (await import("../commands/host/demo.ts")).demo,
    completion: async () => (await import("../commands/host/completion.ts")).completion,
  },
};
/** The group of `help`, which commander makes. */
const LAST_GROUP = Object.keys(GROUPS).at(-1)!;

const COMMANDS: Readonly<Record<string, { group: string; load: () => Promise<CommandSpec> }>> =
  Object.fromEntries(
    Object.entries(GROUPS).flatMap(([group, commands]) =>
      Object.entries(commands).map(([name, load]) => [name, { group, load }]),
    ),
  );

/**
 * The program as commander knows it.
 *
 * @param names the commands to declare.
 * @param onParsed gets what a command line asks for.
 */
async function buildProgram(
  version: string,
  names: readonly string[],
  onParsed: (parsed: Parsed) => void,
): Promise<Command> {
  const program = new Command("kvm-irq")
    .description("Inspect, drive and debug KVM's in-kernel interrupt controllers: PICs, IOAPIC, local APICs.")
    .usage("[options] <command> [arguments]")
    .version(version, "-V, --version", "show the version")
    .helpOption("-h, --help", "show help (also: `kvm-irq <command> --help`)")
    .option(
      "-s, --session <name>",
      "the target: a session (default: $KVM_IRQ_SESSION, else `default`)",
      checkSessionName,
    )
    .option(
      "--pid <pid>",
      "the target: a VM inside this process (QEMU, Firecracker, ...)",
      wholeNumber(1, 2 ** 22),
    )
    .option("--vm-fd <n>", "which VM, for a process with several", wholeNumber(0, 2 ** 20))
    .option("--yes", "change a VM of --pid without asking")
    .option("--snapshot <file>", "the target: a saved snapshot or raw bytes, read only")
    .option("--json", "JSON output on stdout, errors as JSON on stderr")
    .option("--debug", "print stack traces")
    .addHelpCommand(
      new Command("help").argument("[command]").description("show help for a command").helpGroup(LAST_GROUP),
    )
    .addHelpText("after", EPILOGUE);
  const specs = await Promise.all(names.map((name) => COMMANDS[name]!.load()));
  const given = valuesOfSingleOptions(program);
  for (const [index, spec] of specs.entries()) {
    const command = declare(program, given, spec, onParsed).helpGroup(COMMANDS[names[index]!]!.group);
    command.configureHelp({
      ...HELP,
      visibleGlobalOptions: () => program.options.filter((option) => !option.hidden && takes(spec, option)),
    });
  }
  return program.configureHelp(HELP);
}

const HELP = { showGlobalOptions: true, helpWidth: 100 };

/** Whether a command has a use for an option of the program's: its help lists no other. */
function takes({ targets, writes, asks, refuses }: CommandSpec, { long }: Option): boolean {
  if (refuses?.some((option) => option === long)) return false;
  switch (long) {
    case "--version":
      return false;
    case "--session":
      return targets !== "none";
    case "--yes":
      return targets === undefined && (asks ?? writes !== undefined);
    case "--snapshot":
      return targets === undefined && writes !== true;
    case "--pid":
    case "--vm-fd":
      return targets === undefined;
    default:
      return true;
  }
}

const EPILOGUE = `
Exit status: 0 done, 1 a negative answer, 2 usage, or output that can't be written, 3 KVM can't be
used here, 4 no such target, 5 the kernel refused, 6 bad input, 130 interrupted.

Examples:
  $ kvm-irq create && kvm-irq pulse 4 && kvm-irq dump --chip ioapic
  $ kvm-irq create ci --preset ioapic && kvm-irq -s ci pulse 20 --json
  $ kvm-irq demo`;

function declare(
  program: Command,
  ofProgram: readonly SingleOption[],
  spec: CommandSpec,
  onParsed: (parsed: Parsed) => void,
): Command {
  const command = spec.declare(program);
  const given = [...ofProgram, ...valuesOfSingleOptions(command)];
  command.showHelpAfterError(false).action((...parsed) => {
    // Commander hands over the arguments, then the options, then the command itself.
    const values = parsed.slice(0, -1) as never[];
    refuseRepeats(command.name(), given, spec);
    const pids = given.find(({ option }) => option.long === "--pid")?.values.map(Number);
    const globals = { ...program.opts<GlobalOptions>(), ...(pids?.length ? { pids } : {}) };
    refuseTargets(command.name(), spec, globals);
    try {
      spec.check?.(globals, ...values);
    } catch (error) {
      throw withHint(withAddress(error, globals), command.name());
    }
    onParsed({
      name: command.name(),
      scriptable: spec.scriptable === true,
      writes: typeof spec.writes === "function" ? spec.writes(...values) : spec.writes === true,
      globals,
      fits(info) {
        if (this.writes && info.readOnly) throw readOnly(info.label);
        spec.fits?.(info, ...values);
        const routing = spec.routing?.(info, ...values);
        return routing === undefined || routing === info.routing ? info : { ...info, routing };
      },
      run: (context) => spec.run(context, ...values),
    });
  });
  return command;
}

/** An option that takes one value, and the values that a command line gives it. */
interface SingleOption {
  option: Option;
  values: string[];
}

/** A parser that takes what came before collects values; every other option has one. */
function valuesOfSingleOptions(command: Command): SingleOption[] {
  const collects = ({ variadic, argChoices, parseArg }: Option) =>
    variadic || (argChoices === undefined && (parseArg?.length ?? 0) > 1);
  const takeOne = command.options.filter(
    (option) => (option.required || option.optional) && !collects(option),
  );
  return takeOne.map((option) => {
    const values: string[] = [];
    command.on(`option:${option.name()}`, (value: string) => values.push(value));
    return { option, values };
  });
}

/**
 * Of two values commander would take the last in silence, and so the command another target than was meant.
 *
 * @throws KvmIrqError `usage`.
 */
function refuseRepeats(name: string, given: readonly SingleOption[], { severalPids }: CommandSpec): void {
  const twice = given.find(
    ({ option, values }) => values.length > 1 && !(severalPids && option.long === "--pid"),
  );
  if (twice === undefined) return;
  const { long, short } = twice.option;
  throw new KvmIrqError("usage", `${long ?? short} is given ${twice.values.length} times`, {
    hint: `give it once; \`kvm-irq ${name} --help\` shows which options can be repeated`,
  });
}

/** An error whose hint names the target that the options do. */
export function withAddress(error: unknown, globals?: GlobalOptions): unknown {
  return error instanceof KvmIrqError && globals !== undefined ? error.at(addressOf(globals)) : error;
}

/** A usage error that has no hint of its own points to the help. */
export function withHint(error: unknown, command?: string): unknown {
  if (!(error instanceof KvmIrqError) || error.code !== "usage" || error.hint !== undefined) return error;
  const hint = `\`kvm-irq ${command === undefined ? "" : `${command} `}--help\` shows how to call it`;
  return new KvmIrqError("usage", error.message, { hint, details: error.details, cause: error });
}

/**
 * A target that is named is never passed over: `destroy --pid` must not end the default session.
 *
 * @throws KvmIrqError `usage` for an option that the command has no use for.
 */
function refuseTargets(name: string, { targets }: CommandSpec, globals: GlobalOptions): void {
  if (targets === undefined) return;
  const { session, pid, vmFd, snapshot } = globals;
  const given = {
    "--session": targets === "none" ? session : undefined,
    "--pid": pid,
    "--vm-fd": vmFd,
    "--snapshot": snapshot,
  };
  const [option] = Object.entries(given).find(([, value]) => value !== undefined) ?? [];
  if (option === undefined) return;
  throw new KvmIrqError("usage", `\`${name}\` takes no ${option}`, {
    hint: `\`kvm-irq ${name} --help\` shows how to call it`,
  });
}

/** The program with all its commands. */
export function makeProgram(version: string): Program {
  return {
    parse: (argv) => parseCommandLine(version, argv),
    async syntax() {
      const program = await buildProgram(version, Object.keys(COMMANDS), () => {});
      return [program, ...program.commands];
    },
  };
}

async function parseCommandLine(version: string, argv: readonly string[]): Promise<Parsed | Help> {
  let result: Parsed | undefined;
  let said = "";
  const program = await buildProgram(version, neededCommands(argv), (parsed) => {
    result = parsed;
  });
  for (const command of [program, ...program.commands]) {
    command.exitOverride().configureOutput({
      writeOut: (text) => {
        said += text;
      },
      writeErr: () => {},
    });
  }
  try {
    program.parse(argv, { from: "user" });
  } catch (error) {
    if (!(error instanceof CommanderError)) throw error;
    if (error.exitCode === 0) return { help: said, asked: true };
    // Commander knows it as the word before a command alone.
    if (argv.length === 0 || argv.at(-1) === "help") {
      program.outputHelp();
      return { help: said, asked: argv.length > 0 };
    }
    if (error.code === "commander.help") throw noCommand(argv.includes("help") ? argv.at(-1) : undefined);
    throw usageError(error, argv, program);
  }
  if (result === undefined) throw noCommand();
  return result;
}

/** @param word what stands in the place of a command's name. */
function noCommand(word?: string): KvmIrqError {
  return new KvmIrqError("usage", word === undefined ? "no command given" : `unknown command '${word}'`, {
    hint: "`kvm-irq --help` lists them, `kvm-irq demo` shows the main ones at work",
  });
}

/** The commands that a command line could be calling: the one that it names, else all of them. */
function neededCommands(argv: readonly string[]): string[] {
  const first = argv.findIndex((word) => Object.hasOwn(COMMANDS, word));
  const before = argv.slice(0, Math.max(first, 0));
  const wantsAll =
    first === -1 || before.some((word) => word === "help" || word === "-h" || word === "--help");
  return wantsAll
    ? Object.keys(COMMANDS)
    : [...new Set(argv.filter((word) => Object.hasOwn(COMMANDS, word)))];
}

/** Commander puts two sentences where an error here has one. */
const INVALID = /( is invalid(?: for argument '[^']*')?)\. (\w)/;
const oneSentence = (_: string, what: string, letter: string) => `${what}: ${letter.toLowerCase()}`;

function usageError(error: CommanderError, argv: readonly string[], program: Command): KvmIrqError {
  const [first, ...rest] = error.message
    .replace(/^error: /, "")
    .replace(INVALID, oneSentence)
    .split("\n");
  const suggestion = rest.join(" ").replace(/^\(|\)$/g, "");
  const command = program.commands.find((candidate) => argv.includes(candidate.name()));
  const help = `\`kvm-irq ${command === undefined ? "" : `${command.name()} `}--help\` shows how to call it`;
  return new KvmIrqError("usage", first!.replace(/\.$/, ""), {
    hint: suggestion === "" ? help : `${suggestion} ${help}`,
  });
}

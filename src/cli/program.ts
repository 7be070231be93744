import { Command, CommanderError, Option } from "commander";
import { KvmIrqError } from "../abi/error.ts";
import { addressOf, allWays, checkChoice, wayOf } from "../sources/open.ts";
import type { WayOption } from "../sources/way.ts";
import { readOnly } from "../vm/operations.ts";
import type { CommandSpec, GlobalOptions, Groups, Help, Parsed, Program } from "./command.ts";
import { wholeNumber } from "./parsers.ts";

/** Every command by its name, and the group that `--help` shows it in. */
type Commands = Readonly<Record<string, { group: string; load: () => Promise<CommandSpec> }>>;

/** The program as commander knows it, with the commands given. @param onParsed gets what a command line asks for. */
async function buildProgram(
  version: string,
  commands: Commands,
  onParsed: (parsed: Parsed) => void,
): Promise<{ program: Command; specs: CommandSpec[] }> {
  const program = new Command("kvm-irq")
    .description("Inspect, drive and debug KVM's in-kernel interrupt controllers: PICs, IOAPIC, local APICs.")
    .usage("[options] <command> [arguments]")
    .version(version, "-V, --version", "show the version")
    .helpOption("-h, --help", "show help (also: `kvm-irq <command> --help`)")
    .addHelpCommand(
      new Command("help").argument("[command]").description("show help for a command").helpGroup(HELP_GROUP),
    )
    .addHelpText("after", EPILOGUE);
  for (const [, { options }] of allWays()) {
    for (const option of Object.values(options)) program.addOption(declareOption(option));
  }
  program
    .option("--yes", "change a VM of --pid without asking")
    .option("--json", "JSON output on stdout, errors as JSON on stderr")
    .option("--debug", "print stack traces");
  const given = valuesOfSingleOptions(program);
  const specs = await Promise.all(Object.values(commands).map(({ load }) => load()));
  for (const [index, [name, { group }]] of Object.entries(commands).entries()) {
    const spec = specs[index]!;
    declare(program.command(name), program, given, spec, onParsed)
      .helpGroup(group)
      .configureHelp({
        ...HELP,
        visibleGlobalOptions: () => program.options.filter((option) => !option.hidden && takes(spec, option)),
      });
  }
  return { program: program.configureHelp(HELP), specs };
}

function declareOption({ flags, description, choices, range, parse }: WayOption): Option {
  const option = new Option(flags, description);
  if (choices !== undefined) option.choices(choices);
  const parser = range === undefined ? parse : wholeNumber(...range);
  return parser === undefined ? option : option.argParser(parser);
}

const HELP = { showGlobalOptions: true, helpWidth: 100 };
/** The group of `help`, which commander makes. */
const HELP_GROUP = "This host, this program:";

/** Whether a command has a use for an option of the program's: its help lists no other. */
function takes(spec: CommandSpec, option: Option): boolean {
  const { writes, asks } = spec;
  if (option.long === "--version" || refuses(spec, option)) return false;
  const ofWays = allWays().filter(([name]) => takesWay(spec, name));
  if (option.long === "--yes")
    return ofWays.some(([, way]) => way.asksToChange) && (asks ?? writes !== undefined);
  if (wayWith(option) === undefined) return true;
  return ofWays.some(([name, way]) => name === wayWith(option) && !(way.readOnly && writes === true));
}

/** Whether it refuses an option with a reason of its own. */
function refuses({ refuses: refused = [] }: CommandSpec, option: Option): boolean {
  if (refused === "all") return wayWith(option) !== undefined;
  return refused.some((name) => name === option.attributeName());
}

function takesWay({ targets }: CommandSpec, name: string): boolean {
  return targets?.some((one) => one === name) ?? true;
}

/** The way to name a target that an option is of. */
function wayWith(option: Option): string | undefined {
  return allWays().find(([, { options }]) => Object.hasOwn(options, option.attributeName()))?.[0];
}

const EPILOGUE = `
Exit status: 0 done, 1 a negative answer, 2 usage, or output that can't be written, 3 KVM can't be
used here, 4 no such target, 5 the kernel refused, 6 bad input, 130 interrupted.

Examples:
  $ kvm-irq create && kvm-irq pulse 4 && kvm-irq dump --chip ioapic
  $ kvm-irq create ci --preset ioapic && kvm-irq -s ci pulse 20 --json
  $ kvm-irq demo`;

function declare(
  command: Command,
  program: Command,
  ofProgram: readonly SingleOption[],
  spec: CommandSpec,
  onParsed: (parsed: Parsed) => void,
): Command {
  const { summary, description, notes, examples } = spec;
  command.summary(summary).description(description);
  spec.declare?.(command);
  command.addHelpText("after", `${notes === undefined ? "" : `\n${notes}\n`}${examplesText(examples)}`);
  const given = [...ofProgram, ...valuesOfSingleOptions(command)];
  command.showHelpAfterError(false).action((...parsed) => {
    // Commander hands over the arguments, then the options, then the command itself.
    const values = parsed.slice(0, -1) as never[];
    refuseRepeats(command.name(), given, spec);
    const pids = given.find(({ option }) => option.long === "--pid")?.values.map(Number);
    const globals = { ...program.opts<GlobalOptions>(), ...(pids?.length ? { pids } : {}) };
    const writes = typeof spec.writes === "function" ? spec.writes(...values) : spec.writes === true;
    try {
      checkGlobals(program, command.name(), { spec, globals, writes });
      spec.check?.(globals, ...values);
    } catch (error) {
      throw withHint(withAddress(error, globals), command.name());
    }
    onParsed({
      name: command.name(),
      scriptable: spec.scriptable === true,
      writes,
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

function examplesText(examples: CommandSpec["examples"]): string {
  const width = Math.max(...examples.map(([call]) => call.length));
  return `\nExamples:\n${examples.map(([call, what]) => `  $ ${call.padEnd(width)}  # ${what}`).join("\n")}`;
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
  return new KvmIrqError("usage", error.message, {
    hint: helpOf(command),
    details: error.details,
    cause: error,
  });
}

/** Where to read how a command, or the program, is called. */
function helpOf(command?: string): string {
  return `\`kvm-irq ${command === undefined ? "" : `${command} `}--help\` shows how to call it`;
}

/**
 * The program's own options, whatever the command. A target that is named is never passed over: `destroy --pid`
 * must not end the default session.
 *
 * @throws KvmIrqError `usage` for an option that the command has no use for, and for two targets; `unsupported`
 *   for a file that is to be changed.
 */
function checkGlobals(
  program: Command,
  name: string,
  { spec, globals, writes }: { spec: CommandSpec; globals: GlobalOptions; writes: boolean },
): void {
  const useless = program.options.find((option) => {
    // To confirm what is not asked does no harm, and scripts do it to every command.
    if (program.getOptionValueSource(option.attributeName()) !== "cli" || option.long === "--yes")
      return false;
    const way = wayWith(option);
    return !refuses(spec, option) && !(way === undefined ? takes(spec, option) : takesWay(spec, way));
  });
  if (useless !== undefined) throw new KvmIrqError("usage", `\`${name}\` takes no ${useless.long}`);
  if (spec.refuses === undefined) checkChoice(globals);
  const label = writes ? wayOf(globals).readOnly?.(globals) : undefined;
  if (label !== undefined) throw readOnly(label);
  wayOf(globals).check?.(globals, writes);
}

/** The program with all its commands. */
export function makeProgram(version: string, groups: Groups): Program {
  const commands: Commands = Object.fromEntries(
    Object.entries(groups).flatMap(([group, members]) =>
      Object.entries(members).map(([name, load]) => [name, { group, load }]),
    ),
  );
  return {
    parse: (argv) => parseCommandLine(version, commands, argv),
    async syntax() {
      const { describeSyntax } = await import("./completion/syntax.ts");
      const { program, specs } = await buildProgram(version, commands, () => {});
      return [
        describeSyntax(program),
        ...specs.map((spec, index) => describeSyntax(program.commands[index]!, spec.completes)),
      ];
    },
  };
}

async function parseCommandLine(
  version: string,
  commands: Commands,
  argv: readonly string[],
): Promise<Parsed | Help> {
  let result: Parsed | undefined;
  let said = "";
  const { program } = await buildProgram(version, neededCommands(commands, argv), (parsed) => {
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
function neededCommands(commands: Commands, argv: readonly string[]): Commands {
  const names = argv.filter((word) => Object.hasOwn(commands, word));
  const before = argv.slice(0, Math.max(argv.indexOf(names[0] ?? ""), 0));
  if (names.length === 0 || before.some((word) => ["help", "-h", "--help"].includes(word))) return commands;
  return Object.fromEntries(names.map((name) => [name, commands[name]!]));
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
  const help = helpOf(command?.name());
  return new KvmIrqError("usage", first!.replace(/\.$/, ""), {
    hint: suggestion === "" ? help : `${suggestion} ${help}`,
  });
}

import { closeSync } from "node:fs";
import { guarded } from "./abi/printable.ts";
import { show } from "./cli/outcome.ts";
import { ProcessContext } from "./cli/process-context.ts";
import { makeProgram, withAddress, withHint } from "./cli/program.ts";
import { stdoutFailed, writeToStderr, writeToStdout } from "./cli/standard-output.ts";
import { GROUPS } from "./commands/index.ts";
import { asKnown } from "./os/system-error.ts";

/** Put in by the build, from package.json. */
declare const KVM_IRQ_VERSION: string;

/** The exit status of a command line that asks for nothing. */
const USAGE = 2;

/**
 * The program: a command line in, an exit status out. An error becomes one line and a hint on stderr, or
 * JSON there, and the status of its code.
 */
export async function main(argv: readonly string[]): Promise<void> {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code === "EIO" && process.stdout.isTTY) endWithoutTerminal();
    // A reader that has seen enough (`| head -1`) is not an error.
    if (error.code !== "EPIPE") {
      fail(stdoutFailed(error), wishes);
    }
    process.exit();
  });
  process.stderr.on("error", () => {});
  const own = argv.includes("--") ? argv.slice(0, argv.indexOf("--")) : argv;
  const wishes = { json: own.includes("--json"), debug: own.includes("--debug") };
  // Set to nothing is not set; commander would take it for a value.
  if (process.env["KVM_IRQ_BACKEND"] === "") delete process.env["KVM_IRQ_BACKEND"];
  let context: ProcessContext | undefined;
  let command: string | undefined;
  try {
    const program = makeProgram(KVM_IRQ_VERSION, GROUPS);
    const parsed = await program.parse(argv);
    if ("help" in parsed) {
      if (parsed.asked) writeToStdout(parsed.help);
      else {
        process.stderr.write(parsed.help);
        process.exitCode = USAGE;
      }
      return;
    }
    command = parsed.name;
    context = new ProcessContext(parsed, program);
    const outcome = await parsed.run(context);
    await show(outcome, context);
    process.exitCode = outcome.status ?? 0;
  } catch (error) {
    fail(withHint(withAddress(error, context?.globals), command), wishes);
  } finally {
    await context?.close();
  }
}

/** The terminal is gone; whoever is not told by SIGHUP, in the background, learns it from writing to it. */
function endWithoutTerminal(): never {
  // Node aborts at its exit when it can't give a terminal back that it still has open.
  for (const fd of [0, 1, 2]) closeSync(fd);
  process.exit(130);
}

function fail(error: unknown, { json, debug }: { json: boolean; debug: boolean }): void {
  const known = asKnown(error);
  if (json) process.stderr.write(guarded(`${JSON.stringify({ error: known })}\n`));
  else {
    writeToStderr(`kvm-irq: ${shortened(known.message)}`);
    if (known.hint !== undefined) writeToStderr(`hint: ${shortened(known.hint)}`);
  }
  if (debug) for (const line of `${(error as Error)?.stack ?? error}`.split("\n")) writeToStderr(line);
  process.exitCode = known.exitStatus;
}

/** The most of a message that is shown: input that makes no sense may be repeated in it. */
const LONGEST_MESSAGE = 1000;

function shortened(text: string): string {
  return text.length <= LONGEST_MESSAGE ? text : `${text.slice(0, LONGEST_MESSAGE)}...`;
}

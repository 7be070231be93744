import type { VmAddress } from "../../abi/advice.ts";
import { EXIT_STATUS, KvmIrqError } from "../../abi/error.ts";
import type { Context, Outcome, Parsed, Program } from "../../cli/command.ts";
import { asKnown } from "../../os/system-error.ts";
import type { SourceInfo } from "../../vm/reading.ts";
import type { Source } from "../../vm/source.ts";
import { atLine, type Script, type ScriptLine } from "./script.ts";
import { stepContext } from "./step-context.ts";

/** A line of a script, ready to run. */
export interface ScriptStep {
  /** `file:line`. */
  place: string;
  line: ScriptLine;
  parsed: Parsed;
}

/** What became of one line of a script. */
export interface StepResult extends ScriptStep {
  /** What it ran in. */
  context: Context;
  status: number;
  outcome?: Outcome;
  /** What it failed with, when it failed by an error. */
  error?: KvmIrqError;
  /** Whether it failed before it was begun. */
  unrun?: true;
  ms: number;
}

/** The status of a command that a signal ended. */
export const INTERRUPTED = EXIT_STATUS.interrupted;

/** How many different lines keep their parsed form: a loop written out has few, a generated script many. */
const REMEMBERED_LINES = 1000;

/**
 * Checks every line of a script without running any.
 *
 * @param info what the script's VM has. Where its GSIs go changes with each line that sets its routing.
 * @returns how many commands it has, and whether one of them changes the VM.
 * @throws KvmIrqError `bad-input` with the place of the first mistake.
 */
export async function checkScript(
  script: Script,
  program: Program,
  info: SourceInfo,
): Promise<{ commands: number; writes: boolean }> {
  const parse = lineParser(script, program);
  let commands = 0;
  let changes = false;
  let now = info;
  let fitting = new WeakSet<Parsed>();
  for await (const line of script.lines()) {
    const parsed = await parse(line);
    changes ||= parsed.writes;
    commands++;
    if (fitting.has(parsed)) continue;
    const next = await atLine(script.label, line.number, () => parsed.fits(now));
    if (next === now) fitting.add(parsed);
    else fitting = new WeakSet();
    now = next;
  }
  return { commands, writes: changes };
}

/** Takes a script apart into its steps, one after the other. */
export async function* scriptSteps(script: Script, program: Program): AsyncGenerator<ScriptStep> {
  const parse = lineParser(script, program);
  for await (const line of script.lines()) {
    yield { place: `${script.label}:${line.number}`, line, parsed: await parse(line) };
  }
}

/** Runs one step on a target. @param address how advice is to name it. */
export async function runStep(
  step: ScriptStep,
  outer: Context,
  source: Source,
  address: VmAddress,
): Promise<StepResult> {
  const { json } = step.parsed.globals;
  const context = stepContext(outer, source, json === undefined ? {} : { json }, address);
  const start = performance.now();
  try {
    const outcome = await step.parsed.run(context);
    return { ...step, context, status: outcome.status ?? 0, outcome, ms: performance.now() - start };
  } catch (thrown) {
    const error = asKnown(thrown).at(address);
    return { ...step, context, status: error.exitStatus, error, ms: performance.now() - start };
  }
}

/** What becomes of a step that can't be begun. */
export function unrunStep(step: ScriptStep, context: Context, reason: unknown): StepResult {
  const error = asKnown(reason);
  return { ...step, context, status: error.exitStatus, error, unrun: true, ms: 0 };
}

/** Parses lines, each different one once as long as there are not too many of them. */
function lineParser(script: Script, program: Program): (line: ScriptLine) => Promise<Parsed> {
  const known = new Map<string, Parsed>();
  return async ({ number, text, words }) => {
    const before = known.get(text);
    if (before !== undefined) return before;
    const parsed = await atLine(script.label, number, () => parseLine(program, words));
    if (known.size >= REMEMBERED_LINES) known.clear();
    known.set(text, parsed);
    return parsed;
  };
}

async function parseLine(program: Program, words: readonly string[]): Promise<Parsed> {
  if (words[0] === "kvm-irq") {
    throw new KvmIrqError("usage", "a line of a script begins with the command", {
      hint: `leave out the \`kvm-irq\`: \`${words.slice(1).join(" ")}\``,
    });
  }
  const parsed = await program.parse(words);
  if ("help" in parsed) throw new KvmIrqError("usage", "help is not allowed in a script");
  if (!parsed.scriptable) {
    throw new KvmIrqError("usage", `\`${parsed.name}\` is not allowed in a script`, {
      hint: "a script has one VM, made for it or named by -s before it starts",
    });
  }
  const { json: _, ...targets } = parsed.globals;
  const [option] = Object.keys(targets);
  if (option !== undefined) {
    const flag = option.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
    throw new KvmIrqError("usage", `--${flag} is not allowed in a script: it applies to all of it`);
  }
  return parsed;
}

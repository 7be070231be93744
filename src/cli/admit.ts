import { createInterface } from "node:readline/promises";
import { KvmIrqError } from "../abi/error.ts";
import { printable } from "../abi/printable.ts";
import { inBackground } from "../os/proc.ts";
import type { Source } from "../vm/source.ts";
import type { Context } from "./command.ts";

/** Says of a session's holder that is reached as a process that there is a better way. */
export function recommendSession(source: Source, context: Pick<Context, "notice">): void {
  const { holder, label, source: from } = source.identity;
  if (!holder) return;
  const better = from.via === "kernel" ? "can change it, too" : "reaches it without stopping it";
  context.notice(`${label} is the holder of a session: \`-s\` ${better}`);
}

/**
 * Asks whether the VM of another process may be changed.
 *
 * @throws KvmIrqError `needs-confirmation` without a terminal to ask at, `interrupted` unless the answer is yes.
 */
export async function askToChange(source: Source, { signal }: Pick<Context, "signal">): Promise<void> {
  const {
    label,
    source: { pid },
  } = source.identity;
  if (!process.stdin.isTTY || !process.stderr.isTTY || inBackground()) {
    throw new KvmIrqError("needs-confirmation", `this would change the VM of ${label}`, {
      hint: "pass --yes to confirm",
      details: { pid },
    });
  }
  const answer = await ask(`This changes the VM of ${label}. Go on? [y/N] `, signal);
  if (!/^\s*y(es)?\s*$/i.test(answer)) throw new KvmIrqError("interrupted", "nothing was changed");
}

/** The line that is typed; empty when the input ends or the signal comes. */
async function ask(question: string, signal: AbortSignal): Promise<string> {
  // Not as a terminal: Ctrl-C stays a signal.
  const prompt = createInterface({ input: process.stdin, output: process.stderr, terminal: false });
  const ended = new Promise<undefined>((resolve) => prompt.once("close", () => resolve(undefined)));
  const typed = prompt.question(printable(question), { signal }).catch(() => undefined);
  const answer = await Promise.race([typed, ended]);
  // Nobody has ended the line that the question is on.
  if (answer === undefined) process.stderr.write("\n");
  prompt.close();
  return answer ?? "";
}

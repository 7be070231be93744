import { once } from "node:events";
import { fstatSync, writeSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import { guarded, printable } from "../abi/printable.ts";

const STDOUT = 1;
let toFile: boolean | undefined;

/** Writes one line for a person to standard error; what it was put together from stays on that line. */
export function writeToStderr(line: string): void {
  process.stderr.write(`${printable(line)}\n`);
}

/**
 * Writes to standard output, text with nothing in it that a terminal would act on but colours; bytes are
 * written as they are. To a file all of it: Node's own stream writes once, and takes part of it, as on a
 * disk that is nearly full, for the whole.
 *
 * @throws KvmIrqError `output-failed` where it is a file that can't be written.
 */
export function writeToStdout(piece: string | Uint8Array): void {
  toFile ??= fstatSync(STDOUT).isFile();
  const safe = typeof piece === "string" ? guarded(piece) : piece;
  if (!toFile) {
    process.stdout.write(safe);
    return;
  }
  const bytes = typeof safe === "string" ? Buffer.from(safe) : safe;
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(STDOUT, bytes, done);
  } catch (error) {
    throw stdoutFailed(error as Error);
  }
}

/** How often to look whether somebody still reads: a person who closes a pager would not wait longer. */
const LOOK_EVERY_MS = 100;

/**
 * Ends this process once nobody reads its standard output any more, as a write to it would: for commands
 * that may have nothing to write for long. A file or a terminal has no reader.
 */
export async function endWithoutReader(): Promise<void> {
  const stats = fstatSync(STDOUT);
  if (!stats.isFIFO() && !stats.isSocket()) return;
  const { isAbandoned } = await import("../os/poll.ts");
  setInterval(() => {
    if (isAbandoned(STDOUT))
      process.stdout.emit("error", Object.assign(new Error("EPIPE"), { code: "EPIPE" }));
  }, LOOK_EVERY_MS).unref();
}

/** Resolves once standard output has taken what was written: a reader may be slow. */
export async function stdoutTaken(): Promise<void> {
  if (process.stdout.writableNeedDrain) await once(process.stdout, "drain");
}

/** What is said when standard output takes no more. */
export function stdoutFailed({ message }: Error): KvmIrqError {
  return new KvmIrqError("output-failed", `standard output can't be written: ${message}`, {
    hint: "write to another place",
  });
}

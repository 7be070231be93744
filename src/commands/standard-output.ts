import { fstatSync, writeSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";

const STDOUT = 1;
let toFile: boolean | undefined;

/**
 * Writes to standard output. To a file all of it: Node's own stream writes once, and takes part of it, as on a
 * disk that is nearly full, for the whole.
 *
 * @throws KvmIrqError `output-failed` where it is a file that can't be written.
 */
export function writeToStdout(piece: string | Uint8Array): void {
  toFile ??= fstatSync(STDOUT).isFile();
  if (!toFile) {
    process.stdout.write(piece);
    return;
  }
  const bytes = typeof piece === "string" ? Buffer.from(piece) : piece;
  try {
    for (let done = 0; done < bytes.length; ) done += writeSync(STDOUT, bytes, done);
  } catch (error) {
    throw stdoutFailed(error as Error);
  }
}

/** What is said when standard output takes no more. */
export function stdoutFailed({ message }: Error): KvmIrqError {
  return new KvmIrqError("output-failed", `standard output can't be written: ${message}`, {
    hint: "write to another place",
  });
}

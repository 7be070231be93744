import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import { interruptibly } from "./signal-guard.ts";

/** U+FEFF in UTF-8: some editors and shells begin every file with it. No raw chip begins so. */
const BYTE_ORDER_MARK = Buffer.from("\ufeff");

/**
 * Reads a file whole, without the byte order mark that it may begin with. Signals such as SIGINT end this process while it waits for a pipe or a terminal.
 *
 * @param path a file's path, or `-` for standard input.
 * @throws KvmIrqError `no-file`.
 */
export function readInput(path: string): Buffer {
  try {
    const bytes = interruptibly(() => readFileSync(path === "-" ? 0 : path));
    const marked = bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
    return marked ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes;
  } catch (error) {
    throw unreadable(path, error);
  }
}

/**
 * Whether a file can be read more than once, which what comes through a pipe can't. It is not read.
 *
 * @throws KvmIrqError `no-file` when it can't be read at all.
 */
export function canReadAgain(path: string): boolean {
  try {
    accessSync(path, constants.R_OK);
    return statSync(path).isFile();
  } catch (error) {
    throw unreadable(path, error);
  }
}

const REASONS: Record<string, [why: string, hint: string]> = {
  ENOENT: ["there is no such file", "paths start at the current folder; - is standard input"],
  EACCES: ["no permission", "make it readable, or read it as a user who may"],
  EISDIR: ["it is a folder", "give the name of a file in it"],
};

function unreadable(path: string, error: unknown): KvmIrqError {
  const { code = "", message } = error as NodeJS.ErrnoException;
  const [why, hint] = REASONS[code] ?? [message, undefined];
  return new KvmIrqError("no-file", `${path} can't be read: ${why}`, { hint, details: { path } });
}

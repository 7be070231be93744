import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";
import { interruptibly } from "./signal-guard.ts";

/**
 * Reads a file whole. Signals such as SIGINT end this process while it waits for a pipe or a terminal.
 *
 * @param path a file's path, or `-` for standard input.
 * @throws KvmIrqError `no-file`.
 */
export function readInput(path: string): Buffer {
  try {
    return interruptibly(() => readFileSync(path === "-" ? 0 : path));
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

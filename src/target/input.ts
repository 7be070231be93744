import { accessSync, constants, readFileSync, statSync } from "node:fs";
import { KvmIrqError } from "../abi/error.ts";

/**
 * Reads a file whole.
 *
 * @param path a file's path, or `-` for standard input.
 * @throws KvmIrqError `no-file`.
 */
export function readInput(path: string): Buffer {
  try {
    return readFileSync(path === "-" ? 0 : path);
  } catch (error) {
    throw unreadable(path, error);
  }
}

/**
 * Makes sure that a file can be read, without reading it.
 *
 * @throws KvmIrqError `no-file`.
 */
export function accessInput(path: string): void {
  let isFolder: boolean;
  try {
    accessSync(path, constants.R_OK);
    isFolder = statSync(path).isDirectory();
  } catch (error) {
    throw unreadable(path, error);
  }
  if (isFolder) throw unreadable(path, { code: "EISDIR" });
}

const REASONS: Record<string, string> = {
  ENOENT: "there is no such file",
  EACCES: "no permission",
  EISDIR: "it is a folder",
};

function unreadable(path: string, error: unknown): KvmIrqError {
  const { code, message } = error as NodeJS.ErrnoException;
  return new KvmIrqError("no-file", `${path} can't be read: ${REASONS[code ?? ""] ?? message}`, {
    details: { path },
  });
}

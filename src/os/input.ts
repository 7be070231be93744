import {
  accessSync,
  closeSync,
  constants,
  createReadStream,
  fstatSync,
  openSync,
  readSync,
  statSync,
} from "node:fs";
import { Socket } from "node:net";
import { basename } from "node:path";
import type { Readable } from "node:stream";
import { KvmIrqError } from "../abi/error.ts";
import { interruptibly } from "./signal-guard.ts";
import { reasonOf } from "./system-error.ts";

/** How messages name a file. @param path as `--snapshot` has it: `-` for standard input. */
export function labelOf(path: string): string {
  return path === "-" ? "standard input" : basename(path);
}

/** U+FEFF in UTF-8: some editors and shells begin every file with it. No raw chip begins so. */
const BYTE_ORDER_MARK = Buffer.from("\ufeff");
const MIB = 2 ** 20;
/** A snapshot of 4096 vCPUs, laid out for people, takes 16 MiB; a device such as /dev/zero has no end. */
const MOST_BYTES = 32 * MIB;

/**
 * Reads a file whole, without the byte order mark that it may begin with. Signals such as SIGINT end this
 * process while it waits for a pipe or a terminal.
 *
 * @param path a file's path, or `-` for standard input.
 * @param most how many bytes it may have.
 * @throws KvmIrqError `no-file`; `bad-input` when it has more bytes.
 */
export function readInput(path: string, most: number = MOST_BYTES): Buffer {
  try {
    const bytes = interruptibly(path === "-" ? 0 : path, () => readWhole(path, most));
    const marked = bytes.subarray(0, BYTE_ORDER_MARK.length).equals(BYTE_ORDER_MARK);
    return marked ? bytes.subarray(BYTE_ORDER_MARK.length) : bytes;
  } catch (error) {
    throw error instanceof KvmIrqError ? error : unreadable(path, error);
  }
}

/**
 * Opens a file to be read piece by piece, each of which the event loop waits for.
 *
 * @param path a file's path, or `-` for standard input.
 * @returns its bytes; what fails on the way is for {@link unreadable}.
 * @throws KvmIrqError `no-file`.
 */
export function openInput(path: string): Readable {
  try {
    if (path === "-") return process.stdin;
    // A pipe opens once it has a writer.
    const fd = interruptibly(path, () => openSync(path, "r"));
    return fstatSync(fd).isFIFO()
      ? new Socket({ fd, readable: true, writable: false })
      : createReadStream(path, { fd, highWaterMark: MIB });
  } catch (error) {
    throw unreadable(path, error);
  }
}

function readWhole(path: string, most: number): Buffer {
  const fd = path === "-" ? 0 : openSync(path, "r");
  const pieces: Buffer[] = [];
  let size = 0;
  try {
    for (;;) {
      const piece = Buffer.allocUnsafe(MIB);
      const length = readSync(fd, piece);
      if (length === 0) return Buffer.concat(pieces);
      pieces.push(length < MIB / 2 ? Buffer.from(piece.subarray(0, length)) : piece.subarray(0, length));
      size += length;
      if (size > most) throw tooLarge(path, most);
    }
  } finally {
    if (fd !== 0) closeSync(fd);
  }
}

function tooLarge(path: string, most: number): KvmIrqError {
  const label = path === "-" ? "standard input" : path;
  return new KvmIrqError("bad-input", `${label} has more than ${Math.floor(most / MIB)} MiB`, {
    hint: "it is not what this command takes, or has no end",
    details: { path },
  });
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

/** The error for a file that can't be read. */
export function unreadable(path: string, error: unknown): KvmIrqError {
  const { code } = error as NodeJS.ErrnoException;
  const hints: Record<string, string> = {
    ENOENT: "paths start at the current folder; - is standard input",
    EACCES: "make it readable, or run as a user with permission",
  };
  const { why, hint, errno_name } = reasonOf(error);
  const words = code === "ENOENT" ? "there is no such file" : why;
  return new KvmIrqError("no-file", `${path} can't be read: ${words}`, {
    hint: hints[errno_name] ?? hint,
    details: { path },
  });
}

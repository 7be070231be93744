import { closeSync, openSync, readSync, writeSync } from "node:fs";
import type { NativeBuffer } from "../../os/libc.ts";
import type { ProcessId } from "../../os/proc.ts";
import { ThreadGoneError } from "./ptrace.ts";

/**
 * The memory that a thread has, through `/proc/PID/task/TID/mem` (proc(5)). It is the memory of the program that
 * ran when it was opened: after an exec nothing can be read there or written.
 *
 * The file lets its opener write what the thread itself may not: whoever writes makes sure that the mapping is
 * one that can be written.
 */
export class RemoteMemory {
  readonly #fd: number;

  /**
   * @param pid the process. One held open has no thread of a process that got the same pid later.
   * @throws ThreadGoneError when the process has no such thread any more.
   */
  constructor(pid: ProcessId, tid: number) {
    try {
      this.#fd = openSync(`/proc/${pid}/task/${tid}/mem`, "r+");
    } catch (error) {
      if (!["ENOENT", "ESRCH"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
      throw new ThreadGoneError(`thread ${tid} ended`);
    }
  }

  /**
   * Copies from there.
   *
   * @param from an address; user addresses have 47 bits.
   * @param to where to, `length` bytes from its start.
   * @throws Error when not all of it could be copied.
   */
  read(from: bigint, to: NativeBuffer, length: number): void {
    this.#whole("read", from, length, readSync(this.#fd, to.bytes, 0, length, from));
  }

  /** Copies to there; see {@link read}. */
  write(to: bigint, from: NativeBuffer, length: number): void {
    // Unlike a read's, a write's position must be a number: of a bigint nothing is said, and it is not used.
    this.#whole("write", to, length, writeSync(this.#fd, from.bytes, 0, length, Number(to)));
  }

  /** Whether the bytes at an address are these. */
  has(address: bigint, expected: Buffer): boolean {
    const bytes = Buffer.alloc(expected.length);
    try {
      return readSync(this.#fd, bytes, 0, bytes.length, address) === bytes.length && bytes.equals(expected);
    } catch {
      return false;
    }
  }

  close(): void {
    closeSync(this.#fd);
  }

  #whole(verb: string, address: bigint, length: number, done: number): void {
    if (done === length) return;
    throw new Error(`could not ${verb} ${length} bytes at 0x${address.toString(16)}: only ${done} done`);
  }
}

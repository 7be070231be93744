import { closeSync, openSync, readSync } from "node:fs";
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
  /** For {@link Steps}. */
  readonly fd: number;

  /**
   * @param pid the process. One held open has no thread of a process that got the same pid later.
   * @throws ThreadGoneError when the process has no such thread any more.
   */
  constructor(pid: ProcessId, tid: number) {
    try {
      this.fd = openSync(`/proc/${pid}/task/${tid}/mem`, "r+");
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
    const done = readSync(this.fd, to.bytes, 0, length, from);
    if (done === length) return;
    throw new Error(`could not read ${length} bytes at 0x${from.toString(16)}: only ${done} done`);
  }

  close(): void {
    closeSync(this.fd);
  }
}

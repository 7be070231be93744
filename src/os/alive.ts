import { otherThread, readStat } from "./proc.ts";

/** Whether a process of that id runs, another user's included. One that ended and awaits its parent does not. */
export function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
  return !isZombie(pid);
}

/**
 * Whether a process of that id runs a program whose name begins so: the id may be another's by now. Without
 * /proc, whether it runs anything.
 *
 * @param comm at most the 15 characters that the kernel keeps (proc(5), `comm`).
 */
export function isRunning(pid: number, comm: string): boolean {
  return isAlive(pid) && (readStat(`/proc/${pid}/stat`)?.comm.startsWith(comm) ?? true);
}

/** Not a process whose main thread alone has ended. */
function isZombie(pid: number): boolean {
  return readStat(`/proc/${pid}/stat`)?.state === "Z" && otherThread(pid) === undefined;
}

import { readFileSync } from "node:fs";
import { otherThread } from "./proc.ts";

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
  return isAlive(pid) && (statOf(pid)?.comm.startsWith(comm) ?? true);
}

/** Not a process whose main thread alone has ended. */
function isZombie(pid: number): boolean {
  return statOf(pid)?.state === "Z" && otherThread(pid) === undefined;
}

/** The state is the first field behind the command's name, which is in parentheses and may hold any. */
function statOf(pid: number): { comm: string; state: string | undefined } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
    const end = stat.lastIndexOf(")");
    return { comm: stat.slice(stat.indexOf("(") + 1, end), state: stat[end + 2] };
  } catch {
    return undefined;
  }
}
